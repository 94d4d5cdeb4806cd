"""Facts about a process that tell, later and from elsewhere, whether it is still there."""

import os
import sys
from time import monotonic_ns, time_ns
from typing import NamedTuple


class ProcessFacts(NamedTuple):
    """What identifies a process: `started` in clock ticks since boot, `pidns` and `boot` None where unknown."""

    host: str
    pid: int
    pidns: str | None
    boot: str | None
    started: int | None


_HOST: dict[str, str | None] = {}
_PROCESS: dict[int, ProcessFacts] = {}


def this_process() -> ProcessFacts:
    """The facts of the process that calls; read once a process, also after a fork."""
    pid = os.getpid()
    facts = _PROCESS.get(pid)
    if facts is None:
        facts = ProcessFacts(host_name(), pid, _link("/proc/self/ns/pid"), boot_id(), start_ticks(pid))
        _PROCESS.clear()
        _PROCESS[pid] = facts
    return facts


def host_name() -> str:
    """The name of this machine, as `os.uname` gives it."""
    if "name" not in _HOST:
        _HOST["name"] = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    return _HOST["name"] or "unknown"


def boot_id() -> str | None:
    """The kernel's random id of this boot (Linux), else None."""
    if "boot" not in _HOST:
        _HOST["boot"] = _text("/proc/sys/kernel/random/boot_id")
    return _HOST["boot"]


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (field 22 of /proc/<pid>/stat, proc(5)); None if not to be had."""
    stat = _text(f"/proc/{pid}/stat")
    if stat is None:
        return None
    fields = stat.rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 else None


def process_state(pid: int) -> str | None:
    """The state letter of a process (field 3 of /proc/<pid>/stat): Z is a zombie."""
    stat = _text(f"/proc/{pid}/stat")
    return None if stat is None else stat.rpartition(")")[2].split()[0]


def alive(host: str, pid: int, pidns: str | None, boot: str | None, started: int | None) -> bool | None:
    """Whether a recorded process still runs: True, False, or None where that cannot be looked at from here."""
    here = this_process()
    if host != here.host:
        return None
    if boot is not None and here.boot is not None and boot != here.boot:
        return False
    if pidns != here.pidns:
        return None
    if here.boot is None or started is None:
        return _pid_exists(pid)
    return start_ticks(pid) == started and process_state(pid) != "Z"


def rank() -> int:
    """This process's rank in its group, from torchrun, Lightning, SLURM or MPI; 0 without any."""
    for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "LOCAL_RANK"):
        word = os.environ.get(name, "")
        if word.isdigit() and (name != "SLURM_PROCID" or os.environ.get("SLURM_NTASKS", "1") != "1"):
            return int(word)
    return 0


def is_worker() -> bool:
    """Whether this process serves another one's training: a multiprocessing or loky child."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        return True
    words = getattr(sys, "orig_argv", [])[1:6]
    return "--multiprocessing-fork" in words or any(_serves(word) for word in words)


def is_descendant_of(pid: int) -> bool:
    """Whether `pid` is this process or one of its ancestors (through /proc, else psutil)."""
    current: int | None = os.getpid()
    for _ in range(64):
        if current == pid:
            return True
        if current is None or current <= 1:
            return False
        current = _parent_of(current)
    return False


def clocks() -> tuple[int, int]:
    """Wall clock (Unix nanoseconds) and monotonic clock (nanoseconds), read together."""
    return time_ns(), monotonic_ns()


def _serves(word: str) -> bool:
    """Whether this word of Python's command line starts a worker: `-c "from multiprocessing.spawn …"`, `-m joblib…loky…`."""
    return word.startswith(("from multiprocessing.", "from joblib.externals.loky.", "joblib.externals.loky."))


def _parent_of(pid: int) -> int | None:
    if pid == os.getpid():
        return os.getppid()
    stat = _text(f"/proc/{pid}/stat")
    if stat is not None:
        return int(stat.rpartition(")")[2].split()[1])
    if os.path.isdir("/proc/self"):
        return None
    import psutil

    try:
        return int(psutil.Process(pid).ppid())
    except psutil.Error:
        return None


def _pid_exists(pid: int) -> bool:
    if os.name == "nt":
        import psutil

        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None
