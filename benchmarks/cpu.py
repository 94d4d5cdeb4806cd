"""The CPU time of a process, of all its threads, and of every process that it started. Linux only."""

import ctypes
import os
import resource
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
TICK = os.sysconf("SC_CLK_TCK")
_looking: list[float] = []


def adopt_orphans() -> None:
    """Become the parent of daemons whose own parent has ended, so that they stay in this process's tree."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def seconds() -> float:
    """CPU seconds of this process, of its children that have ended, and of its living descendants; without the looking."""
    began = time.process_time()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    others = ended.ru_utime + ended.ru_stime + sum(map(_living, descendants(os.getpid())))
    found = began + others - sum(_looking)
    _looking.append(time.process_time() - began)
    return found


def descendants(pid: int) -> list[int]:
    """The processes below one, whatever depth."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        fields = _stat(path)
        if fields:
            children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, open_ = [], [pid]
    while open_:
        below = children.get(open_.pop(), [])
        found += below
        open_ += below
    return found


def marked(variable: str) -> list[int]:
    """The processes that have this NAME=value in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if variable.encode() in words:
            found.append(int(path.parent.name))
    return found


def _living(pid: int) -> float:
    fields = _stat(Path(f"/proc/{pid}/stat"))
    return sum(map(int, fields[11:15])) / TICK if fields else 0.0


def _stat(path: Path) -> list[str]:
    """The fields behind the name: state, parent, … ; nothing when the process is gone."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:
        return []
