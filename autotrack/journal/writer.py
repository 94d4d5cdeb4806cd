"""The writer of a journal: one `write(2)` on an append-only descriptor a line, from the thread that called, without a lock.

While the disk refuses lines, or takes more than 5 ms for one several times in a row, they go to a bounded ring in memory,
and the helper thread calls `tick` to write them. The descriptor's number never changes while a journal is open: a new
segment is put under it by `dup2(2)`, so that a thread in the middle of a write meets one file or the other, never a closed one.
"""

import itertools
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from autotrack.guard import warn
from autotrack.journal.format import FORMAT, SEGMENT_BYTES, SUFFIX, encode
from autotrack.journal.ring import Ring
from autotrack.layout import make_private_folder, open_private
from autotrack.process import clocks, this_process
from autotrack.version import VERSION

SLOW_NS = 5_000_000
SLOW_IN_A_ROW = 3
_HOST_LENGTH = 64


class Journal:
    """One process's events of one run: `append` for any event, `fast` (a descriptor or None) for Run.log's short way."""

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
        self.folder = folder
        self.run = run
        self.project = project
        self.role = role
        self.rank = rank
        self.fast: int | None = None
        self.next_seq = itertools.count().__next__
        self.own_ns = 0
        self._slow_row = 0
        self._slow_seq = -1
        self.closed = False
        self._unopened = False
        self._fallback = fallback
        self._ring: Ring | None = None
        self._fd: int | None = None
        self._segment = 0
        self._stem = ""
        self._synced = 0
        self._lock = threading.RLock()

    def open(self) -> None:
        """Create the file with its first line; OSError when the folder does not take it."""
        facts = this_process()
        if not self.folder.is_dir():
            make_private_folder(self.folder)
        host = "".join(c if (c.isalnum() and c.isascii()) or c in "._" else "_" for c in facts.host)[
            :_HOST_LENGTH
        ]
        self._stem = f"{host}-{facts.pid}-{time.time_ns()}-{self.rank}"
        self._fd = self._open_segment(0)
        self.fast = self._fd

    def start(self) -> None:
        """`open`, but a folder that refuses only means that the first lines wait in memory."""
        self._unopened = True
        self._open_late()

    @property
    def path(self) -> Path:
        """The file that is written now."""
        return self.folder / f"{self._stem}.{self._segment}{SUFFIX}"

    def append(self, kind: str, *body: Any) -> None:
        """Write one event; never raises for what the disk does. Raises TypeError for a body that JSON cannot hold."""
        started = time.monotonic_ns()
        seq = self.next_seq()
        self.write(seq, encode(kind, seq, started, *body), started)

    def write(self, seq: int, line: bytes, started: int) -> None:
        """Write one encoded line, or keep it in the ring; `started` is the monotonic time of the call, for our own account."""
        if self._unopened:
            self._open_late()
        fd = self.fast
        if fd is None:
            self._keep(seq, line)
        else:
            try:
                if os.write(fd, line) != len(line):
                    self.torn(seq, line)
            except OSError as error:
                self.refused(seq, line, error)
        ended = time.monotonic_ns()
        self.own_ns += ended - started
        if ended - started > SLOW_NS:
            self.slow(seq)

    def torn(self, seq: int, line: bytes) -> None:
        """A short write: close the torn line with a newline and write the line again, whole."""
        self._suspend("the disk took only a part of a line")
        self._keep(seq, b"\n" + line)

    def refused(self, seq: int, line: bytes, error: OSError) -> None:
        """The disk refused a line: it waits in the ring, and so do the next ones."""
        self._suspend(f"{self.path} cannot be written ({error.strerror or error})")
        self._keep(seq, line)

    def slow(self, seq: int) -> None:
        """The write of this event took more than 5 ms; after several in a row the lines wait in the ring."""
        self._slow_row = self._slow_row + 1 if seq == self._slow_seq + 1 else 1
        self._slow_seq = seq
        if self._slow_row >= SLOW_IN_A_ROW and self.fast is not None:
            self._suspend("the disk takes more than 5 ms for a line", quiet=True)

    def tick(self) -> None:
        """From the helper thread: write what waits in the ring, sync what is new, begin a new segment where one is due."""
        if self._ring is not None:
            self._flush_ring()
        self.sync()
        size, vanished = self._state()
        if vanished:
            self._reopen_vanished()
        elif size > SEGMENT_BYTES:
            self._next_segment()

    def waiting(self) -> bool:
        """Whether lines wait in memory for the disk."""
        return self._ring is not None

    def sync(self) -> None:
        """fsync what is new; after a failed fsync the kernel may have dropped pages, so a new segment begins."""
        fd, mark = self._fd, self.own_ns
        if fd is None or mark == self._synced:
            return
        try:
            os.fsync(fd)
        except OSError as error:
            warn(
                "disk",
                f"{self.path} could not be synced ({error.strerror or error}); a new file is begun.",
                key=self.path,
            )
            self._next_segment()
        self._synced = mark

    def forked(self) -> None:
        """In a forked child: the parent's file is left alone; a file of this process is opened at the first event."""
        self._lock = threading.RLock()
        self.next_seq = itertools.count().__next__
        self.role = "worker"
        self.own_ns = self._slow_row = self._segment = 0
        self._ring = self._fd = self.fast = None
        self._unopened = True

    def close(self, *, wait: bool) -> int | None:
        """Write out the ring (in another folder if need be), sync if `wait`; the descriptor is handed back, still open."""
        with self._lock:
            if self.closed:
                return None
            if self._ring is not None:
                self._flush_ring()
            if self._ring is not None:
                self._move_to_fallback()
            if wait:
                self.sync()
            self.closed = True
            fd, self._fd, self.fast = self._fd, None, None
            return fd

    def _open_late(self) -> None:
        with self._lock:
            if not self._unopened:
                return
            self._unopened = False
            try:
                self.open()
            except OSError as error:
                self._suspend(f"{self.folder} takes no file ({error.strerror or error})")

    def _keep(self, seq: int, line: bytes) -> None:
        with self._lock:
            if self.closed:
                return
            if self._ring is None:
                self._ring = Ring()
            self._ring.put(seq, line)

    def _suspend(self, why: str, quiet: bool = False) -> None:
        with self._lock:
            self.fast = None
            if self._ring is None:
                self._ring = Ring()
        if not quiet:
            warn(
                "disk",
                f"{why}: events are kept in memory and written as soon as it does again.",
                key=self.folder,
            )

    def _flush_ring(self) -> bool:
        """Write the waiting lines; True when all are written and the short way is open again."""
        with self._lock:
            ring = self._ring
            if ring is None:
                return True
            try:
                if self._fd is None or not self.path.exists():
                    self._reopen()
                while (line := ring.first()) is not None:
                    if not self._write_whole(line):
                        return False
                    ring.pop()
                dropped = ring.take_dropped()
                if dropped is not None:
                    self._write_gap(dropped)
            except OSError:
                return False
            self._ring, self.fast, self._slow_row = None, self._fd, 0
            return True

    def _write_whole(self, line: bytes) -> bool:
        fd = self._fd
        if fd is None:
            return False
        written = os.write(fd, line)
        if written == len(line):
            return True
        with suppress(OSError):
            os.write(fd, b"\n")
        return False

    def _write_gap(self, dropped: tuple[int, int, int]) -> None:
        first, last, count = dropped
        body = {
            "from": first,
            "to": last,
            "dropped": count,
            "reason": "the disk took nothing and the memory ring was full",
        }
        seq = self.next_seq()
        self._write_whole(encode("gap", seq, time.monotonic_ns(), body))
        warn(
            "dropped",
            f"{count} events between {first} and {last} were dropped: the disk took nothing for too long.",
        )

    def _reopen(self) -> None:
        """Begin a new segment in the folder, which is made again if it vanished."""
        make_private_folder(self.folder)
        self._next_segment()

    def _move_to_fallback(self) -> None:
        """The folder refused to the end: what waits goes to the fallback folder, which `ls` and `doctor` find."""
        folder = self._fallback()
        if folder is None or folder == self.folder:
            return
        refused, self.folder = self.folder, folder
        with suppress(OSError):
            make_private_folder(folder)
        if self._flush_ring():
            warn("fallback", f"{refused} took no more events; the last ones lie in {folder}.", key=folder)

    def _next_segment(self) -> None:
        with self._lock:
            self._segment += 1
            try:
                fd = self._open_segment(self._segment)
            except OSError:
                self._segment -= 1
                if self._fd is None:
                    raise
                return
            if self._fd is None:
                self._fd = fd
                return
            with suppress(OSError):
                os.fsync(self._fd)
            os.dup2(fd, self._fd, inheritable=False)
            os.close(fd)

    def _open_segment(self, segment: int) -> int:
        path = self.folder / f"{self._stem}.{segment}{SUFFIX}"
        fd = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        try:
            line = self._header(segment)
            if os.write(fd, line) != len(line):
                raise OSError(28, "only a part of the first line was written", str(path))
        except OSError:
            os.close(fd)
            with suppress(OSError):
                os.unlink(path)
            raise
        return fd

    def _header(self, segment: int) -> bytes:
        facts = this_process()
        wall, mono = clocks()
        body = {
            "format": FORMAT,
            "run": self.run,
            "project": self.project,
            "host": facts.host,
            "pid": facts.pid,
            "pidns": facts.pidns,
            "boot": facts.boot,
            "started": facts.started,
            "rank": self.rank,
            "segment": segment,
            "wall": wall,
            "by": f"autotrack {VERSION}",
            "role": self.role,
        }
        return encode("h", self.next_seq(), mono, body)

    def _reopen_vanished(self) -> None:
        """Somebody deleted the file: what comes now goes to a new one."""
        with self._lock:
            try:
                self._reopen()
            except OSError as error:
                self._suspend(
                    f"{self.folder} was deleted and cannot be made again ({error.strerror or error})"
                )
                return
        warn("vanished", f"{self.folder} was deleted; the run goes on in {self.path.name}.", key=self.path)

    def _state(self) -> tuple[int, bool]:
        """The size of the file, and whether it was deleted."""
        try:
            found = os.fstat(self._fd) if self._fd is not None else None
        except OSError:
            found = None
        return (0, False) if found is None else (found.st_size, found.st_nlink == 0)
