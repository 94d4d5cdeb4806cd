"""The fitted estimator itself: nobody else saves it, so it is pickled where that is cheap, and kept."""

import pickle
from contextlib import suppress
from time import thread_time
from typing import Any

from autotrack.callback import AutoTrack
from autotrack.guard import reason
from autotrack.integrations._sklearn_score import quiet

MOST_BYTES = 16 * 1024 * 1024
_SECONDS = 0.25
_SHARE_OF_FIT = 0.1
_LEAST_SECONDS = 0.005
_CALLBACKS = "_skl_callbacks"
"""Where scikit-learn keeps an estimator's callbacks, from 1.9 on."""


class _TooMuch(Exception):
    """It would be too large, or take too long."""


class _Bounded:
    """Takes what is written to it, up to a size and a time of this thread's, so that a busy machine keeps no model out."""

    def __init__(self, seconds: float) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._until = thread_time() + seconds
        self._seconds = seconds

    def write(self, data: Any) -> int:
        """What `pickle` asks of a file."""
        size = memoryview(data).nbytes
        self._size += size
        if self._size > MOST_BYTES:
            raise _TooMuch(f"it takes more than {MOST_BYTES >> 20} MiB")
        if thread_time() > self._until:
            raise _TooMuch(f"pickling it takes more than {self._seconds * 1e3:.0f} ms, a tenth of the fit")
        self._parts.append(bytes(data))
        return size

    def data(self) -> bytes:
        """All of it."""
        return b"".join(self._parts)


class _Traceless(pickle.Pickler):
    """Remembers the classes that pickling leaves a mark on (`__slotnames__`, which `copyreg` keeps there), to take it off again.

    Of the callbacks of an estimator it leaves out `AutoTrack`: who loads the model may not have us.
    """

    def __init__(self, target: _Bounded) -> None:
        super().__init__(target, protocol=5)
        self._marked: set[type] = set()

    def reducer_override(self, value: Any) -> Any:
        """Called for each object before it is pickled, which goes on as always."""
        kind = type(value)
        if "__slotnames__" not in kind.__dict__:
            self._marked.add(kind)
        held = getattr(value, "__dict__", None)
        if type(held) is dict and _CALLBACKS in held:
            return _without_ours(value.__reduce_ex__(5))
        return NotImplemented

    def tidy(self) -> None:
        """Take the marks off."""
        for kind in self._marked:
            if "__slotnames__" in kind.__dict__:
                with suppress(TypeError, AttributeError):
                    delattr(kind, "__slotnames__")


def _without_ours(reduced: Any) -> Any:
    if not isinstance(reduced, tuple) or len(reduced) < 3 or not isinstance(reduced[2], dict):
        return reduced
    state = dict(reduced[2])
    others = [each for each in state.pop(_CALLBACKS, ()) if not isinstance(each, AutoTrack)]
    if others:
        state[_CALLBACKS] = others
    return (*reduced[:2], state, *reduced[3:])


def pickled(estimator: Any, fit_seconds: float) -> tuple[bytes | None, str | None]:
    """The estimator as a pickle; or None, and why: it cannot be pickled, is larger than 16 MiB, or takes more than 0.25 s of this
    thread's time, or a tenth of the fit (5 ms at least).
    """
    target = _Bounded(max(_LEAST_SECONDS, min(_SECONDS, _SHARE_OF_FIT * fit_seconds)))

    def dump() -> bytes:
        pickler = _Traceless(target)
        try:
            with quiet():
                pickler.dump(estimator)
        finally:
            pickler.tidy()
        return target.data()

    data, why = reason(dump)
    return data, None if why is None else why.removeprefix("_TooMuch: ")
