"""What users hand in, made into what a journal can hold: numbers for metrics, plain JSON for configs."""

import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from struct import pack, unpack
from typing import Any, NamedTuple

from autotrack.errors import NotScalar
from autotrack.guard import reason

Number = int | float


class Limits(NamedTuple):
    """How much of a config is kept: nesting, items a container, characters a text, items and characters in all."""

    depth: int = 12
    items: int = 2_000
    text: int = 20_000
    total: int = 20_000
    characters: int = 1_000_000


LIMITS = Limits()
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_AS_THEY_ARE = frozenset({type(None), bool, int, float})


def number(value: Any) -> Number:
    """The number in a Python or NumPy scalar or a 0-d tensor of torch, JAX or TensorFlow.

    Raises NotScalar, with the reason, for everything else: text, None, arrays with more than one place, objects.
    A tensor on an accelerator is read here and now, which waits for the device: see `is_deferred`.
    """
    kind = type(value)
    if kind is float or kind is int:
        exact: Number = value
        return exact
    if isinstance(value, (bool, int)):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if value is None or isinstance(
        value, (str, bytes, bytearray, complex, Mapping, list, tuple, AbstractSet)
    ):
        raise NotScalar(
            "None is not a number"
            if value is None
            else f"{show(value)} is {_article(kind.__name__)}, not a number"
        )
    shape = _shape(value)
    if shape not in ((), None):
        raise NotScalar(f"an array of shape {tuple(shape)} is not one number; log its mean, say")
    return _scalar(value)


def shortest(value: Number) -> Number:
    """Of a number that fits single precision its shortest decimal there (0.01 for 0.009999999776482582); another one as it is."""
    if not isinstance(value, float) or _single(value) != value:
        return value
    decimals = (float(f"{value:.{digits}g}") for digits in range(1, 10))
    return next(short for short in decimals if _single(short) == value)


def _single(value: float) -> float:
    try:
        (rounded,) = unpack("f", pack("f", value))
    except OverflowError:
        return math.inf
    return float(rounded)


def _is_single(value: Any) -> bool:
    """Whether it is a scalar of single precision, of NumPy or a framework with tensors."""
    dtype = getattr(value, "dtype", None)
    return dtype is not None and str(getattr(dtype, "name", dtype)).removeprefix("torch.") == "float32"


def is_deferred(value: Any) -> bool:
    """Whether reading this tensor would make the caller wait for an accelerator (or for an asynchronous result)."""
    if type(value) is float or type(value) is int:
        return False
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return value.device.type not in ("cpu", "meta")
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(value, getattr(jax, "Array", ())):
        ready = getattr(value, "is_ready", None)
        return ready is not None and not ready()
    return False


def plain(value: Any, limits: Limits = LIMITS) -> Any:
    """A JSON-able copy of any object for a config: numbers and text as they are, mappings and sequences copied,
    dataclasses, namespaces and enums unfolded, paths as text, the rest as its `repr` without addresses. Cycles,
    great depth and great size are cut, and each cut says so in its place. Reading an object's attributes never
    raises here.
    """
    return plain_and_cuts(value, limits)[0]


def plain_and_cuts(value: Any, limits: Limits = LIMITS) -> tuple[Any, list[str]]:
    """What `plain` gives, and what was cut in it: "name: how" for the first ten cuts."""
    copier = _Copier(limits)
    return copier.copy(value, 0), copier.cuts


class _Copier:
    """One `plain` call: what is being copied (for cycles), how much was copied (for the total), what was cut."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.path: set[int] = set()
        self.count = 0
        self.room = limits.characters
        self.trail: list[str] = []
        self.cuts: list[str] = []

    def copy(self, value: Any, depth: int) -> Any:
        self.count += 1
        kind = type(value)
        if kind is str:
            return self._text(value)
        if kind in _AS_THEY_ARE or isinstance(value, (bool, float)):
            return value
        if isinstance(value, str):
            return self._text(str.__str__(value))
        unfolded = dict(value) if kind is dict else reason(_unfold, value)[0]
        if unfolded is None:
            return self._leaf(value)
        if id(value) in self.path:
            return self._cut(f"<cycle: {type(value).__name__}>")
        if depth >= self.limits.depth:
            return self._cut(f"<deeper than {self.limits.depth} levels: {type(value).__name__}>")
        self.path.add(id(value))
        try:
            return (
                self._mapping(unfolded, depth)
                if isinstance(unfolded, dict)
                else self._sequence(unfolded, depth)
            )
        finally:
            self.path.discard(id(value))

    def _mapping(self, items: dict[Any, Any], depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, item in items.items():
            if len(out) >= self.limits.items or self.count > self.limits.total:
                out["<left out>"] = self._cut(f"{len(items) - len(out)} more items")
                break
            name = self._text(key if isinstance(key, str) else _repr(key))
            if type(item) in _AS_THEY_ARE:
                self.count += 1
                out[name] = item
                continue
            self.trail.append(name)
            out[name] = self.copy(item, depth + 1)
            self.trail.pop()
        return out

    def _sequence(self, items: list[Any], depth: int) -> list[Any]:
        out: list[Any] = []
        for item in items:
            if len(out) >= self.limits.items or self.count > self.limits.total:
                out.append(self._cut(f"<left out: {len(items) - len(out)} more items>"))
                break
            out.append(self.copy(item, depth + 1))
        return out

    def _leaf(self, value: Any) -> Any:
        if isinstance(value, int):
            return int(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"<{type(value).__name__}: {len(value)} bytes>"
        if isinstance(value, os.PathLike):
            return self._text(_path(value))
        if is_deferred(value):
            return f"<{type(value).__name__} of shape {_shape(value)} on an accelerator>"
        try:
            return shortest(number(value)) if _is_single(value) else number(value)
        except NotScalar:
            return self._text(_name_or_repr(value))

    def _text(self, text: str) -> str:
        size = len(text)
        if size <= 100 and size <= self.limits.text:
            self.room -= size
            return text
        bound = min(self.limits.text, max(self.room, 100))
        self.room -= min(len(text), bound)
        if len(text) <= bound:
            return text
        return f"{text[:bound]}… " + self._cut(f"<{len(text) - bound} more characters>")

    def _cut(self, mark: str) -> str:
        if len(self.cuts) < 10:
            self.cuts.append(f"{_show_text('.'.join(self.trail) or 'all')}: {mark.strip('<>')}")
        return mark


def _unfold(value: Any) -> dict[Any, Any] | list[Any] | None:
    """The inside of a container, None for what has none."""
    if isinstance(value, type):
        return None
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "_asdict"):
        return dict(value._asdict())
    if isinstance(value, (list, tuple, AbstractSet)):
        return sorted(value, key=repr) if isinstance(value, AbstractSet) else list(value)
    if hasattr(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__ if hasattr(value, name)}
    if type(value).__name__ == "Namespace" and hasattr(value, "__dict__"):
        return dict(vars(value))
    return None


def _scalar(value: Any) -> Number:
    detach = getattr(value, "detach", None)
    source = value if detach is None else _call(detach, value)
    item = getattr(source, "item", None)
    found = _call(item, value) if item is not None else _float(value)
    if isinstance(found, (bool, int)):
        return int(found)
    if isinstance(found, float):
        return float(found)
    return _float(found)


def _float(value: Any) -> float:
    if not hasattr(type(value), "__float__"):
        raise NotScalar(f"{show(value)} is {_article(type(value).__name__)}, not a number")
    return float(_call(lambda: float(value), value))


def _call(function: Callable[[], Any], value: Any) -> Any:
    result, why = reason(function)
    if why is not None:
        raise NotScalar(f"{_article(type(value).__name__)} could not be read as a number ({why})")
    return result


def _shape(value: Any) -> tuple[int, ...] | None:
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return shape
    try:
        return None if shape is None else tuple(shape)
    except TypeError:
        return None


def _name_or_repr(value: Any) -> str:
    if isinstance(value, type) or callable(value):
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        if isinstance(name, str):
            return f"{module}.{name}" if isinstance(module, str) and module != "builtins" else name
    name = getattr(value, "name", None)
    if isinstance(name, str) and hasattr(type(value), "__members__"):
        return name
    return _without_addresses(_repr(value), type(value).__name__)


def _without_addresses(text: str, kind: str) -> str:
    """A `repr` that is the same in each process; of one that says little more than an address it is the type's name."""
    found = _ADDRESS.search(text)
    if found is None:
        return text
    return kind if text.startswith("<") else _ADDRESS.sub("", text)


def _path(value: "os.PathLike[Any]") -> str:
    text, _ = reason(os.fsdecode, value)
    return _repr(value) if text is None else text


def _repr(value: Any) -> str:
    text, why = reason(repr, value)
    return text if isinstance(text, str) else f"<{type(value).__name__}: its repr failed with {why}>"


def show(value: Any) -> str:
    """A value for a message: its `repr`, at most 60 characters; never raises."""
    return _show_text(_repr(value))


def _show_text(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def _article(word: str) -> str:
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"


def is_finite(value: Number) -> bool:
    """Whether a metric value is neither NaN nor infinite; integers of any size are finite."""
    return isinstance(value, int) or math.isfinite(value)
