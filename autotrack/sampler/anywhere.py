"""The counters of any machine that psutil knows."""

import psutil

from autotrack.sampler.counters import Memory, Times, Traffic


class AnyCounters:
    """Reads through psutil, whose errors become RuntimeError."""

    def __init__(self) -> None:
        self._process = psutil.Process()

    def processors(self) -> Times:
        """In seconds. psutil.cpu_percent would do, but it remembers its last call for the user's own calls too."""
        times = psutil.cpu_times()
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return Times(total, times.idle + getattr(times, "iowait", 0.0))

    def memory(self) -> Memory:
        """What is not available is used."""
        memory = psutil.virtual_memory()
        return Memory(memory.total - memory.available, memory.total)

    def resident(self) -> int:
        """The resident set."""
        try:
            return int(self._process.memory_info().rss)
        except psutil.Error as error:
            raise RuntimeError(str(error)) from error

    def disks(self) -> Traffic:
        """The sum over disks."""
        counters = psutil.disk_io_counters(nowrap=False)
        if counters is None:
            raise LookupError("no disk")
        return Traffic(counters.read_bytes, counters.write_bytes)

    def network(self) -> Traffic:
        """The loopback has one of two names."""
        cards = psutil.net_io_counters(pernic=True, nowrap=False)
        real = [card for name, card in cards.items() if name not in ("lo", "lo0")]
        if not real:
            raise LookupError("no network interface")
        return Traffic(sum(card.bytes_recv for card in real), sum(card.bytes_sent for card in real))
