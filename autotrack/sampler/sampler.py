"""One sampler a process: what it reads goes to every open run that asked for it.

It has no thread of its own: the helper thread calls `Sampler.sample` when a sample is due. A run's first sample is taken one
second after its start, so a shorter run costs an entry in a dict and imports nothing.
"""

import atexit
import os
import threading
from time import monotonic, process_time, thread_time
from typing import TYPE_CHECKING

from autotrack import background, session
from autotrack.config import flag, number_setting, setting
from autotrack.guard import warn

if TYPE_CHECKING:
    from autotrack.sampler.gpu import Gpus
    from autotrack.sampler.host import Host

FIRST_SECONDS = 1.0
INTERVAL_SECONDS = 5.0
LONG_RUN_SECONDS = 6 * 3600.0
LONG_RUN_INTERVAL_SECONDS = 30.0
SHORTEST_SECONDS = 0.1
_REUSE_SECONDS = 0.05


def start(run: session.OpenRun) -> "Handle":
    """Sample the machine for a run until `stop` of what is returned; costs microseconds.

    Every 5 s, after 6 hours every 30 s; AUTOTRACK_INTERVAL (seconds) sets another interval for the whole run, and
    AUTOTRACK_SYSTEM=0 switches sampling off, which the run's capture report says.
    """
    if not flag("SYSTEM", default=True):
        why = f"AUTOTRACK_SYSTEM={setting('SYSTEM')}"
        run.event("capture", {"what": "system", "status": "skipped", "why": why, "ms": 0.0, "facts": {}})
    elif run.is_root and run in session.open_runs():
        sampler = _state["sampler"]
        return Handle(sampler, sampler.add(run))
    return Handle(None, None)


def interval_of_age(age: float, chosen: float | None) -> float:
    """Seconds between two samples of a run that is `age` seconds old; what the user chose holds for the whole run."""
    if chosen is not None:
        return chosen
    return INTERVAL_SECONDS if age < LONG_RUN_SECONDS else LONG_RUN_INTERVAL_SECONDS


class Member:
    """A run that is being sampled."""

    def __init__(self, run: session.OpenRun) -> None:
        self.run = run
        self.since = monotonic()
        self.due = self.since + FIRST_SECONDS
        self.last: float | None = None
        self.chosen = _chosen_interval()

    def interval(self, now: float) -> float:
        """Seconds between its samples, at this age."""
        return interval_of_age(now - self.since, self.chosen)

    def shares(self, now: float) -> bool:
        """Whether a reading that is made now is for this run: it is due, or so nearly that it need not wait for its own."""
        if self.last is None:
            return self.due <= now
        return self.due <= now + self.interval(now) / 2

    def wants_last(self, now: float) -> bool:
        """Whether its end is worth a sample: it outlasted its interval, and the sample before is not from just now."""
        interval = self.interval(now)
        if now - self.since <= interval:
            return False
        return self.last is None or now - self.last >= min(1.0, interval / 2)


class Handle:
    """Ends the sampling of one run."""

    def __init__(self, sampler: "Sampler | None", member: Member | None) -> None:
        self._sampler = sampler
        self._member = member

    def stop(self) -> None:
        """No more samples, but for one at the end of a run that lasted longer than its interval. Twice does nothing."""
        sampler, member = self._sampler, self._member
        self._sampler = self._member = None
        # After a fork the handle is the parent's: it ends nothing here.
        if sampler is not None and member is not None and sampler is _state["sampler"]:
            sampler.remove(member)


class Sampler:
    """Which runs are sampled, when the next sample is due, and what reads the counters."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._lock = threading.RLock()
        self._task: background.Task | None = None
        self._wake = 0.0
        self._host: Host | None = None
        self._gpus: Gpus | None = None
        self._cpu_start = (0.0, 0.0)
        self._values: dict[str, float] = {}
        self._read_at = 0.0
        self._read_ms = 0.0

    def add(self, run: session.OpenRun) -> Member:
        """Sample a run from now on."""
        member = Member(run)
        with self._lock:
            if not self._members and self._host is None:
                self._cpu_start = (member.since, process_time())
            self._members[run.id] = member
            if self._task is None or self._wake > member.due + 0.05:
                if self._task is not None:
                    self._task.cancel()
                self._wake = member.due
                self._task = background.every(self._wait, self.sample)
        return member

    def remove(self, member: Member) -> None:
        """Sample a run no more; its last sample is read on the helper thread."""
        known = self._members.pop(member.run.id, None) is not None
        wants = known and member.wants_last(monotonic())
        if wants or (self._gpus is not None and not threading.main_thread().is_alive()):
            background.submit(self._end, member if wants else None)

    def sample(self) -> None:
        """Read the counters and write them to the runs that are due; on the helper thread."""
        still_open = session.open_runs()
        for member in list(self._members.values()):
            if member.run not in still_open:
                self._members.pop(member.run.id, None)
        now = monotonic()
        members = [member for member in list(self._members.values()) if member.shares(now)]
        if members:
            self._write(members)
        elif not self._members:
            self._rest()

    def close(self) -> None:
        """Give NVML back, unless runs are still to be sampled: then the last of them does."""
        with self._lock:
            if self._gpus is not None and not self._members:
                self._gpus.close()
                self._gpus = None

    def _wait(self) -> float:
        """Seconds until the next sample is due."""
        now = monotonic()
        members = list(self._members.values())
        self._wake = min((member.due for member in members), default=now + FIRST_SECONDS)
        return max(0.0, self._wake - now)

    def _end(self, member: Member | None) -> None:
        if member is not None:
            self._write([member])
        # The main thread ends before the functions registered with atexit: this process ends.
        if not threading.main_thread().is_alive():
            self.close()

    def _rest(self) -> None:
        """No run is left: nothing is called any more until the next one comes."""
        with self._lock:
            if not self._members:
                if self._task is not None:
                    self._task.cancel()
                self._task = self._host = None

    def _write(self, members: list[Member]) -> None:
        values = self._read()
        now = monotonic()
        for member in members:
            if member.last is None:
                member.run.event("capture", self._report(member, now))
            member.last = now
            member.due = now + member.interval(now)
            if values:
                member.run.event("s", values)

    def _read(self) -> dict[str, float]:
        if self._host is not None and monotonic() - self._read_at < _REUSE_SECONDS:
            return self._values
        # The counters of the machine are looked up here, on the helper thread, and not before the first sample is due.
        from autotrack.sampler.gpu import Gpus
        from autotrack.sampler.host import Host

        started = thread_time()
        if self._host is None:
            self._host = Host(*self._cpu_start)
        if self._gpus is None:
            self._gpus = Gpus()
            atexit.register(self.close)
        self._values = self._host.read() | self._gpus.read()
        self._read_at = monotonic()
        self._read_ms = (thread_time() - started) * 1e3
        return self._values

    def _report(self, member: Member, now: float) -> dict[str, object]:
        gpus = self._gpus
        facts = {
            "interval": member.interval(now),
            "gpus": [] if gpus is None else gpus.indices,
            "gpu_source": None if gpus is None else gpus.source,
            "gpu_why": None if gpus is None else gpus.why,
        }
        milliseconds = round(self._read_ms, 3)
        return {"what": "system", "status": "captured", "why": None, "ms": milliseconds, "facts": facts}


def _chosen_interval() -> float | None:
    word = setting("INTERVAL")
    if word is None:
        return None
    seconds = number_setting("INTERVAL", 0.0)
    if not 0.0 < seconds < 1e9:
        warn(
            "interval",
            f"AUTOTRACK_INTERVAL={word!r} is no number of seconds above 0; the machine is sampled every "
            f"{INTERVAL_SECONDS:g} s.",
            key=word,
        )
        return None
    return max(seconds, SHORTEST_SECONDS)


_state = {"sampler": Sampler()}


def _forget_after_fork() -> None:
    _state["sampler"] = Sampler()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
