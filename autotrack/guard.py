"""The one place for a broad `except`: an error of ours becomes one warning and a line in the run's record."""

import os
import sys
import warnings
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Any, TypeVar

from autotrack.config import flag
from autotrack.errors import AutotrackWarning

T = TypeVar("T")
_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep

STRICT = {"on": False}
"""Our own tests switch this on: errors that would be swallowed are raised again."""

_SILENT = {"on": False}
"""`autolog(silent=True)`: warnings are recorded and not shown."""

_told: set[Hashable] = set()
_listeners: list[Callable[[str, str], None]] = []


class guarded:
    """Swallow an error of ours: `with guarded("reading the git state"): ...` leaves the body and warns once."""

    __slots__ = ("what",)

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        if STRICT["on"]:
            return False
        tell(self.what, error)
        return True


def shielded(what: str, function: Callable[..., object]) -> Callable[..., None]:
    """The function, guarded: for what is called at every step of a training, where a `with` block costs more than its body."""

    def guarded_function(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except Exception as error:
            if STRICT["on"]:
                raise
            tell(what, error)

    return guarded_function


def shielded_listener(what: str, hear: Callable[[Any, Any, Any], object]) -> Callable[[Any, Any, Any], None]:
    """As `shielded`, for a function of three arguments: to take any would cost as much as the call."""

    def guarded_listener(args: Any, kwargs: Any, result: Any) -> None:
        try:
            hear(args, kwargs, result)
        except Exception as error:
            if STRICT["on"]:
                raise
            tell(what, error)

    return guarded_listener


def shielded_method(
    what: str, of: Callable[[Any], Any], method: Callable[..., object]
) -> Callable[..., None]:
    """As `shielded`, for a method that is called on `of(owner)` where that is not None."""

    def guarded_method(owner: Any, /, *args: Any, **kwargs: Any) -> None:
        try:
            target = of(owner)
            if target is not None:
                method(target, *args, **kwargs)
        except Exception as error:
            if STRICT["on"]:
                raise
            tell(what, error)

    return guarded_method


def attempt(what: str, function: Callable[..., T], *args: Any, default: Any = None, **kwargs: Any) -> Any:
    """The function's result, or `default` when it raises; the error is warned of once."""
    with guarded(what):
        return function(*args, **kwargs)
    return default


def reason(function: Callable[..., T], *args: Any) -> tuple[T | None, str | None]:
    """(result, None), or (None, "TypeName: message") when it raises; nothing is warned of."""
    try:
        return function(*args), None
    except Exception as error:
        return None, describe(error)


def tell(what: str, error: BaseException) -> None:
    """Warn that something of ours failed: once for each text and error type."""
    message = f"{what} failed: {describe(error)}. The training goes on; this part is missing from its record."
    warn("internal-error", message, key=(what, type(error)))


def describe(error: BaseException) -> str:
    """An exception as "TypeName: message", also when its `__str__` raises."""
    try:
        text = str(error)
    except Exception:
        text = "(its message cannot be shown)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def warn(slug: str, message: str, key: Hashable = None) -> bool:
    """Warn the user once per key (default: the slug), and write the warning into the active run; False if told before."""
    key = (slug, key)
    if key in _told:
        return False
    message = printable(message)
    if len(_told) < 10_000:
        _told.add(key)
    for listener in _listeners:
        try:
            listener(slug, message)
        except Exception as error:
            _print(f"autotrack: a warning could not be recorded: {describe(error)}")
    if not _SILENT["on"] and not flag("SILENT"):
        _show(f"autotrack: {message} [{slug}]")
    return True


def silence(on: bool) -> None:
    """Show no warnings of ours in this process from here on, in no thread; they are recorded all the same."""
    _SILENT["on"] = on


def _show(text: str) -> None:
    try:
        warnings.warn(AutotrackWarning(text), stacklevel=_level_of_caller())
    except Exception:
        # The user turned warnings into errors, or shows them in a way that fails: no reason to stop the training.
        _print(text)


def printable(message: str, most: int = 2_000) -> str:
    """A message without what a terminal would obey: control and invisible characters are spelled, its length is bounded."""
    if len(message) > most:
        message = f"{message[:most]}… ({len(message) - most} more characters)"
    if message.isprintable():
        return message
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in message
    )


def on_warning(listener: Callable[[str, str], None]) -> None:
    """Call `listener(slug, message)` for every warning; the run's record hangs on this."""
    if listener not in _listeners:
        _listeners.append(listener)


def forget() -> None:
    """Forget which warnings were given, so that the next run of this process gives them again."""
    _told.clear()


def _level_of_caller() -> int:
    """The `stacklevel` for `warn` at which the user's code stands: the first frame outside of this package."""
    level, frame = 2, sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        level, frame = level + 1, frame.f_back
    return level


def _print(text: str) -> None:
    try:
        print(text, file=sys.stderr)
    except (OSError, ValueError, AttributeError):
        return
