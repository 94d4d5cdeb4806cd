"""Lines that the disk does not take just now, kept in memory within a bound until the helper thread has written them."""

import threading
from collections import deque

RING_BYTES = 64 * 1024 * 1024


class Ring:
    """A bounded queue of (sequence number, line); when it is full the new line is dropped and counted."""

    def __init__(self, capacity: int = RING_BYTES) -> None:
        self.capacity = capacity
        self.lines: deque[tuple[int, bytes]] = deque()
        self.size = 0
        self.dropped: tuple[int, int, int] | None = None
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self.lines)

    def put(self, seq: int, line: bytes) -> None:
        """Keep a line, or count it as dropped."""
        with self._lock:
            if self.size + len(line) > self.capacity:
                first, last, count = self.dropped or (seq, seq, 0)
                self.dropped = (min(first, seq), max(last, seq), count + 1)
                return
            self.lines.append((seq, line))
            self.size += len(line)

    def first(self) -> bytes | None:
        """The oldest line, left where it is."""
        with self._lock:
            return self.lines[0][1] if self.lines else None

    def pop(self) -> None:
        """Forget the oldest line: it is on the disk."""
        with self._lock:
            self.size -= len(self.lines.popleft()[1])

    def take_dropped(self) -> tuple[int, int, int] | None:
        """(first, last, count) of the sequence numbers that were dropped since the last call."""
        with self._lock:
            dropped, self.dropped = self.dropped, None
            return dropped
