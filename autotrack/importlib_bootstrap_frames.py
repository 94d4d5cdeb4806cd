"""The frames that stand between a user's call and the function of theirs that we observe.

The name of this file matters. `warnings.warn(..., stacklevel=2)` names the caller's line, and one more frame
in between would name ours instead: filters by module would no longer match, and warnings would appear or
vanish.
CPython leaves out frames whose file name holds "importlib" and "_bootstrap" (Lib/warnings.py,
`_is_internal_frame`; the C twin does the same).
"""

import sys
from collections.abc import Callable
from functools import update_wrapper, wraps
from operator import itemgetter
from types import MethodType
from typing import TYPE_CHECKING, Any

from autotrack.guard import shielded_listener

if TYPE_CHECKING:
    from autotrack.patcher import Begin, Hear, Patcher


def observing(original: Callable[..., Any], patcher: "Patcher", begin: "Begin") -> Callable[..., Any]:
    """A stand-in for `original`, same name, signature and result; `begin` hears of calls while
    patcher.live.
    """

    @wraps(original)
    def observed(*args: Any, **kwargs: Any) -> Any:
        if not patcher.live:
            return original(*args, **kwargs)
        with patcher.call(begin, args, kwargs) as call:
            call.result = original(*call.args, **call.kwargs)
        return call.result

    return observed


def heard(original: Callable[..., Any], patcher: "Patcher", hear: "Hear") -> Callable[..., Any]:
    """As `observing`, for functions that are called at every step: `hear` is told of each call that has returned."""
    tell = shielded_listener("recording a call", hear)

    @wraps(original)
    def listened(*args: Any, **kwargs: Any) -> Any:
        returned = False
        try:
            result = original(*args, **kwargs)
            returned = True
        finally:
            if not returned:
                leave_out_this_frame()
        if patcher.live:
            tell(args, kwargs, result)
        return result

    return listened


class PortableMethod:
    """An observed method of a class that may be pickled by value.

    cloudpickle copies the classes of a user's script with everything their methods refer to, which ends at a
    lock of ours. In the class stands this descriptor: whoever asks for the method gets a plain function, and
    whoever pickles the class gets the original.
    """

    def __init__(self, original: Callable[..., Any], observed: Callable[..., Any]) -> None:
        update_wrapper(self, original)
        self.original = original
        self._observed = observed

    def __get__(self, instance: object, owner: type | None = None) -> Callable[..., Any]:
        return self._observed if instance is None else MethodType(self._observed, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._observed(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return itemgetter(0), ((self.original,),)


def leave_out_this_frame() -> None:
    """Take the caller, through which an error passes, out of its traceback: the user's shows their frames only."""
    error = sys.exc_info()[1]
    if error is not None and error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next


def after_subclassing(owner: Any, patcher: "Patcher", hear: Callable[[type], None]) -> Callable[..., None]:
    """An `__init_subclass__` for `owner`, to be made a classmethod: does what was done before, then
    `hear(cls)`.
    """

    def init_subclass(cls: Any, **kwargs: Any) -> None:
        super(owner, cls).__init_subclass__(**kwargs)
        if patcher.live:
            hear(cls)

    return init_subclass
