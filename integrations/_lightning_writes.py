"""When what Lightning saves is there: as a rule when the call returns, with an AsyncCheckpointIO later, in another thread.

A CheckpointIO that wraps another one hands each save on to it, AsyncCheckpointIO in a thread of its own and one after the other, so the
`save_checkpoint` of the one inside tells when the file is written. Where none tells of it, and the file is the one that was there
before, it is looked for when the fit is over: the teardown of the strategy waits for such threads.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import get_ident
from typing import Any

from autotrack import saves
from autotrack.callback import ByIdentity
from autotrack.patcher import Call, Patcher
from autotrack.run import Run

_LIGHTNING = ("lightning.", "lightning_fabric.", "pytorch_lightning.")


class Write:
    """One save that was asked for and is not noted yet."""

    def __init__(self, run: Run, path: Any, io: Any, facts: dict[str, Any]) -> None:
        self.run = run
        self.path = os.fspath(path)
        self.place = self.path if "://" in self.path else os.path.abspath(self.path)
        self.io = io
        self.facts = facts | {"overwrites": os.path.lexists(self.place)}
        self.links: list[tuple[Any, str]] = []
        """Paths that stand for it already, and what has made them."""
        self.thread = get_ident()
        self.begun_in: int | None = None
        """The thread in which the inner CheckpointIO has begun to write it."""
        self.written = False
        """Whether that was the thread that asked for it, and has come to its end."""
        self._before = _stamp(self.place)

    def is_new(self) -> bool:
        """Whether the path holds something else than before; a folder counts as new, as nothing tells that of it cheaply."""
        now = _stamp(self.place)
        return "://" in self.place or os.path.isdir(self.place) or (now is not None and now != self._before)


class Writes:
    """The saves that are not noted yet, by the innermost CheckpointIO that is to write them."""

    def __init__(self) -> None:
        self._open: ByIdentity[list[Write]] = ByIdentity()
        self._patcher: Patcher | None = None

    def install(self, patcher: Patcher) -> None:
        """Where to watch what a CheckpointIO wraps."""
        self._patcher = patcher

    def begin(self, run: Run, strategy: Any, path: Any, facts: dict[str, Any]) -> Callable[[Call], None]:
        """A save begins; what is returned is to be called behind it, and notes it then or leaves that to who writes it."""
        chain = _chain(strategy)
        io = chain[-1] if chain else None
        write = Write(run, path, io, facts)
        at_once = not chain or (len(chain) == 1 and type(io).__module__.startswith(_LIGHTNING))
        if not at_once:
            self._expect(write, wrapped=len(chain) > 1)
        release = saves.enclose()

        def end(call: Call) -> None:
            release()
            if at_once and call.error is None:
                saves.saved(run, write.place, **write.facts)
            elif not at_once:
                self._returned(write, chain, call.error)

        return end

    def linked(self, strategy: Any, path: Any, target: Any, by: str) -> bool:
        """Whether a link was made to what is not written yet: it is told of behind that."""
        chain = _chain(strategy)
        place = os.path.abspath(target)
        for write in reversed(self._of(chain[-1]) if chain else []):
            if write.place == place:
                write.links.append((path, by))
                return write in self._of(write.io)
        return False

    def settle(self, strategy: Any) -> None:
        """The threads are done: what is there is noted, of a path that was saved to several times the last."""
        chain = _chain(strategy)
        left = [write for write in (self._of(chain[-1]) if chain else []) if write.begun_in is None]
        newest = {write.place: write for write in left}
        for write in left:
            if self._take(write) and newest[write.place] is write and write.is_new():
                _note(write)

    def _expect(self, write: Write, wrapped: bool) -> None:
        known = self._open.get(write.io)
        if known is None:
            self._open.set(write.io, [write])
        else:
            known.append(write)
        if write.run.opened_by != "disabled":
            saves.retention_of(write.run)  # made here: two threads may ask for it at once
        owner = type(write.io)
        if wrapped and self._patcher is not None:
            self._patcher.observe(owner, "save_checkpoint", partial(self._inner, owner), portable=True)

    def _inner(self, owner: type, call: Call) -> Callable[[Call], None] | None:
        """`io.save_checkpoint(checkpoint, path, …)` of what is wrapped, in whatever thread."""
        io = call.args[0]
        path = call.kwargs.get("path") if len(call.args) < 3 else call.args[2]
        waiting = (one for one in list(self._of(io)) if one.path == str(path) and one.begun_in is None)
        write = next(waiting, None)
        if type(io) is not owner or write is None:
            return None
        write.begun_in = get_ident()
        if write.begun_in != write.thread:
            write.facts["overwrites"] = os.path.lexists(write.place)
        release = saves.enclose()

        def end(call: Call) -> None:
            release()
            if write.begun_in == write.thread:
                write.written = call.error is None
            elif self._take(write) and call.error is None:
                _note(write)

        return end

    def _returned(self, write: Write, chain: list[Any], error: BaseException | None) -> None:
        """The call that saves has returned: note what it has written by itself."""
        is_async = any(kind.__name__ == "AsyncCheckpointIO" for one in chain for kind in type(one).__mro__)
        if error is not None:
            # An AsyncCheckpointIO raises the error of a save before, when it has taken this one.
            if not (is_async and any(getattr(one, "_error", None) is error for one in chain)):
                self._take(write)
            return
        is_its_own = not is_async and write.begun_in in (None, write.thread)
        if (write.written or (is_its_own and write.is_new())) and self._take(write):
            _note(write)

    def _of(self, io: Any) -> list[Write]:
        return self._open.get(io) or []

    def _take(self, write: Write) -> bool:
        """Whether it was still to be noted: the thread that saves and the one that writes may come at once."""
        with suppress(ValueError):
            self._of(write.io).remove(write)
            return True
        return False


def _note(write: Write) -> None:
    """Note what was written, unless rotation has taken it away by now."""
    with suppress(FileNotFoundError):
        saves.saved(write.run, write.place, **write.facts)
        for path, by in write.links:
            saves.linked(write.run, path, write.place, by=by)


def _chain(strategy: Any) -> list[Any]:
    """The CheckpointIO of a strategy, and what it wraps; none where the strategy has its default, or writes by itself."""
    io = vars(strategy).get("_checkpoint_io")
    if io is not None and getattr(io, "checkpoint_io", io) is None:
        io = strategy.checkpoint_io  # gives the wrapper what it wraps
    found: list[Any] = []
    while io is not None and len(found) < 10:
        found.append(io)
        io = getattr(io, "checkpoint_io", None)
    return found


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return facts.st_ino, facts.st_dev, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
