"""The names of the tensors in a torch file: its pickle is read as a text, and nothing in it is imported or called.

`data.pkl` is a pickle in which each tensor is a call of `torch._utils._rebuild_tensor_v2` on a persistent id
("storage", type, key, location, numel), and the zip member `data/<key>` holds its bytes (torch/serialization.py, `_save`).
"""

import pickletools
from collections.abc import Callable, Iterator
from time import sleep
from typing import Any, NamedTuple

MOST_OPCODES = 5_000_000
_TURN = 250
"""After so many opcodes, some 0.3 ms, whoever waits for the interpreter has it: each of the training's own calls that let go of it
meanwhile would otherwise wait for 5 ms (`sys.getswitchinterval`)."""
_LONGEST = 300


class _Called(NamedTuple):
    """What a call would have made."""

    parts: tuple[Any, ...]


class _Storage(NamedTuple):
    key: str


class _Mark:
    """Where a group of values on the stack begins."""


_MARK = _Mark()
_Step = Callable[["_Reading", Any], object]


def names_of(pickle: bytes) -> dict[str, str]:
    """By the key of a storage the dotted path of the first tensor that uses it; what cannot be understood is left out."""
    reading = _Reading()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
            if count > MOST_OPCODES:
                break
            if count % _TURN == 0:
                sleep(1e-5)
            reading.take(opcode.name, argument)
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        MemoryError,
        Warning,
    ):
        pass  # a pickle may hold anything; the parts then keep the names of their members
    found: dict[str, str] = {}
    for key, path in _storages(reading.roots()):
        found.setdefault(key, path)
    return found


class _Reading:
    """The stack and the memo of an unpickler that makes lists, dictionaries, texts and numbers, and nothing else."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def roots(self) -> list[Any]:
        return [value for value in self.stack if value is not _MARK]

    def take(self, name: str, argument: Any) -> None:
        step = _STEPS.get(name)
        if step is not None:
            step(self, argument)
        elif argument is not None or name in _CONSTANTS:
            self.stack.append(_CONSTANTS.get(name, argument))

    def to_mark(self) -> list[Any]:
        taken: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            taken.append(value)
        return taken[::-1]

    def call(self, count: int) -> None:
        parts = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(_Called(parts))

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, _Called):  # an OrderedDict
            self.stack[-1] = target = _Called((*target.parts, {}))
        values = target.parts[-1] if isinstance(target, _Called) else target
        if isinstance(values, dict):
            values.update((_key(key), value) for key, value in zip(pairs[::2], pairs[1::2], strict=True))

    def append(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)


def _key(value: Any) -> Any:
    return value if isinstance(value, (str, int)) else str(type(value).__name__)


def _dict(reading: _Reading, argument: Any) -> None:
    items = reading.to_mark()
    reading.stack.append({})
    reading.set_items(items)


def _set_item(reading: _Reading, argument: Any) -> None:
    key, value = reading.stack[-2:]
    del reading.stack[-2:]
    reading.set_items([key, value])


def _persistent(reading: _Reading, argument: Any) -> None:
    value = reading.stack.pop()
    is_storage = isinstance(value, tuple) and len(value) > 2 and value[0] == "storage"
    reading.stack.append(_Storage(str(value[2])) if is_storage else None)


def _build(reading: _Reading, argument: Any) -> None:
    state = reading.stack.pop()
    target = reading.stack.pop()
    reading.stack.append(_Called((target, state)))


def _memoize(reading: _Reading, argument: Any) -> None:
    reading.memo[len(reading.memo) if argument is None else argument] = reading.stack[-1]


def _tuple_of(count: int) -> _Step:
    def take(reading: _Reading, argument: Any) -> None:
        values = tuple(reading.stack[-count:])
        del reading.stack[-count:]
        reading.stack.append(values)

    return take


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_STEPS: dict[str, _Step] = {
    "PROTO": lambda reading, _: None,
    "FRAME": lambda reading, _: None,
    "STOP": lambda reading, _: None,
    "MARK": lambda reading, _: reading.stack.append(_MARK),
    "POP": lambda reading, _: reading.stack.pop(),
    "POP_MARK": lambda reading, _: reading.to_mark(),
    "DUP": lambda reading, _: reading.stack.append(reading.stack[-1]),
    "EMPTY_DICT": lambda reading, _: reading.stack.append({}),
    "EMPTY_LIST": lambda reading, _: reading.stack.append([]),
    "EMPTY_SET": lambda reading, _: reading.stack.append([]),
    "EMPTY_TUPLE": lambda reading, _: reading.stack.append(()),
    "TUPLE": lambda reading, _: reading.stack.append(tuple(reading.to_mark())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "LIST": lambda reading, _: reading.stack.append(reading.to_mark()),
    "FROZENSET": lambda reading, _: reading.stack.append(reading.to_mark()),
    "DICT": _dict,
    "SETITEM": _set_item,
    "SETITEMS": lambda reading, _: reading.set_items(reading.to_mark()),
    "APPEND": lambda reading, _: reading.append([reading.stack.pop()]),
    "APPENDS": lambda reading, _: reading.append(reading.to_mark()),
    "ADDITEMS": lambda reading, _: reading.append(reading.to_mark()),
    "BINPERSID": _persistent,
    "PERSID": lambda reading, _: reading.stack.append(None),
    "REDUCE": lambda reading, _: reading.call(2),
    "NEWOBJ": lambda reading, _: reading.call(2),
    "NEWOBJ_EX": lambda reading, _: reading.call(3),
    "INST": lambda reading, _: reading.stack.append(_Called(tuple(reading.to_mark()))),
    "OBJ": lambda reading, _: reading.stack.append(_Called(tuple(reading.to_mark()))),
    "STACK_GLOBAL": lambda reading, _: reading.call(2),
    "BUILD": _build,
    "MEMOIZE": _memoize,
    "PUT": _memoize,
    "BINPUT": _memoize,
    "LONG_BINPUT": _memoize,
    "GET": lambda reading, argument: reading.stack.append(reading.memo[argument]),
    "BINGET": lambda reading, argument: reading.stack.append(reading.memo[argument]),
    "LONG_BINGET": lambda reading, argument: reading.stack.append(reading.memo[argument]),
}


def _storages(roots: list[Any]) -> Iterator[tuple[str, str]]:
    """Each storage with the path that leads to it, each value looked at once, however it is tied up in itself."""
    seen: set[int] = set()
    waiting = [(value, "") for value in reversed(roots)]
    while waiting:
        value, path = waiting.pop()
        if isinstance(value, _Storage):
            yield value.key, path
            continue
        if not isinstance(value, (dict, list, tuple)) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            inside = [(one, f"{path}.{key}" if path else str(key)) for key, one in value.items()]
        elif isinstance(value, list):
            inside = [(one, f"{path}.{place}" if path else str(place)) for place, one in enumerate(value)]
        else:
            inside = [(one, path) for one in (value.parts if isinstance(value, _Called) else value)]
        waiting += [(one, name[:_LONGEST]) for one, name in reversed(inside)]
