"""The machine: processor, memory, the limits of the container, disk space."""

from __future__ import annotations

import os
import sys
from typing import Any, ClassVar

from autotrack.capture.base import Capture
from autotrack.capture.cgroup import limits

_LINUX = sys.platform.startswith("linux")


class Hardware(Capture):
    """Processor, memory, limits, disk space. Bytes."""

    name: ClassVar[str] = "hardware"

    def __init__(self, store: str | os.PathLike[str]) -> None:
        super().__init__()
        self._store = os.fspath(store)

    def collect(self) -> dict[str, Any]:
        """`cpu`, `memory_total`, `limits` (of the control group), `disk_free` and `disk_total` (of the store)."""
        facts: dict[str, Any] = {"cpu": cpu_facts()}
        total = memory_total()
        if total is not None:
            facts["memory_total"] = total
        found = limits()
        if found:
            facts["limits"] = found
        return facts | disk_facts(self._store)


def cpu_facts() -> dict[str, Any]:
    """`model`, `logical` and `physical` cores of the machine, `usable` ones of this process."""
    logical = os.cpu_count()
    facts: dict[str, Any] = {"logical": logical}
    first = _first_cpu() if _LINUX else {}
    model = first.get("model name") or first.get("Processor") or first.get("cpu")
    facts["model"] = model or _model()
    physical = _physical(first, logical)
    if physical:
        facts["physical"] = physical
    if hasattr(os, "sched_getaffinity"):
        facts["usable"] = len(os.sched_getaffinity(0))
    return facts


def memory_total() -> int | None:
    """Bytes of memory of the machine."""
    for line in _lines("/proc/meminfo", 256):
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    if _LINUX:
        return None
    import psutil

    return int(psutil.virtual_memory().total)


def disk_facts(folder: str) -> dict[str, int]:
    """`disk_free` (for this user) and `disk_total` of the file system that a folder lies on, in bytes."""
    try:
        if hasattr(os, "statvfs"):
            disk = os.statvfs(folder)
            return {"disk_free": disk.f_bavail * disk.f_frsize, "disk_total": disk.f_blocks * disk.f_frsize}
        import shutil

        usage = shutil.disk_usage(folder)
    except OSError:
        return {}
    return {"disk_free": usage.free, "disk_total": usage.total}


def _first_cpu() -> dict[str, str]:
    """The first processor's block of /proc/cpuinfo; the kernel makes the rest only when it is read."""
    block: dict[str, str] = {}
    for line in _lines("/proc/cpuinfo", 4096):
        name, colon, value = line.partition(":")
        if not colon and block:
            break
        block[name.strip()] = value.strip()
    return block


def _physical(first: dict[str, str], logical: int | None) -> int | None:
    """Physical cores: `siblings` threads share `cpu cores` cores in each package of /proc/cpuinfo."""
    siblings, cores = first.get("siblings", ""), first.get("cpu cores", "")
    if logical and siblings.isdigit() and cores.isdigit() and int(siblings) > 0:
        return max(1, logical * int(cores) // int(siblings))
    if _LINUX:
        return None
    import psutil

    count = psutil.cpu_count(logical=False)
    return None if count is None else int(count)


def _model() -> str | None:
    if _LINUX:
        return os.uname().machine
    import platform

    return platform.processor() or platform.machine() or None


def _lines(path: str, limit: int) -> list[str]:
    """The lines of the first bytes of a file of /proc."""
    try:
        with open(path, "rb", buffering=0) as file:
            return (file.read(limit) or b"").decode("utf-8", "replace").split("\n")
    except OSError:
        return []
