"""How fast the disk takes lines, and how long lines had to wait in memory for it."""

import sys
from collections import deque
from collections.abc import Callable
from time import monotonic, monotonic_ns

SLOW_NS = 5_000_000
SLOW_IN_A_ROW = 3
AT_ONCE_NS = 250_000_000
_FALSE_ALARM_SECONDS = 1.0
_REPORT_SECONDS = 10.0


class Stopwatch:
    """The time that this thread spends in the kernel for one call, without what the interpreter and the scheduler add to it."""

    def __init__(self) -> None:
        self._switches, self._queued = _switches(), _queued()
        self._began = monotonic_ns()

    def stop(self) -> int:
        """Nanoseconds since the start that the disk must be taken to have cost.

        A busy thread keeps the interpreter's lock for one switch interval at a time, and who waits for it wakes up as often.
        """
        took = monotonic_ns() - self._began
        if took <= SLOW_NS:
            return took
        waited = int((_switches() - self._switches) * sys.getswitchinterval() * 1e9)
        return took - waited - (_queued() - self._queued)


class Pace:
    """Tells a slow disk from a busy machine, and keeps account of the times when lines waited."""

    def __init__(self) -> None:
        self.disk_is_slow = False
        """Whether the disk took more than 5 ms for the last lines that the helper thread wrote."""
        self._slow: deque[int] = deque(maxlen=SLOW_IN_A_ROW)
        self._watched = 0
        self._no_alarm_until = 0.0
        self._first = self._last = -1
        self._count = 0
        self._times = 0
        self._seconds = 0.0
        self._why = ""
        self._reported = 0.0

    def alarming(self, seq: int, took: int) -> bool:
        """The call for this event took more than 5 ms; whether that was several times in a row, or for very long."""
        self._slow.append(seq)
        row = len(self._slow) == SLOW_IN_A_ROW and max(self._slow) - min(self._slow) < 2 * SLOW_IN_A_ROW
        if not (row or took > AT_ONCE_NS) or monotonic() < self._no_alarm_until:
            return False
        self._slow.clear()
        self._watched = 0
        return True

    def verdict(self, disk_ns: int) -> bool | None:
        """After an alarm, of each write on a stopwatch: whether the disk is slow, None as long as that is open."""
        if disk_ns <= SLOW_NS:
            self._no_alarm_until = monotonic() + _FALSE_ALARM_SECONDS
            return False
        self._watched += 1
        return True if disk_ns > AT_ONCE_NS or self._watched >= SLOW_IN_A_ROW else None

    def helper_took(self, disk_ns: int) -> None:
        """The helper thread wrote waiting lines with one call."""
        self.disk_is_slow = disk_ns > SLOW_NS

    def kept(self, seq: int) -> None:
        """The event of this number waits in memory."""
        if not self._count:
            self._first = seq
        self._last = max(self._last, seq)
        self._count += 1

    def resumed(self, why: str, seconds: float) -> None:
        """Lines no longer have to wait."""
        self._why = why
        self._times += 1
        self._seconds += seconds

    def report(self, append: Callable[..., None], at_once: bool = False) -> None:
        """Say in the record which events waited; every 10 s at most, or at once."""
        now = monotonic()
        if not self._times or (now < self._reported + _REPORT_SECONDS and not at_once):
            return
        body = {
            "slug": "waited",
            "message": f"{self._count} events from {self._first} to {self._last} waited in memory, "
            f"{self._seconds:.3f} s in all: {self._why}. Then they were written.",
            "from": self._first,
            "to": self._last,
            "count": self._count,
            "seconds": round(self._seconds, 3),
        }
        self._reported, self._count, self._times, self._seconds, self._last = now, 0, 0, 0.0, -1
        append("warning", body)


def _switches() -> int:
    """How often this thread gave the processor away to wait for something (Linux; elsewhere 0)."""
    try:
        import resource

        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    except (ImportError, AttributeError):
        return 0


def _queued() -> int:
    """How many nanoseconds this thread was ready to run and waited for a processor (Linux; elsewhere 0)."""
    try:
        with open("/proc/thread-self/schedstat", "rb") as file:
            return int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
