"""Lines that the disk does not take just now, kept in memory within a bound until the helper thread has written them."""

import errno
import os
import threading
from bisect import bisect_right
from collections import deque
from itertools import accumulate, islice
from typing import Any

from autotrack.journal.pace import Stopwatch
from autotrack.journal.segment import write_all

RING_BYTES = 64 * 1024 * 1024
RESERVE_BYTES = 1024 * 1024
_BATCH = 256 * 1024
_OVERHEAD = 160  # what Python needs for a line beside its bytes
_SERIES = (b'["m",', b'["s",')
_RANGES = 1_000


class Ring:
    """A bounded queue of (sequence number, line); when it is full the new line is dropped and its number noted.

    The last megabyte is for other lines than metrics: how a run ended is kept when its metrics no longer are.
    No call waits for the disk: the lock is held for a few bytecodes only. It is its owner's, if that has one: a signal handler
    that logs in the middle of a call takes the owner's lock behind this one, and another thread this one behind the owner's.
    """

    def __init__(self, capacity: int = RING_BYTES, lock: Any = None) -> None:
        self.capacity = capacity
        self.size = 0
        self._lines: deque[tuple[int, bytes]] = deque()
        self._dropped: list[list[int]] = []
        self._lock = lock or threading.RLock()

    def __len__(self) -> int:
        return len(self._lines)

    def put(self, seq: int, line: bytes) -> bool:
        """Keep a line, or note that it is dropped; False then."""
        series = line.startswith(_SERIES)
        with self._lock:
            size = self.size + len(line) + _OVERHEAD
            if size > self.capacity - (min(RESERVE_BYTES, self.capacity // 16) if series else 0):
                self._drop(seq)
                return False
            self._lines.append((seq, line))
            self.size = size
            return True

    def batch(self, most: int) -> tuple[bytes, list[int]]:
        """The oldest lines, about `most` bytes of them and at least one, and where each of them ends."""
        with self._lock:
            oldest = self._oldest(max(1, most // 32))
        ends = list(accumulate(len(line) for _, line in oldest))
        count = max(1, bisect_right(ends, most))
        return b"".join(line for _, line in oldest[:count]), ends[:count]

    def pop(self, count: int) -> None:
        """Forget the oldest lines: they are on the disk."""
        with self._lock:
            for _ in range(count):
                self.size -= len(self._lines.popleft()[1]) + _OVERHEAD
            if not self._lines:
                self.size = 0  # a finalizer or signal handler in the middle of `put` is not counted

    def take_dropped(self) -> list[tuple[int, int, int]]:
        """(first, last, count) of each stretch of sequence numbers that were dropped since the last call, in order."""
        with self._lock:
            dropped, self._dropped = sorted(self._dropped), []
        whole: list[list[int]] = []
        for stretch in dropped:
            if whole and stretch[0] == whole[-1][1] + 1:
                whole[-1][1], whole[-1][2] = stretch[1], whole[-1][2] + stretch[2]
            else:
                whole.append(stretch)
        return [(first, last, count) for first, last, count in whole]

    def _oldest(self, count: int) -> list[tuple[int, bytes]]:
        while True:
            try:
                return list(islice(self._lines, count))
            except RuntimeError:  # a finalizer that ran meanwhile, in this thread, has put a line
                continue

    def _drop(self, seq: int) -> None:
        last = self._dropped[-1] if self._dropped else None
        if last is not None and seq == last[1] + 1:
            last[1], last[2] = seq, last[2] + 1
        elif last is not None and len(self._dropped) >= _RANGES:
            last[0], last[1], last[2] = min(last[0], seq), max(last[1], seq), last[2] + 1
        else:
            self._dropped.append([seq, seq, 1])


def write_oldest(ring: Ring, fd: int, after_torn: bool) -> tuple[int, bool]:
    """Write the oldest lines with one call and forget them: (nanoseconds that the disk took, whether a line was torn).

    A torn one is closed by a newline and written again; where the disk takes only parts, again and again, the rest of the line
    is written behind its first part. OSError where the disk takes nothing.
    """
    data, ends = ring.batch(_BATCH)
    start = b"\n" if after_torn else b""
    before = os.fstat(fd).st_size if start else 0
    watch = Stopwatch()
    written = os.write(fd, start + data) - len(start)
    took = watch.stop()
    if written < 0:
        raise OSError(errno.EIO, "it takes nothing")
    whole = bisect_right(ends, written)
    is_torn = written != (ends[whole - 1] if whole else 0)
    if whole == 0 and start:
        write_all(fd, data[written : ends[0]])
        # What another thread had begun to write may stand in the middle of it: then it is written once more.
        is_torn = os.fstat(fd).st_size != before + len(start) + ends[0]
        whole = 0 if is_torn else 1
    ring.pop(whole)
    return took, is_torn
