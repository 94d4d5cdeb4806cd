"""One file of a journal: made, recognised, had back after it was deleted, found after it was moved, carried elsewhere."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import NamedTuple

from autotrack.layout import make_private_folder, open_private

IN_FLIGHT_SECONDS = 0.01
"""After a descriptor was put on another file: a write that had begun before has ended after this time."""

_HIGH = (900, 200)
_PIECE = 1024 * 1024
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND


class Identity(NamedTuple):
    """Which file a descriptor stands for."""

    device: int
    inode: int


def begin(path: str | Path, first_line: bytes) -> int:
    """Make a file that begins with this line, and its folder; the descriptor. OSError, and no file, where that cannot be."""
    fd = open_private(path, _APPEND, make_private_folder(os.path.dirname(path)))
    try:
        if os.write(fd, first_line) != len(first_line):
            raise OSError(errno.ENOSPC, "only a part of the first line was written", str(path))
    except OSError:
        _undo(fd, path)
        raise
    return _high(fd)


def identity(fd: int) -> Identity:
    """Which file the descriptor stands for; OSError where it is closed."""
    found = os.fstat(fd)
    return Identity(found.st_dev, found.st_ino)


def look(fd: int, known: Identity) -> os.stat_result | None:
    """The file that the descriptor stands for, if that still is the one that we opened: a program may have closed it, and
    opened another one since. Without a name (`st_nlink` 0) it was deleted.
    """
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found if (found.st_dev, found.st_ino) == known else None


def moved_to(fd: int, path: Path) -> Path | None:
    """The folder that the file lies in now, if that is another one than `path` says (Linux; elsewhere None)."""
    if os.path.lexists(path):
        return None
    try:
        found = Path(os.readlink(f"/proc/self/fd/{fd}"))
        there = os.stat(found)
    except OSError:
        return None
    same = (there.st_dev, there.st_ino) == identity(fd) and found.name == path.name
    return found.parent if same else None


def open_again(fd: int) -> int:
    """Another descriptor, for reading, of a file that may have no name any more (Linux; OSError elsewhere)."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))


def make_again(source: int, path: str | Path) -> int:
    """A file of this name with all that the descriptor `source` reads; its descriptor. OSError, and no file, where it cannot be."""
    fd = open_private(path, _APPEND, make_private_folder(os.path.dirname(path)))
    try:
        copy(source, fd)
    except OSError:
        _undo(fd, path)
        raise
    return _high(fd)


def copy(source: int, target: int) -> None:
    """Copy from where a descriptor stands to its end."""
    while piece := os.read(source, _PIECE):
        write_all(target, piece)


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, in as many calls as it takes; OSError where the disk takes nothing more."""
    view = memoryview(data)
    while view:
        written = os.write(fd, view)
        if written == 0:
            raise OSError(errno.EIO, "the disk took nothing")
        view = view[written:]


def carry(source: Path, target: Path) -> None:
    """Move a file to another disk: a whole copy first, then its name, then the old one goes, and its folder if it is empty."""
    temporary = target.with_name(target.name + ".tmp")
    fd = open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        with open(source, "rb") as file:
            copy(file.fileno(), fd)
        os.fsync(fd)
    except OSError:
        _undo(fd, temporary)
        raise
    os.close(fd)
    os.replace(temporary, target)
    os.unlink(source)
    with suppress(OSError):
        os.rmdir(source.parent)
        os.rmdir(source.parent.parent)


def sync_names(folder: Path) -> None:
    """fsync a run's folder, its project's and the one of all projects, so that a new file's name survives a power loss."""
    for place in (folder, folder.parent, folder.parent.parent):
        with suppress(OSError):
            fd = os.open(place, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0))
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


def settle_in_flight() -> None:
    """Wait until writes that had begun before have ended."""
    sleep(IN_FLIGHT_SECONDS)


def _undo(fd: int, path: str | Path) -> None:
    os.close(fd)
    with suppress(OSError):
        os.unlink(path)


def _high(fd: int) -> int:
    """The same file under a high number, out of the way of programs that close the low ones and open others."""
    try:
        import fcntl
    except ImportError:
        return fd
    for lowest in _HIGH:  # as far as the limit on descriptors allows
        try:
            high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
        except OSError:
            continue
        os.close(fd)
        return high
    return fd
