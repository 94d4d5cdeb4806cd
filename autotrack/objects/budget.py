"""How much of a disk kept checkpoints may take."""

import os
import re
import shutil
from pathlib import Path

from autotrack.config import setting
from autotrack.errors import NoRoom

SHARE_LEFT = 0.1
"""Of the file system this share stays free, whatever the budget is."""
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", re.IGNORECASE)
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


class Budget:
    """What the kept checkpoints of a store take and may take: AUTOTRACK_BUDGET ("20GB", "500 MiB"; default: no limit of its own)."""

    def __init__(self, objects: Path) -> None:
        self._objects = objects

    @property
    def limit(self) -> int | None:
        """Bytes; None where the user has set no limit. ValueError where it is no size."""
        text = setting("BUDGET")
        return None if text is None else bytes_of(text)

    @property
    def used(self) -> int:
        """Bytes of packs, recipes, and of what was linked."""
        return sum(size_below(self._objects / name) for name in ("packs", "kept"))

    @property
    def free(self) -> int:
        """Bytes that may still be written before the disk has less than a tenth left; 0 at least."""
        usage = shutil.disk_usage(
            next(place for place in (self._objects, *self._objects.parents) if place.is_dir())
        )
        return max(0, int(usage.free - SHARE_LEFT * usage.total))

    def claim(self, size: int) -> None:
        """NoRoom where so many bytes more would be too many."""
        try:
            limit = self.limit
        except ValueError as error:
            raise NoRoom(str(error)) from error
        if limit is not None and self.used + size > limit:
            raise NoRoom(
                f"with its {size} bytes the kept checkpoints would take more than the {limit} of AUTOTRACK_BUDGET; "
                "`autotrack checkpoint gc` tells what can be freed"
            )
        if size > self.free:
            raise NoRoom(
                f"with its {size} bytes less than a tenth of the disk would be free; `autotrack checkpoint gc` tells what can be freed"
            )


def bytes_of(text: str) -> int:
    """A size in words: "20GB", "1.5 GiB", "1000000"; units are those of 1024. ValueError."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no size; write one such as 20GB or 500MB")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def size_below(folder: Path) -> int:
    """The bytes that a folder takes on the disk, each file once, however many names it has."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                facts = os.lstat(os.path.join(parent, name))
            except FileNotFoundError:
                continue
            if (facts.st_dev, facts.st_ino) not in seen:
                seen.add((facts.st_dev, facts.st_ino))
                total += facts.st_size
    return total
