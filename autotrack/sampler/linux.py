"""The counters of a Linux machine, from /proc, read without giving the interpreter away.

psutil makes some fifty system calls a sample through Python's file objects, and each of them gives the interpreter away. A
training that computes in Python and writes a line each millisecond hands it back only by chance: CPython 3.11 wakes the waiting
thread at every write and asks for the lock only after 5 ms without one (`take_gil` in Python/ceval_gil.h). A sample then took a second
and 15 ms of processor time, most of it such waking, of the training's thread too. ctypes.PyDLL keeps the lock: 0.1 ms in all.

The files: proc_stat(5), proc_meminfo(5), proc_pid_statm(5), proc_net_dev(5), and Documentation/admin-guide/iostats.rst of the kernel.
"""

import ctypes
import os

from autotrack.sampler.counters import Memory, Times, Traffic

_SECTOR = 512
_PIECE = 1 << 16


class LinuxCounters:
    """Reads /proc."""

    def __init__(self) -> None:
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._disks: dict[bytes, bool] = {}
        self._libc = ctypes.PyDLL(None, use_errno=True)
        self._libc.read.restype = ctypes.c_ssize_t
        self._libc.read.argtypes = ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t
        self._piece = ctypes.create_string_buffer(_PIECE)

    def processors(self) -> Times:
        """Of all processors, in ticks; what guests took is in the first two already."""
        ticks = [int(word) for word in self._read("/proc/stat").split(b"\n", 1)[0].split()[1:9]]
        return Times(sum(ticks), sum(ticks[3:5]))

    def memory(self) -> Memory:
        """MemAvailable is what the kernel would give to a new program."""
        found = dict(line.split(b":", 1) for line in self._read("/proc/meminfo").splitlines() if b":" in line)
        total, available = (int(found[name].split()[0]) * 1024 for name in (b"MemTotal", b"MemAvailable"))
        return Memory(max(0, total - available), total)

    def resident(self) -> int:
        """Resident pages of this process."""
        return int(self._read("/proc/self/statm").split()[1]) * self._page

    def disks(self) -> Traffic:
        """What /sys/block names is a disk; the other lines are partitions."""
        lines = [line.split() for line in self._read("/proc/diskstats").splitlines()]
        found = [(int(words[5]), int(words[9])) for words in lines if self._is_disk(words[2])]
        return Traffic(*(_SECTOR * count for count in _sums(found, "disk")))

    def network(self) -> Traffic:
        """The first two lines are a heading."""
        lines = [line.rpartition(b":") for line in self._read("/proc/net/dev").splitlines()[2:]]
        cards = [numbers.split() for name, _, numbers in lines if name.strip() != b"lo"]
        return Traffic(*_sums([(int(words[0]), int(words[8])) for words in cards], "network interface"))

    def _is_disk(self, name: bytes) -> bool:
        known = self._disks.get(name)
        if known is None:
            known = self._disks[name] = os.path.exists(b"/sys/block/" + name.replace(b"/", b"!"))
        return known

    def _read(self, path: str) -> bytes:
        """A whole file; the kernel gives a page at a time."""
        fd = self._libc.open(os.fsencode(path), os.O_RDONLY | os.O_CLOEXEC)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "cannot be opened", path)
        pieces = []
        while (count := self._libc.read(fd, self._piece, _PIECE)) > 0:
            pieces.append(ctypes.string_at(self._piece, count))
        self._libc.close(fd)
        return b"".join(pieces)


def _sums(pairs: list[tuple[int, int]], of: str) -> tuple[int, int]:
    if not pairs:
        raise LookupError(f"no {of}")
    return sum(first for first, _ in pairs), sum(second for _, second in pairs)
