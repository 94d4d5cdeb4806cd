"""Hands the interpreter's lock (the GIL) to the helper thread where a training gives it up too briefly for that.

Who waits for the lock asks for it once nobody has given it up for a switch interval, 5 ms by default (CPython, `take_gil` in
Python/ceval_gil.c). A training that logs more often gives it up at each `write(2)`, for a microsecond: the waiting thread is woken,
comes too late, and waits anew, for seconds. Each waking costs the training some 20 µs, and what waits is written and synced late.
"""

from threading import get_ident
from time import monotonic_ns, sleep

PATIENCE_NS = 2_000_000
PAUSE_SECONDS = 50e-6
_SWITCH_NS = 5_000_000
_BUSY_NS = 1_000_000
_NEVER = 1 << 62


class Turn:
    """When the helper thread is next expected to run, and the short pause of a caller that lets it."""

    __slots__ = ("_asked", "_helper", "_quiet", "_since", "due")

    def __init__(self) -> None:
        self._asked = self._quiet = 0
        self.never()

    def never(self) -> None:
        """The helper thread rests until it is woken, or there is none."""
        self._helper = -1
        self._since = self.due = _NEVER

    def wake(self) -> None:
        """The helper thread was woken by another one: it is due now, unless it was before."""
        now = monotonic_ns()
        if now + PATIENCE_NS < self.due:
            self._since, self.due = now, now + PATIENCE_NS

    def expect(self, seconds: float) -> None:
        """The helper thread rests for so many seconds, if it is not woken."""
        self._since = monotonic_ns() + int(min(seconds, 1e9) * 1e9)
        self.due = self._since + PATIENCE_NS

    def taken(self) -> None:
        """On the helper thread: it runs, and will want the lock again after each of its system calls."""
        self._helper = get_ident()
        self.expect(0.0)

    def give(self, now: int) -> None:
        """Pause for a moment, as `now` (monotonic nanoseconds) is behind `due`; the longer in vain, the more rarely.

        Who asks more rarely than every switch interval keeps nobody waiting. Where a pause gives the processor to other programs and
        takes long, no other follows for a thousand times as long.
        """
        before, self._asked = self._asked, now
        if now - before > _SWITCH_NS or now < self._quiet or get_ident() == self._helper:
            return
        since = self._since
        began = monotonic_ns()
        sleep(PAUSE_SECONDS)
        took = monotonic_ns() - began
        if took > _BUSY_NS:
            self._quiet = began + 1000 * took
        if self._since == since:
            self.due = now + max(PATIENCE_NS, (now - since) // 8)


turn = Turn()
