"""What the container or the job may use, from control groups of version 1 and 2 (see cgroups(7))."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NO_LIMIT = 1 << 60


def limits(root: str = "/sys/fs/cgroup", groups: str = "/proc/self/cgroup") -> dict[str, float | int]:
    """`cpus` (may be a fraction) and `memory` (bytes), the tightest on the way up; what is not limited is left out."""
    found: dict[str, float | int] = {}
    for name, controller, read in (("cpus", "cpu", _cpus), ("memory", "memory", _memory)):
        tightest = _tightest(root, groups, controller, read)
        if tightest is not None:
            found[name] = tightest
    return found


def _tightest(root: str, groups: str, controller: str, read: Callable[[str], float | None]) -> float | None:
    values = [value for folder in _folders(root, groups, controller) if (value := read(folder)) is not None]
    return min(values, default=None)


def _folders(root: str, groups: str, controller: str) -> Iterator[str]:
    """The folders of this process's group and of those above it; inside a container only the mounted part is there."""
    for line in _text(groups).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        mounts = (controllers, controller) if controllers else ("", "unified")
        for mount in dict.fromkeys(mounts):
            base = os.path.join(root, mount) if mount else root
            parts = [part for part in path.split("/") if part and part != ".."]
            for depth in range(len(parts), -1, -1):
                yield os.path.join(base, *parts[:depth])


def _cpus(folder: str) -> float | None:
    words = _text(os.path.join(folder, "cpu.max")).split()
    if len(words) != 2:
        words = [_text(os.path.join(folder, f"cpu.cfs_{name}_us")).strip() for name in ("quota", "period")]
    if not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return None
    return round(int(words[0]) / int(words[1]), 3)


def _memory(folder: str) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        word = _text(os.path.join(folder, name)).strip()
        if word.isdigit():
            return int(word) if int(word) < _NO_LIMIT else None
    return None


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
