"""The writer of a journal: one `write(2)` on an append-only descriptor a line, from the thread that called, without a lock.

While the disk refuses lines, or takes more than 5 ms for one several times in a row, they go to a bounded ring in memory,
and the helper thread calls `tick` to write them; a caller never waits for that. What is refused for long goes to another
folder, and is brought back when its own takes files again. The descriptor's number stays: a new segment is put under it by
`dup2(2)`, so that a thread in the middle of a write meets one file or the other, never a closed one.
"""

import errno
import itertools
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, monotonic_ns
from typing import Any

from autotrack.gil import turn
from autotrack.journal.format import SEGMENT_BYTES, encode
from autotrack.journal.heading import first_line, new_stem
from autotrack.journal.loss import gap, tell_of_the_rest, tell_of_waiting
from autotrack.journal.pace import SLOW_NS, Pace, Stopwatch
from autotrack.journal.place import Place
from autotrack.journal.ring import Ring, write_oldest

LEAVE_SECONDS = 10.0
OPEN_SECONDS = 0.05
_INTERRUPTED_MOST = 10


class Journal:
    """One process's events of one run: `append` for any event, `fast` (a descriptor or None) for Run.log's short way.

    `_state` guards what a caller touches and is never held while the disk works; `_io` is for whoever writes the ring.
    """

    def __init__(
        self,
        folder: Path,
        *,
        run: str,
        project: str,
        role: str,
        rank: int,
        fallback: Callable[[], Path | None],
    ) -> None:
        self.run = run
        self.project = project
        self.role = role
        self.rank = rank
        self.fast: int | None = None
        self.closed = False
        self.on_waiting: Callable[[], object] = _nothing
        """Called when lines begin to wait: wakes the helper thread."""
        self.on_return: Callable[[], object] = _nothing
        """Called on the helper thread when the run's folder was made again, or takes files again."""
        self._place = Place(folder, self._first_line, fallback)
        self._unopened = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        """What a forked child does not share with its parent."""
        self.next_seq = itertools.count().__next__
        self.own_ns = 0
        self._header = -1, -1
        self._state = threading.RLock()
        self._io = threading.RLock()
        self._ring = Ring(lock=self._state)
        self._pace = Pace()
        self._suspended = self._watching = False
        self._why, self._since = "", 0.0
        self._refused_since: float | None = None
        self._tears = self._mended = self._synced = 0
        self._settled = self._opening = False

    def open(self) -> None:
        """Create the file with its first line; OSError when the folder does not take it."""
        self._place.stem = new_stem(self.rank)
        self._place.begin()
        with self._state:
            if not self._suspended:
                self.fast = self._place.fd

    def start(self) -> None:
        """`open`, but a folder that refuses only means that the first lines wait in memory."""
        self._unopened = True
        self._open_late()

    @property
    def folder(self) -> Path:
        """The folder that is written to: the run's own, or the fallback folder while that one refuses."""
        return self._place.folder

    @property
    def path(self) -> Path:
        """The file that is written now."""
        return self._place.path

    def append(self, kind: str, *body: Any) -> None:
        """Write one event; never raises for what the disk does. Raises TypeError for a body that JSON cannot hold."""
        self.append_since(monotonic_ns(), kind, *body)

    def append_since(self, started: int, kind: str, *body: Any) -> None:
        """`append` for a call that began before, in monotonic nanoseconds."""
        try:
            seq = self.next_seq()
            self.write(seq, encode(kind, seq, started, *body), started)
        except BaseException:
            self.interrupted()
            raise

    def broken_off(self, seq: int, line: bytes, error: OSError) -> None:
        """An error came out of the writing of a line: the disk's own has a number; a signal's handler has raised any other."""
        try:
            if error.errno is None:  # such as TimeoutError
                raise error
            self.refused(seq, line, error)
        except BaseException:
            self.interrupted()
            raise

    def interrupted(self) -> None:
        """A Ctrl-C, or a signal's handler that raised, came between: there may be numbers that no line bears."""
        for times in range(1, _INTERRUPTED_MOST):
            with suppress(BaseException):  # the one before is on its way to the caller
                started = monotonic_ns()
                seq = self.next_seq()
                self.write(seq, encode("beat", seq, started, {"interrupted": times}), started)
                return

    def write(self, seq: int, line: bytes, started: int) -> None:
        """Write one encoded line, or keep it in the ring; `started` is the monotonic time of the call, for our own account."""
        if self._unopened:
            self._open_late()
        fd = self.fast
        if fd is None and not self._watching:
            fd = self.fast  # that came back in between
        if fd is not None:
            self._put(fd, seq, line)
        elif self._watching:
            self._write_watched(seq, line)
        else:
            self._keep(seq, line)
            if not self._suspended:  # then nobody is on the way to write it
                self.on_waiting()
        ended = monotonic_ns()
        took = ended - started
        self.own_ns += took
        if took > SLOW_NS or ended > turn.due:
            self.after(seq, took if fd is not None else 0, ended)

    def keep(self, kind: str, *body: Any) -> None:
        """An event that `settle` writes: the caller does not touch the disk."""
        seq = self.next_seq()
        self._keep(seq, encode(kind, seq, monotonic_ns(), *body))

    def torn(self, seq: int, line: bytes) -> None:
        """A short write: close the torn line with a newline and write the line again, whole."""
        fd = self._place.fd
        self._tears += 1
        self._keep(seq, line)
        if fd is not None:
            with suppress(OSError):  # at once, so that no other thread's line is joined to it
                os.write(fd, b"\n")
        self._suspend("the disk took only a part of a line")

    def refused(self, seq: int, line: bytes, error: OSError) -> None:
        """The disk refused a line: it waits in the ring, and so do the next ones."""
        self._keep(seq, line)
        self._suspend(f"{self.path} cannot be written ({error.strerror or error})")

    def hold(self) -> None:
        """The disk does not answer: lines wait in the ring."""
        self._suspend("the disk does not answer", quiet=True)

    def after(self, seq: int, took: int, now: int) -> None:
        """What follows an event: was the disk slow, does the helper thread wait for the interpreter?"""
        if took > SLOW_NS:
            self._slow(seq, took)
        if now > turn.due:
            turn.give(now)
            self.own_ns += monotonic_ns() - now

    def _slow(self, seq: int, took: int) -> None:
        """The write of this event took more than 5 ms; after several in a row the next ones are looked at more closely."""
        if self._pace.alarming(seq, took):
            with self._state:
                if self.fast is not None:
                    self._watching = True
                    self.fast = None

    def tick(self) -> None:
        """From the helper thread: write what waits in the ring, sync what is new, begin a new segment where one is due."""
        with self._io:
            if self.closed:
                return
            if self.waiting() or self._place.replaced.pending:
                self._flush()
                self._place.replaced.settle_carried(at_once=False)
            if self._refused_since is not None:
                self._leave_if_due()
            elif self._place.may_return():
                self._come_home()
        self.sync()
        with self._io:
            begun = self._look_after_file()
        if begun:
            self.sync()

    def waiting(self) -> bool:
        """Whether lines wait in memory for the disk, or would."""
        return self._suspended or len(self._ring) > 0

    def settle(self) -> int:
        """Write out what waits, in another folder if need be, and sync it; how many lines find no place, which is warned of."""
        with self._io:
            if self._unopened and not self._ring:
                return 0
            if not self._flush() and self._place.leave(self._why):
                self._flush()
            if self._place.away:
                self._come_home()
            if self._suspended:
                self._pace.resumed(self._why, monotonic() - self._since)
            self._place.replaced.settle_carried(at_once=True)
            self._pace.report(self.keep, at_once=True)
            self._take_late(at_once=True)
            left = len(self._ring) if self._ring and not self._flush() else 0
        self.sync()
        if left:
            tell_of_the_rest(left, self.run, self._place.home)
        return left

    def sync(self) -> None:
        """fsync what is new. Nobody who writes waits for that."""
        mark = self.own_ns
        if mark == self._synced and not self._place.replaced.unsynced:
            return
        error = self._place.sync()
        self._synced = mark
        if error is not None:
            with self._io:
                if not self._settled:
                    self._place.sync_failed(error)

    def forked(self) -> None:
        """In a forked child: the parent's file is left alone; a file of this process is opened at the first event."""
        self._begin_anew()
        self.role, self.fast = "worker", None
        self._place.leave_behind()
        self._unopened = True

    def close(self, *, wait: bool) -> int | None:
        """Write out the ring (in another folder if need be), sync if `wait`; the descriptor is handed back, still open."""
        with self._state:
            if self.closed:
                return None
            self.closed, self.fast, self._watching = True, None, False
        unsettled = self.waiting() or self._place.away or self._place.replaced.pending
        left = self.settle() if wait or unsettled else 0
        while True:
            with self._io, self._state:
                if len(self._ring) == left:
                    self._settled = True
                    self._place.replaced.let_go()
                    fd, self._place.fd = self._place.fd, None
                    return fd
            left = self.settle()  # another thread's lines, which came meanwhile

    def _put(self, fd: int, seq: int, line: bytes) -> None:
        try:
            if os.write(fd, line) != len(line):
                self.torn(seq, line)
        except OSError as error:
            self.broken_off(seq, line, error)

    def _write_watched(self, seq: int, line: bytes) -> None:
        """Is it the disk that is slow, or the machine that is busy? Only then lines have to wait in the ring."""
        fd = self._place.fd
        if fd is None:
            self._keep(seq, line)
            return
        watch = Stopwatch()
        self._put(fd, seq, line)
        slow = self._pace.verdict(watch.stop())
        if slow:
            self._suspend("the disk took more than 5 ms for a line", quiet=True)
        with self._state:
            if slow is False and self._watching:
                self.fast, self._watching = self._place.fd, False

    def _open_late(self) -> None:
        """Open the file at the first event; other threads wait for that, as their lines would be in memory only."""
        if self._suspended:
            return  # they are, and the helper thread opens it
        if not self._io.acquire(timeout=OPEN_SECONDS):
            self._suspend(f"{self.folder} does not answer", quiet=True)
            return
        try:
            # A finalizer or signal handler may come here in the middle of it.
            if self._unopened and not self._opening:
                self._open_now()
        finally:
            self._io.release()
        if self._ring:
            self.on_waiting()

    def _open_now(self) -> None:
        self._opening = True
        try:
            self.open()
        except OSError as error:
            self._suspend(f"{self.folder} takes no file ({error.strerror or error})")
        finally:
            self._unopened = self._opening = False

    def _keep(self, seq: int, line: bytes) -> None:
        with self._state:
            lost = self._settled
            if not lost:
                self._ring.put(seq, line)
                self._pace.kept(seq)
        if lost:
            tell_of_the_rest(1, self.run, self._place.home)

    def _suspend(self, why: str, quiet: bool = False) -> None:
        with self._state:
            begins = not self._suspended
            self.fast, self._suspended, self._watching = None, True, False
            if begins:
                self._why, self._since = why, monotonic()
            elif not quiet:
                self._why = why
        if begins:
            self.on_waiting()
        if not quiet:
            tell_of_waiting(why, self.folder)

    def _flush(self) -> bool:
        """Write the waiting lines; True when all are written. The short way is open again then, unless the disk is slow."""
        stuck = -1
        while True:
            try:
                if self._place.look() is None:
                    self._recover()
                self._take_late()
                while not self._resume():
                    self._write_some()
                self._refused_since = None
                return True
            except OSError as error:
                left = self._ring.size
                if error.errno == errno.EFBIG and left != stuck and self._next_segment():
                    stuck = left  # a limit on the size of one file: the next one takes some more
                    continue
                self._tears += 1
                self._suspend(f"{self.path} cannot be written ({error.strerror or error})", quiet=True)
                self._refused_since = self._refused_since or monotonic()
                return False

    def _resume(self) -> bool:
        """Whether nothing waits any more; then the short way is opened again, unless the disk is slow."""
        number, seq = self._header
        if number > self._place.number:  # of a first line that no folder took: no number is to be missing
            self._header = -1, -1
            self._keep(seq, encode("beat", seq, monotonic_ns(), {}))
        with self._state:
            if self._ring:
                return False
            gaps = self._ring.take_dropped()
            if not gaps:
                if self._pace.disk_is_slow and not self.closed:
                    return True
                if self._suspended:
                    self._suspended = False
                    self._pace.resumed(self._why, monotonic() - self._since)
                self.fast = None if self.closed else self._place.fd
                self._watching = False
        for first, last, count in gaps:
            self.keep("gap", gap(first, last, count, self._why))
        if not self.closed:
            self._pace.report(self.append)
        return not gaps

    def _write_some(self) -> None:
        """Some of the waiting lines with one call; a torn line before them is closed by a newline."""
        fd, tears = self._place.fd, self._tears
        assert fd is not None
        try:
            took, is_torn = write_oldest(self._ring, fd, after_torn=tears != self._mended)
        finally:
            self._synced = -1
        self._pace.helper_took(took)
        self._mended = tears
        if is_torn:
            self._tears += 1
            self._suspend("the disk took only a part of a line", quiet=True)

    def _leave_if_due(self) -> None:
        since = self._refused_since or monotonic()
        if monotonic() - since < LEAVE_SECONDS and self._ring.size < self._ring.capacity // 2:
            return
        if self._place.leave(self._why):
            self._mended = self._tears
            self._flush()
        elif self._place.may_return():
            self._come_home()

    def _come_home(self) -> None:
        if self._place.come_home():
            self.on_return()
        self._synced = -1

    def _recover(self) -> None:
        self._suspend(f"{self.path} is gone", quiet=True)
        if not self._place.stem:
            self._place.stem = new_stem(self.rank)
        self._tears += self._place.recover()
        self._unopened = False
        self._synced = -1
        self.on_return()

    def _take_late(self, at_once: bool = False) -> None:
        """Lines that came to a deleted file after it was copied wait with the others."""
        for seq, line in self._place.replaced.late_lines(at_once):
            self._keep(seq, line)

    def _look_after_file(self) -> bool:
        """Where the file was deleted, moved or grew too long, or the program closed our descriptor. Whether a segment was begun."""
        if self._place.fd is None:
            return False
        file = self._place.look()
        if file is None:
            self._suspend(f"{self.path} is gone", quiet=True)
            self._flush()
        elif file.st_size > SEGMENT_BYTES:
            return self._next_segment()
        else:
            self._place.follow()
        return False

    def _next_segment(self) -> bool:
        try:
            self._place.begin()
        except OSError:
            return False
        self._mended = self._tears
        return True

    def _first_line(self, number: int) -> bytes:
        if number != self._header[0]:  # else the disk refused this segment before
            self._header = number, self.next_seq()
        return first_line(
            self._header[1], number, run=self.run, project=self.project, role=self.role, rank=self.rank
        )


def _nothing() -> None:
    """Where nobody is to be told."""
