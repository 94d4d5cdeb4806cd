"""What a path holds, and the digest of it: of the bytes that were seen there and of no others.

A file's digest is the sha256 of its bytes; a folder's that of a line `<sha256>  <name>` for each file, sorted by name, with `/`
between folders, which `sha256sum` can check. What was replaced or removed before it could be read has none.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

MOST_FILES = 10_000
_BUFFER = 1024 * 1024
BREATH = 16 * 1024 * 1024
"""Bytes of a long reading between two calls of its `pace`."""


class Look(NamedTuple):
    """What a path holds at a moment, as far as that can be seen without reading it. `files`: how many a folder has."""

    size: int
    files: int | None
    stamps: tuple[tuple[str, int, int, int], ...]
    """Of each file its name below the path, size, time of change in nanoseconds, and inode; sorted, as no two folders list alike."""

    def is_whole(self) -> bool:
        """Whether every file is among the stamps, and none of them is a device or a pipe."""
        return (self.files or 1) == len(self.stamps) <= MOST_FILES


class Part(NamedTuple):
    """What of a folder is meant: not the sub-folders whose names begin with `without`; of the files only `names`, if given."""

    without: str | None = None
    names: tuple[str, ...] | None = None


ALL = Part()


def look_at(path: str, part: Part = ALL) -> Look:
    """Look at a file or a part of a folder. OSError where it is not there."""
    facts = os.stat(path)
    if not stat.S_ISDIR(facts.st_mode):
        return Look(facts.st_size, None, (_stamp("", facts),) if stat.S_ISREG(facts.st_mode) else ())
    found = [(name, os.lstat(os.path.join(path, name))) for name in sorted(names_of(path, part))]
    stamps = tuple(_stamp(name, one) for name, one in found if stat.S_ISREG(one.st_mode))
    return Look(sum(one.st_size for _, one in found), len(found), stamps)


def names_of(path: str, part: Part) -> Sequence[str]:
    """The files of a part of a folder, by their names below it; those that it names may not be there."""
    return names_in(path, part.without) if part.names is None else part.names


def names_in(path: str, without: str | None = None) -> list[str]:
    """The files below a folder, by their names below it; of more than MOST_FILES some are left out."""
    found: list[str] = []
    for folder, names, files in os.walk(path):
        if without is not None:
            names[:] = [name for name in names if not name.startswith(without)]
        found += [os.path.relpath(os.path.join(folder, name), path) for name in files]
        if len(found) > MOST_FILES:
            break
    return found


def digest_of(path: str, look: Look, part: Part = ALL, pace: Callable[[], object] = bool) -> str | None:
    """The digest in hex of what was seen at a path; None where that is not what lies there now, or cannot be read.

    `pace` is called about every 16 MiB.
    """
    if not look.is_whole():
        return None
    try:
        digests = {}
        for stamp in look.stamps:
            digests[stamp[0]] = _digest_of_file(os.path.join(path, stamp[0]) if stamp[0] else path, pace)
        if look_at(path, part) != look:
            return None
    except OSError:
        return None
    if look.files is None:
        return digests[""]
    return digest_of_files({name.replace(os.sep, "/"): digest for name, digest in digests.items()})


def digest_of_files(digests: Mapping[str, str]) -> str:
    """The digest of a folder, from those of its files by their names."""
    listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()


def _digest_of_file(path: str, pace: Callable[[], object]) -> str:
    digest, buffer, read = hashlib.sha256(), bytearray(_BUFFER), 0
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as source:
        while count := source.readinto(buffer):
            digest.update(view[:count])
            read += count
            if read >= BREATH:
                read = 0
                pace()
    return digest.hexdigest()


def _stamp(name: str, facts: os.stat_result) -> tuple[str, int, int, int]:
    return (name, facts.st_size, facts.st_mtime_ns, facts.st_ino)
