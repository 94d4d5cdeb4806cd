"""Content-addressed files: `objects/ab/cdef…`, named by the sha256 of what is in them, written once and never changed."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time
from typing import BinaryIO, NamedTuple

from autotrack.layout import make_private_folder, new_run_id, open_private

_CHUNK = 1024 * 1024


class Stored(NamedTuple):
    """What was stored: sha256 in hex, and bytes."""

    digest: str
    size: int


class ObjectStore:
    """The objects of one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._fresh: list[Path] = []

    def path(self, digest: str) -> Path:
        """Where the object of this digest lies, whether it is there or not."""
        return self.folder / digest[:2] / digest[2:]

    def has(self, digest: str) -> bool:
        """Whether the object is there."""
        return self.path(digest).is_file()

    def put_bytes(self, data: bytes) -> Stored:
        """Store some bytes; those that are there already are not written again."""
        stored = Stored(hashlib.sha256(data).hexdigest(), len(data))
        if not self._is_whole(stored):
            with self._temporary() as (temporary, target):
                target.write(data)
            self._settle(temporary, stored)
        return stored

    def put_file(self, path: Path) -> Stored:
        """Store a copy of a file as it is now, read once in pieces of 1 MiB; OSError when it cannot be read or written."""
        with open(path, "rb") as source, self._temporary() as (temporary, target):
            stored = _copy(source, target)
        self._settle(temporary, stored)
        return stored

    def sync(self) -> None:
        """fsync what was stored since the last call, so that it survives a power loss; OSError where the disk refuses."""
        while self._fresh:
            for place in (self._fresh[0], self._fresh[0].parent):
                fd = os.open(place, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
            del self._fresh[0]

    @contextmanager
    def _temporary(self) -> Iterator[tuple[Path, BinaryIO]]:
        """A file to write to, which goes again where it cannot be written whole."""
        if not self.folder.is_dir():
            make_private_folder(self.folder)
        path = self.folder / f"{os.getpid()}-{new_run_id()}.tmp"
        fd = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        whole = False
        try:
            with os.fdopen(fd, "wb") as target:
                yield path, target
            whole = True
        finally:
            if not whole:
                with suppress(OSError):
                    os.unlink(path)

    def _is_whole(self, stored: Stored) -> bool:
        """Whether the object is there in its full length: a power loss may have left an empty file under its name."""
        try:
            return self.path(stored.digest).stat().st_size == stored.size
        except OSError:
            return False

    def _settle(self, temporary: Path, stored: Stored) -> None:
        final = self.path(stored.digest)
        try:
            if self._is_whole(stored):
                os.unlink(temporary)
                return
            if not final.parent.is_dir():
                make_private_folder(final.parent)
            os.replace(temporary, final)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        self._fresh.append(final)


def _copy(source: BinaryIO, target: BinaryIO) -> Stored:
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        target.write(chunk)
        size += len(chunk)
    return Stored(digest.hexdigest(), size)


def unfinished(folder: Path, seconds: float) -> Iterator[Path]:
    """The objects in the folder of a store that were begun, and not written to for so long."""
    for path in sorted(folder.glob("*.tmp")):
        with suppress(FileNotFoundError):
            if time() - path.stat().st_mtime >= seconds:
                yield path
