"""What state a run is in, worked out from its journals and from whether their processes are still there."""

import time
from collections.abc import Iterable
from typing import NamedTuple

from autotrack.index.fold import Attempt
from autotrack.process import alive

STATUSES = ("running", "finished", "failed", "interrupted", "died", "stale")
STALE_SECONDS = 300.0
_WORST_LAST = ("finished", "running", "stale", "interrupted", "died", "failed")


class Writer(NamedTuple):
    """One process that wrote a journal of a run; `last` is its last sign of life in Unix seconds,

    `spoke` the time of its last event, which copying the file does not change.
    """

    stem: str
    role: str
    rank: int
    host: str | None
    pid: int | None
    pidns: str | None
    boot: str | None
    started: int | None
    wall: int
    last: float
    spoke: float
    ending: str | None

    def alive(self) -> bool | None:
        """Whether the process runs; None if that cannot be looked at from here."""
        if self.host is None or self.pid is None:
            return None
        return alive(self.host, self.pid, self.pidns, self.boot, self.started)


def run_status(writers: Iterable[Writer], attempts: list[Attempt], now: float | None = None) -> str:
    """The worst state among the ranks of the last attempt, and of earlier ones whose process is known to go on."""
    now, writers = time.time() if now is None else now, list(writers)
    begun = attempts[-1].wall / 1e9 if attempts else 0.0
    latest: dict[int, Writer] = {}
    for writer in sorted(writers, key=lambda writer: (writer.wall, writer.stem)):
        if writer.role == "run" and (writer.rank == 0 or writer.spoke >= begun):
            latest[writer.rank] = writer
    if attempts:
        leader = next((writer for writer in writers if writer.stem == attempts[-1].stem), None)
        if leader is not None:
            latest[0] = leader
    states = [writer_status(writer, now) for writer in latest.values()]
    earlier = (writer for writer in writers if writer.role == "run" and writer not in latest.values())
    if any(writer.ending is None and writer.alive() for writer in earlier):
        states.append("running")
    return max(states, key=_WORST_LAST.index, default="died")


def writer_status(writer: Writer, now: float) -> str:
    """The state of one process of a run."""
    if writer.ending is not None:
        return writer.ending
    there = writer.alive()
    if there is None:
        return "stale" if now - writer.last > STALE_SECONDS else "running"
    return "running" if there else "died"


def all_gone(writers: Iterable[Writer], now: float | None = None) -> bool:
    """Whether nobody writes to the run's journals any more, as far as can be known."""
    now = time.time() if now is None else now
    for writer in writers:
        there = writer.alive()
        if there or (there is None and now - writer.last <= STALE_SECONDS):
            return False
    return True
