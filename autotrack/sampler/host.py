"""Counters of the machine and of this process. What cannot be read is left out, never made up."""

import os
import sys
from collections.abc import Callable
from time import monotonic, process_time

from autotrack.sampler.counters import Counters, Times, Traffic

_UNREADABLE = (OSError, RuntimeError, ValueError, LookupError)


class Rates:
    """Ever growing counters, turned into amounts per second."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, float]] = {}

    def of(self, name: str, now: float, count: float) -> dict[str, float]:
        """{name: per second since the last call}; nothing at the first call and when the counter began anew."""
        before = self._before.get(name)
        self._before[name] = (now, count)
        if before is None or now <= before[0] or count < before[1]:
            return {}
        return {name: (count - before[1]) / (now - before[0])}


class Host:
    """Reads the counters; rates and shares of time are those since the reading before.

    `since`, `process_seconds`: a monotonic time and this process's CPU seconds then, so that the first reading already
    knows how busy the process was.
    """

    def __init__(self, since: float, process_seconds: float, counters: Counters | None = None) -> None:
        self._counters = counters or counters_here()
        self._rates = Rates()
        self._times: Times | None = None
        self._rates.of("system/process.cpu", since, process_seconds * 100)

    def read(self) -> dict[str, float]:
        """ "system/…" to numbers: % for cpu (of the whole machine), memory_percent and process.cpu (100 is one core),
        bytes for memory and process.rss, bytes per second for disk and net, and the 1-minute load."""
        values: dict[str, float] = {}
        for part in (self._cpu, self._memory, self._busy, self._resident, self._disk, self._net, self._load):
            values |= _readable(part)
        return values

    def _cpu(self) -> dict[str, float]:
        now = self._counters.processors()
        before, self._times = self._times, now
        if before is None or now.total <= before.total:
            return {}
        share = 1 - (now.idle - before.idle) / (now.total - before.total)
        return {"system/cpu": 100 * min(1.0, max(0.0, share))}

    def _memory(self) -> dict[str, float]:
        memory = self._counters.memory()
        return {
            "system/memory": memory.used,
            "system/memory_percent": round(100 * memory.used / memory.total, 1),
        }

    def _busy(self) -> dict[str, float]:
        return self._rates.of("system/process.cpu", monotonic(), process_time() * 100)

    def _resident(self) -> dict[str, float]:
        return {"system/process.rss": self._counters.resident()}

    def _disk(self) -> dict[str, float]:
        return self._traffic(self._counters.disks(), "system/disk.read", "system/disk.write")

    def _net(self) -> dict[str, float]:
        return self._traffic(self._counters.network(), "system/net.recv", "system/net.sent")

    def _traffic(self, traffic: Traffic, inward: str, outward: str) -> dict[str, float]:
        now = monotonic()
        return self._rates.of(inward, now, traffic.inward) | self._rates.of(outward, now, traffic.outward)

    def _load(self) -> dict[str, float]:
        return {"system/load": os.getloadavg()[0]} if hasattr(os, "getloadavg") else {}


def counters_here() -> Counters:
    """What reads this machine."""
    on_linux = sys.platform == "linux"  # asked for by name, mypy would leave out the rest
    if on_linux:
        from autotrack.sampler.linux import LinuxCounters

        return LinuxCounters()
    from autotrack.sampler.anywhere import AnyCounters

    return AnyCounters()


def _readable(part: Callable[[], dict[str, float]]) -> dict[str, float]:
    try:
        return part()
    except _UNREADABLE:
        return {}
