"""Replacing functions of other libraries, and putting the very originals back.

    patcher = Patcher()
    patcher.observe(Trainer, "train", begin)   # begin(call) before each call; its result is called after it
    patcher.replace(Trainer, "save", make)     # make(original) -> what stands in its place
    patcher.restore()

Prefer `observe`: the original is called exactly once whatever our part does, our errors never reach it, and
the frames in between are invisible to `warnings.warn(stacklevel=…)`. What `replace` puts in place has to ask
`patcher.live` first and behave as the original when it is False, because a wrapper that somebody else has
wrapped since cannot be taken out again.
"""

from _thread import RLock
from collections.abc import Callable
from functools import partial
from types import ModuleType, TracebackType
from typing import Any, Self
from weakref import ref

from autotrack.everywhere import Swap, swap_everywhere, walk
from autotrack.guard import attempt
from autotrack.importlib_bootstrap_frames import PortableMethod, heard, observing

MARK = "__autotrack_patch__"

Owner = Any  # a class, a module, or an object whose attribute is called (the `fn` of a descriptor)
Begin = Callable[["Call"], "Callable[[Call], object] | None"]
Hear = Callable[[tuple[Any, ...], dict[str, Any], Any], object]


class _Absent:
    """Stands for "this class has no such attribute of its own"."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()


class Call:
    """One observed call. `begin` may set `args` and `kwargs`; behind the call there is `result` or
    `error`.
    """

    __slots__ = ("_begin", "_end", "args", "error", "kwargs", "result")

    def __init__(self, begin: Begin, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self.result: Any = None
        self.error: BaseException | None = None
        self._begin = begin
        self._end: Callable[[Call], object] | None = None

    def __enter__(self) -> Self:
        args, kwargs = self.args, dict(self.kwargs)
        self._end = attempt("recording the start of a call", self._begin, self, default=_failed)
        if self._end is _failed:
            self.args, self.kwargs, self._end = args, kwargs, None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and trace is not None:
            # The user's traceback shows their frames only: leaving a `with` block adds no frame of ours again.
            error.__traceback__ = trace.tb_next
        if self._end is None:
            return
        self.error = error
        result = self.result
        attempt("recording the end of a call", self._end, self)
        self.error = None
        self.result = result


class _Patch:
    """One replaced attribute. It hangs on the replacement, so that a class that nobody needs any more can
    go.
    """

    __slots__ = ("__weakref__", "original", "patcher", "replacement")

    def __init__(self, patcher: "Patcher", original: Any, replacement: Any) -> None:
        self.patcher = patcher
        self.original = original
        self.replacement = replacement


class Patcher:
    """Everything that one integration has replaced. Once restored it stays so: a new install takes a new
    Patcher.
    """

    def __init__(self) -> None:
        self.live = True
        """False once `restore()` was called; replacements that are still in place then act as the
        originals.
        """
        self._lock = RLock()
        self._owners: dict[tuple[int, str], tuple[ref[Any], Any]] = {}
        self._functions: list[tuple[Any, Any]] = []

    def observe(self, owner: Owner, name: str, begin: Begin, portable: bool = False) -> None:
        """Call `begin(call)` before each call of `owner.name`, and what it returns, if not None, with `call`
        behind it.

        `call.args` and `call.kwargs` may be replaced in `begin`; `call.result` or `call.error` are set behind
        the call.
        Errors in either are warned of and swallowed; the user's call runs once and returns what it returns.
        `portable`: for methods of classes that users subclass in scripts; see `PortableMethod`.
        """
        self._wrap(owner, name, lambda original: observing(original, self, begin), portable)

    def listen(self, owner: Owner, name: str, hear: Hear, portable: bool = False) -> None:
        """Call `hear(args, kwargs, result)` behind each call of `owner.name` that returns.

        `observe` for what is called at every step of a training: it costs a third of it, and changes nothing.
        """
        self._wrap(owner, name, lambda original: heard(original, self, hear), portable)

    def replace(self, owner: Owner, name: str, make: Callable[[Any], Any]) -> None:
        """Put `make(original)` in the place of `owner.name`.

        On a class: `original` is the function itself, also of a staticmethod or classmethod, which is made
        again around the result; other descriptors (a property, `available_if`) as they are. When the class
        only inherits the attribute, `original` is the inherited one and restoring deletes ours. On a module:
        the function is replaced in every module that holds it, under the same qualified name, so that it
        pickles by reference.
        Replacing twice is once; after `restore()` nothing is replaced any more.
        """
        if isinstance(owner, ModuleType):
            self.replace_functions(owner, {name: make})
            return
        with self._lock:
            if not self.live or self._stands(owner, name):
                return
            own = _sound(owner.__dict__.get(name, ABSENT))
            original = own if own is not ABSENT else _inherited(owner, name)
            replacement = _remade(original, make)
            self._set(owner, name, own, replacement)

    def replace_one(self, module: ModuleType, name: str, make: Callable[[Any], Any]) -> None:
        """`replace` for a module's function in that module alone, without a walk over the loaded ones."""
        with self._lock:
            if self.live and not self._stands(module, name):
                original = _sound(module.__dict__[name])
                self._set(module, name, original, make(original))

    def replace_functions(self, module: ModuleType, makers: dict[str, Callable[[Any], Any]]) -> None:
        """`replace` for several functions of one module, with one walk over the loaded modules."""
        with self._lock:
            if not self.live:
                return
            swaps: dict[int, Swap] = {}
            for name, make in makers.items():
                original = _sound(module.__dict__[name])
                if not self._stands(module, name):
                    replacement = make(original)
                    self._functions.append((original, replacement))
                    swaps[id(original)] = (original, partial(self._set_if_live, original, replacement))
        if _is_initializing(module):
            walk(swaps, [module])  # nobody else can hold what it has
        else:
            swap_everywhere(swaps)

    def restore(self) -> None:
        """Put every original back. Where somebody has wrapped ours since, theirs stays and ours does nothing
        any more.
        """
        self.live = False
        with self._lock:
            owners, self._owners = self._owners, {}
            functions, self._functions = self._functions, []
            for (_, name), (owner_ref, patch_ref) in owners.items():
                owner, patch = owner_ref(), patch_ref()
                if owner is not None and patch is not None and owner.__dict__.get(name) is patch.replacement:
                    _put_back(owner, name, _sound(patch.original))
        swap_everywhere({id(ours): (ours, partial(_restore, original)) for original, ours in functions})

    def call(self, begin: Begin, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """The context in which an observed function is called."""
        return Call(begin, args, kwargs)

    def _wrap(self, owner: Owner, name: str, wrap: Callable[[Any], Any], portable: bool) -> None:
        self.replace(
            owner,
            name,
            lambda original: PortableMethod(original, wrap(original)) if portable else wrap(original),
        )

    def _stands(self, owner: Owner, name: str) -> bool:
        known = self._owners.get((id(owner), name))
        patch = known[1]() if known else None
        return known is not None and known[0]() is owner and patch is not None

    def _set_if_live(self, original: Any, replacement: Any, holder: ModuleType, name: str) -> None:
        with self._lock:
            if self.live:
                self._set(holder, name, original, replacement)

    def _set(self, owner: Owner, name: str, original: Any, replacement: Any) -> None:
        patch = getattr(replacement, MARK, None)
        if not isinstance(patch, _Patch) or patch.replacement is not replacement:
            patch = _Patch(self, original, replacement)
        keep: Any = ref(patch)
        try:
            setattr(replacement, MARK, patch)
        except AttributeError:  # a property has no room for a mark
            keep = _Strong(patch)
        key = (id(owner), name)
        owners = self._owners
        setattr(owner, name, replacement)
        forget = _forget  # when the process ends, this module's names may go before the owner does
        owners[key] = (ref(owner, lambda gone: forget(owners, key, gone)), keep)


class _Strong:
    """A reference that is called like a weak one."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __call__(self) -> Any:
        return self._value


def patched(value: Any) -> bool:
    """Whether this very object was put in place by a patcher that is live."""
    patch = getattr(value, MARK, None)
    return isinstance(patch, _Patch) and patch.replacement is value and patch.patcher.live


def _failed(call: Call) -> None:
    """Marks that `begin` raised."""


def _forget(owners: dict[tuple[int, str], Any], key: tuple[int, str], gone: Any) -> None:
    if key in owners and owners[key][0] is gone:
        del owners[key]


def _sound(value: Any) -> Any:
    """`value`, or what lies under it when it is a replacement of ours that is restored but was covered at
    that time.
    """
    patch = getattr(value, MARK, None)
    while isinstance(patch, _Patch) and patch.replacement is value and not patch.patcher.live:
        value = patch.original
        patch = getattr(value, MARK, None)
    return value


def _inherited(owner: type, name: str) -> Any:
    for base in owner.__mro__[1:]:
        if name in base.__dict__:
            return base.__dict__[name]
    raise AttributeError(f"{owner.__module__}.{owner.__qualname__} has no attribute {name!r} to replace")


def _remade(original: Any, make: Callable[[Any], Any]) -> Any:
    if isinstance(original, staticmethod | classmethod):
        made = make(original.__func__)
        return made if isinstance(made, staticmethod | classmethod) else type(original)(made)
    return make(original)


def _put_back(owner: Owner, name: str, original: Any) -> None:
    if original is ABSENT:
        delattr(owner, name)
    else:
        setattr(owner, name, original)


def _restore(original: Any, holder: ModuleType, name: str) -> None:
    setattr(holder, name, _sound(original))


def _is_initializing(module: ModuleType) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))
