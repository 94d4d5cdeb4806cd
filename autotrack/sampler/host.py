"""Counters of the machine and of this process. What cannot be read is left out, never made up."""

import os
from collections.abc import Callable
from time import monotonic, process_time

import psutil

_UNREADABLE = (OSError, RuntimeError, ValueError, psutil.Error)


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

    def __init__(self, since: float, process_seconds: float) -> None:
        self._rates = Rates()
        self._process = psutil.Process()
        self._times: tuple[float, float] | None = None
        self._rates.of("system/process.cpu", since, process_seconds * 100)

    def read(self) -> dict[str, float]:
        """ "system/…" to numbers: % for cpu (of the whole machine), memory_percent and process.cpu (100 is one core),
        bytes for memory and process.rss, bytes per second for disk and net, and the 1-minute load."""
        values: dict[str, float] = {}
        for part in (self._cpu, self._memory, self._of_process, self._disk, self._net, self._load):
            values |= _readable(part)
        return values

    def _cpu(self) -> dict[str, float]:
        # psutil.cpu_percent would do, but it remembers its last call for the user's own calls too.
        times = psutil.cpu_times()
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        idle = times.idle + getattr(times, "iowait", 0.0)
        before, self._times = self._times, (total, idle)
        if before is None or total <= before[0]:
            return {}
        share = 1 - (idle - before[1]) / (total - before[0])
        return {"system/cpu": 100 * min(1.0, max(0.0, share))}

    def _memory(self) -> dict[str, float]:
        memory = psutil.virtual_memory()
        return {"system/memory": memory.used, "system/memory_percent": memory.percent}

    def _of_process(self) -> dict[str, float]:
        busy = self._rates.of("system/process.cpu", monotonic(), process_time() * 100)
        return busy | {"system/process.rss": self._process.memory_info().rss}

    def _disk(self) -> dict[str, float]:
        counters = psutil.disk_io_counters(nowrap=False)
        if counters is None:
            return {}
        now = monotonic()
        read = self._rates.of("system/disk.read", now, counters.read_bytes)
        return read | self._rates.of("system/disk.write", now, counters.write_bytes)

    def _net(self) -> dict[str, float]:
        """All interfaces but the loopback."""
        counters = psutil.net_io_counters(pernic=True, nowrap=False)
        cards = [card for name, card in counters.items() if name not in ("lo", "lo0")]
        if not cards:
            return {}
        now = monotonic()
        sent = self._rates.of("system/net.sent", now, sum(card.bytes_sent for card in cards))
        return sent | self._rates.of("system/net.recv", now, sum(card.bytes_recv for card in cards))

    def _load(self) -> dict[str, float]:
        return {"system/load": os.getloadavg()[0]} if hasattr(os, "getloadavg") else {}


def _readable(part: Callable[[], dict[str, float]]) -> dict[str, float]:
    try:
        return part()
    except _UNREADABLE:
        return {}
