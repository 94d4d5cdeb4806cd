"""Packs: the pieces of kept checkpoints, each piece once, many in a file. `docs/format.md` is the specification.

A pack is 16 bytes of magic, the pieces one behind the other, a table with one row a piece (sha256, offset, length) and 64 bytes that
say where the table is and what its sha256 is, which names the file too. It is written once, synced, and never changed.
"""

import hashlib
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from autotrack.errors import NotWhole
from autotrack.layout import make_private_folder, new_run_id, open_private
from autotrack.objects.writeback import begin_write_back

MAGIC = b"autotrack pack\x00\x01"
_FOOT = struct.Struct("<32sQQ16s")
_ROW = struct.Struct("<32sQQ")
SUFFIX = ".pack"
NEWEST = 256
"""How many packs a new one is compared with."""
_AHEAD = 8 * 1024 * 1024
"""What has been written goes to the disk in steps of so many bytes, while the next ones are read and hashed."""


class Place(NamedTuple):
    """Where a piece lies."""

    pack: Path
    offset: int
    length: int


class PackWriter:
    """A pack that is being written; nobody sees it before `close`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not folder.is_dir():
            make_private_folder(folder)
        self._path = folder / f"{os.getpid()}-{new_run_id()}.tmp"
        fd = open_private(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self._file: BinaryIO = os.fdopen(fd, "w+b", buffering=0)
        self._write(MAGIC)
        self._end = len(MAGIC)
        self._begun = 0
        self._rows: dict[bytes, tuple[int, int]] = {}
        self._open_at: int | None = None

    @property
    def size(self) -> int:
        """Bytes of pieces so far."""
        return self._end - len(MAGIC)

    def has(self, digest: bytes) -> bool:
        """Whether the piece is in it."""
        return digest in self._rows

    def write(self, data: memoryview) -> None:
        """The next bytes of a piece that `end` or `forget` closes."""
        if self._open_at is None:
            self._open_at = self._end
        self._write(data)
        self._end += len(data)

    def end(self, digest: bytes) -> None:
        """What was written since the last piece is one."""
        start = self._end if self._open_at is None else self._open_at
        self._rows[digest] = (start, self._end - start)
        self._open_at = None
        if self._end - self._begun >= _AHEAD:
            begin_write_back(self._file.fileno(), self._begun, self._end - self._begun)
            self._begun = self._end

    def forget(self) -> None:
        """What was written since the last piece is known already."""
        if self._open_at is not None:
            self._end = self._file.seek(self._open_at)
            self._open_at = None

    def close(self) -> Path | None:
        """Sync it and give it its name; None where it holds nothing, and then there is no file."""
        if not self._rows:
            self.discard()
            return None
        self._file.truncate(self._end)
        rows = sorted((digest, *place) for digest, place in self._rows.items())
        table = b"".join(_ROW.pack(*row) for row in rows)
        name = hashlib.sha256(table)
        self._write(table)
        self._write(_FOOT.pack(name.digest(), self._end, len(rows), MAGIC))
        os.fsync(self._file.fileno())
        self._file.close()
        final = self._folder / (name.hexdigest() + SUFFIX)
        os.replace(self._path, final)
        sync_folder(self._folder)
        return final

    def discard(self) -> None:
        """Leave nothing of it."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            os.unlink(self._path)

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system has that."""
    fd = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def packs_in(folder: Path) -> list[Path]:
    """The packs of a folder, newest first."""
    try:
        with os.scandir(folder) as entries:
            packs = [entry for entry in entries if entry.name.endswith(SUFFIX) and entry.is_file()]
            found = [(entry.stat().st_mtime_ns, entry.path) for entry in packs]
    except FileNotFoundError:
        return []
    return [Path(path) for _, path in sorted(found, reverse=True)]


def table_of(pack: Path) -> list[tuple[bytes, int, int]]:
    """The pieces of a pack: sha256, offset, length. NotWhole where its table is damaged; OSError."""
    with open(pack, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < len(MAGIC) + _FOOT.size:
            raise NotWhole(f"{pack} is cut off")
        file.seek(size - _FOOT.size)
        digest, offset, count, magic = _FOOT.unpack(file.read(_FOOT.size))
        file.seek(0)
        if magic != MAGIC or file.read(len(MAGIC)) != MAGIC:
            raise NotWhole(f"{pack} is no pack of format 1: its beginning or its end is damaged")
        if offset + count * _ROW.size + _FOOT.size != size:
            raise NotWhole(f"{pack} is cut off, or its last 64 bytes are damaged")
        file.seek(offset)
        table = file.read(count * _ROW.size)
    if hashlib.sha256(table).digest() != digest:
        raise NotWhole(f"the table of {pack} is damaged")
    rows = list(_ROW.iter_unpack(table))
    if any(start < len(MAGIC) or start + length > offset for _, start, length in rows):
        raise NotWhole(f"the table of {pack} tells of pieces outside of it")
    return rows


class Pieces:
    """Where the pieces of a folder of packs lie; each table is read once, and what is damaged has none."""

    def __init__(self, folder: Path, newest: int | None = None) -> None:
        self._folder = folder
        self._newest = newest
        self._seen: set[Path] = set()
        self._places: dict[bytes, Place] = {}
        self.damaged: list[str] = []

    def look(self) -> None:
        """Read the tables of packs that are new, and forget those that are gone."""
        found = packs_in(self._folder)[: self._newest]
        gone = self._seen.difference(found)
        if gone:
            self._places = {digest: place for digest, place in self._places.items() if place.pack not in gone}
        for pack in found:
            if pack not in self._seen:
                self._add(pack)
        self._seen = set(found)

    def _add(self, pack: Path) -> None:
        try:
            rows = table_of(pack)
        except (NotWhole, OSError) as error:
            self.damaged.append(str(error))
            return
        for digest, offset, length in rows:
            self._places[digest] = Place(pack, offset, length)

    def place(self, digest: bytes) -> Place | None:
        """Where a piece lies."""
        return self._places.get(digest)

    def has(self, digest: bytes, length: int) -> bool:
        """Whether a piece of this length is there."""
        place = self._places.get(digest)
        return place is not None and place.length == length


@contextmanager
def holding(folder: Path, *, alone: bool) -> Iterator[bool]:
    """Keep others from removing packs (`alone`: from adding any) meanwhile; False where that cannot be had now.

    An advisory lock that goes with the process, so that nobody ever waits for one that died (flock(2)).
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    if not folder.is_dir():
        make_private_folder(folder)
    fd = open_private(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            held = True
        except OSError:
            held = False
        yield held
    finally:
        os.close(fd)


@contextmanager
def holding_file(path: Path) -> Iterator[bool]:
    """Be the one who decides what becomes of a file; False where somebody else is, or it is not there (any more).

    The lock goes with the file to another name, and with the process. Where there are no locks everybody may.
    """
    try:
        import fcntl
    except ImportError:
        yield path.exists()
        return
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = _is_at(fd, path)
        except BlockingIOError:
            held = False
        except OSError:
            held = True
        yield held
    finally:
        os.close(fd)


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
