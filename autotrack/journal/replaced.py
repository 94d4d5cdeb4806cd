"""The files that a journal's descriptor was taken away from: a write that had begun before still goes to one of them.

So each is looked at for some seconds more: it is synced once more, and lines that came late to a file that is deleted, or was
copied elsewhere, are had from there.
"""

import os
import re
from collections import deque
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from autotrack.journal import segment

LATE_SECONDS = 2.0
_MOST = 8
_NUMBER = re.compile(rb'\["\w+",(\d{1,18}),')


class Left(NamedTuple):
    """A descriptor of such a file, which file that is, and since when another one stands in its place."""

    fd: int
    known: segment.Identity
    since: float


class Carried(NamedTuple):
    """A file that was copied to `target`: its first `size` bytes, and when that was."""

    source: Path
    target: Path
    size: int
    since: float


class Replaced:
    """What may still come to the files before the present one; whoever calls holds the journal's `_io`, but for `sync`."""

    def __init__(self) -> None:
        self._unsynced: deque[Left] = deque()
        self._deleted: deque[Left] = deque()
        self._carried: list[Carried] = []
        self._over = False
        self._error: OSError | None = None

    @property
    def unsynced(self) -> bool:
        """Whether some are to be synced again."""
        return bool(self._unsynced)

    @property
    def pending(self) -> bool:
        """Whether some may still get lines that would be lost there."""
        return bool(self._deleted or self._carried)

    def is_carried(self, path: Path) -> bool:
        """Whether this file was copied elsewhere and is only waited for."""
        return any(one.source == path for one in self._carried)

    def keep(self, fd: int) -> None:
        """Another file is about to be put under this descriptor, which stands for one that stays where it is."""
        if len(self._unsynced) >= _MOST:
            self._error = self._sync_first(at_once=True) or self._error
        try:
            self._unsynced.append(_left(segment.another(fd)))
        except OSError:  # no descriptor is left
            self._error = _synced(fd) or self._error

    def keep_deleted(self, source: int) -> None:
        """A deleted file was copied as far as the descriptor `source` stands."""
        self._deleted.append(_left(source))

    def carry(self, source: Path, target: Path) -> None:
        """Copy a file elsewhere; it stays until nothing more can come to it. OSError where it cannot be copied."""
        self._carried.append(Carried(source, target, segment.carry(source, target), monotonic()))

    def sync(self) -> OSError | None:
        """fsync the files that stay where they are; the first error."""
        found, self._error = self._error, None
        for _ in range(len(self._unsynced)):
            found = self._sync_first(at_once=False) or found
        return found

    def late_lines(self, at_once: bool) -> list[tuple[int, bytes]]:
        """What came to deleted files since they were copied, each line with its sequence number; the end of a torn line has none.
        `at_once`: nothing that comes later is waited for.
        """
        found: list[bytes] = []
        for _ in range(len(self._deleted)):
            one = self._deleted.popleft()
            if segment.look(one.fd, one.known) is None:
                continue
            with suppress(OSError):
                for piece in segment.whole_lines(one.fd):
                    found += [line + b"\n" for line in piece.split(b"\n")]
            if at_once or _is_old(one.since):
                os.close(one.fd)
            else:
                self._deleted.append(one)
        numbers = map(_NUMBER.match, found)
        return [(int(number[1]), line) for number, line in zip(numbers, found, strict=True) if number]

    def settle_carried(self, at_once: bool) -> None:
        """Copy again what has grown since it was copied, and remove the files that nothing more can come to."""
        for one in list(self._carried):
            with suppress(OSError):  # what cannot be removed or copied now can be later
                size = one.size
                if os.path.lexists(one.source) and segment.has_lines_behind(one.source, size):
                    size = segment.carry(one.source, one.target)
                    self._carried[self._carried.index(one)] = one = one._replace(size=size)
                if at_once or _is_old(one.since):
                    segment.remove(one.source)
                    self._carried.remove(one)

    def let_go(self) -> None:
        """Close what is still open; nothing more is expected."""
        self._over = True
        for left in (self._unsynced, self._deleted):
            while left:
                _close(left.popleft())
        self._carried.clear()

    def _sync_first(self, at_once: bool) -> OSError | None:
        """Another thread may come here, too: who takes one out has it alone."""
        try:
            one = self._unsynced.popleft()
        except IndexError:
            return None
        if segment.look(one.fd, one.known) is None:
            return None
        error = _synced(one.fd)
        if at_once or self._over or error is not None or _is_old(one.since):
            os.close(one.fd)
        else:
            self._unsynced.append(one)
        return error


def _left(fd: int) -> Left:
    return Left(fd, segment.identity(fd), monotonic())


def _is_old(since: float) -> bool:
    return monotonic() - since > LATE_SECONDS


def _synced(fd: int) -> OSError | None:
    try:
        os.fsync(fd)
    except OSError as error:
        return error
    return None


def _close(one: Left) -> None:
    """Close it, unless the program did so, and opened a file of its own under that number."""
    if segment.look(one.fd, one.known) is not None:
        os.close(one.fd)
