"""Sealing: the plain journals of a run that is over become .zst files, and nothing is removed before its copy
was read back.
"""

import os
from contextlib import suppress
from pathlib import Path

from autotrack.journal.format import SEALED_SUFFIX
from autotrack.journal.sealed import compress
from autotrack.journal.source import DamagedFile, Segment, decompress, find_segments
from autotrack.layout import open_private


def seal_folder(folder: Path, stems: set[str]) -> bool:
    """Seal the segments of some journals, whose writers are gone. Whether all of them are sealed now.

    A store that cannot be written stays as it is. Two processes may seal the same folder at once.
    """
    whole = True
    try:
        for segment in find_segments(folder)[0]:
            if segment.stem in stems and segment.plain is not None:
                whole = _seal(folder, segment, segment.plain) and whole
    except OSError:
        return False
    return whole


def _seal(folder: Path, segment: Segment, plain: Path) -> bool:
    try:
        content = plain.read_bytes()
    except FileNotFoundError:
        return True
    if not content:
        return True
    final = folder / f"{segment.name}{SEALED_SUFFIX}"
    if segment.sealed is None:
        _write_sealed(folder, final, content, os.stat(plain))
    if not _holds(final, content) or os.stat(plain).st_size != len(content):
        return False
    with suppress(FileNotFoundError):
        os.unlink(plain)
    return True


def _write_sealed(folder: Path, final: Path, content: bytes, status: os.stat_result) -> None:
    """Write beside, fsync, read back, rename, fsync the folder."""
    temporary = folder / f".{final.name}.{os.getpid()}.tmp"
    try:
        fd = open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        with open(fd, "wb") as file:
            file.writelines(compress(content))
            file.flush()
            os.fsync(file.fileno())
        if _holds(temporary, content):
            os.utime(temporary, ns=(status.st_atime_ns, status.st_mtime_ns))
            os.replace(temporary, final)
            _sync_folder(folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _holds(path: Path, content: bytes) -> bool:
    """Whether a sealed file decompresses to exactly these bytes."""
    place = 0
    try:
        for piece in decompress(path):
            if content[place : place + len(piece)] != piece:
                return False
            place += len(piece)
    except (DamagedFile, FileNotFoundError):
        return False
    return place == len(content)


def _sync_folder(folder: Path) -> None:
    """Make the renaming durable, where folders can be opened (not on Windows)."""
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
