"""One file of a journal: made, recognised, had back after it was deleted, found after it was moved, carried elsewhere."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import NamedTuple

from autotrack.journal.format import check
from autotrack.layout import make_private_folder, open_private

IN_FLIGHT_SECONDS = 0.01
"""After a descriptor was put on another file: nearly every write that had begun before has ended after this time."""

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
    return _high(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)))


def another(fd: int) -> int:
    """Another descriptor of the same file; OSError where there is none left."""
    return _high(os.dup(fd))


def make_again(source: int, path: str | Path) -> int:
    """A file of this name with all lines that the descriptor `source` reads; its descriptor. OSError, and no file, where it
    cannot be.
    """
    fd = open_private(path, _APPEND, make_private_folder(os.path.dirname(path)))
    try:
        copy_lines(source, fd)
    except OSError:
        _undo(fd, path)
        raise
    return _high(fd)


def begin_with_missing(path: str | Path, first_line: bytes, source: int, other: str | Path) -> int:
    """`begin`, with the lines behind the first one that the descriptor `source` reads and the file `other` lacks."""
    fd = begin(path, first_line)
    try:
        _copy_missing(source, fd, other)
    except OSError:
        _undo(fd, path)
        raise
    return fd


def whole_lines(fd: int) -> Iterator[bytes]:
    """Pieces of whole lines, from where a descriptor stands to its end; in the end it stands behind the last whole line."""
    rest = b""
    while piece := os.read(fd, _PIECE):
        data = rest + piece
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        if end:
            yield data[:end]
    os.lseek(fd, -len(rest), os.SEEK_CUR)


def copy_lines(source: int, target: int) -> None:
    """Copy the whole lines from where a descriptor stands to its end."""
    for piece in whole_lines(source):
        write_all(target, piece)


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, in as many calls as it takes; OSError where the disk takes nothing more."""
    view = memoryview(data)
    while view:
        written = os.write(fd, view)
        if written == 0:
            raise OSError(errno.EIO, "the disk took nothing")
        view = view[written:]


def carry(source: Path, target: Path) -> int:
    """Copy a file's whole lines to another disk, all of them first, then their name; how many bytes those are."""
    temporary = target.with_name(target.name + ".tmp")
    with open(source, "rb", buffering=0) as file:
        fd = open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            copy_lines(file.fileno(), fd)
            os.fsync(fd)
        except OSError:
            _undo(fd, temporary)
            raise
        os.close(fd)
        os.replace(temporary, target)
        return file.tell()


def has_lines_behind(path: Path, offset: int) -> bool:
    """Whether whole lines stand behind this place of a file."""
    with open(path, "rb") as file:
        file.seek(offset)
        return b"\n" in file.read()


def remove(path: Path) -> None:
    """Remove a file that was carried, and its folder and that one's if they are empty."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    with suppress(OSError):
        os.rmdir(path.parent)
        os.rmdir(path.parent.parent)


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
    """Wait until nearly all writes that had begun before have ended."""
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


def _copy_missing(source: int, target: int, other: str | Path) -> None:
    """Copy the whole lines that the file `other` lacks; all of them where it cannot be read."""
    try:
        known = _marks_behind_same(source, other)
    except OSError:
        known = set()
        os.lseek(source, 0, os.SEEK_SET)
    for piece in whole_lines(source):
        missing = [line for line in piece.split(b"\n")[:-1] if _mark(line) not in known]
        write_all(target, b"".join(line + b"\n" for line in missing))


def _marks_behind_same(source: int, other: str | Path) -> set[bytes]:
    """The marks of a file's lines behind those that both files begin with; the descriptor `source` stands there, too."""
    with open(other, "rb", buffering=0, opener=_no_waiting) as file:
        fd = file.fileno()
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return set()
        same = _same_lines(source, fd)
        os.lseek(source, same, os.SEEK_SET)
        os.lseek(fd, same, os.SEEK_SET)
        return {_mark(line) for piece in whole_lines(fd) for line in piece.split(b"\n")}


def _same_lines(one: int, other: int) -> int:
    """How many bytes of whole lines both files begin with, as far as pieces of a megabyte tell."""
    same = place = 0
    while (piece := os.read(one, _PIECE)) and piece == os.read(other, _PIECE):
        end = piece.rfind(b"\n") + 1
        same = place + end if end else same
        place += len(piece)
    return same


def _mark(line: bytes) -> bytes:
    """What tells an event: its sequence number, or all of a line that is damaged."""
    return line.split(b",", 2)[1] if check(line) else line


def _no_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
