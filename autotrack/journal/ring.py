"""Lines that the disk does not take just now, kept in memory within a bound until the helper thread has written them."""

import threading
from bisect import bisect_right
from collections import deque
from itertools import accumulate, islice
from typing import Any

RING_BYTES = 64 * 1024 * 1024
RESERVE_BYTES = 1024 * 1024
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
