"""Content-addressed files: `objects/ab/cdef…`, named by the sha256 of what is in them, written once and never changed."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
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

    def path(self, digest: str) -> Path:
        """Where the object of this digest lies, whether it is there or not."""
        return self.folder / digest[:2] / digest[2:]

    def has(self, digest: str) -> bool:
        """Whether the object is there."""
        return self.path(digest).is_file()

    def put_bytes(self, data: bytes) -> Stored:
        """Store some bytes; those that are there already are not written again."""
        digest = hashlib.sha256(data).hexdigest()
        if not self.has(digest):
            temporary = self._temporary()
            fd = open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            with os.fdopen(fd, "wb") as target:
                target.write(data)
            self._settle(temporary, digest)
        return Stored(digest, len(data))

    def put_file(self, path: Path) -> Stored:
        """Store a copy of a file as it is now, read once in pieces of 1 MiB; OSError when it cannot be read or written."""
        with open(path, "rb") as source:
            temporary = self._temporary()
            fd = open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                with os.fdopen(fd, "wb") as target:
                    stored = _copy(source, target)
            except OSError:
                with suppress(OSError):
                    os.unlink(temporary)
                raise
        self._settle(temporary, stored.digest)
        return stored

    def _temporary(self) -> Path:
        if not self.folder.is_dir():
            make_private_folder(self.folder)
        return self.folder / f"{os.getpid()}-{new_run_id()}.tmp"

    def _settle(self, temporary: Path, digest: str) -> None:
        final = self.path(digest)
        try:
            if final.is_file():
                os.unlink(temporary)
                return
            if not final.parent.is_dir():
                make_private_folder(final.parent)
            os.replace(temporary, final)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise


def _copy(source: BinaryIO, target: BinaryIO) -> Stored:
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        target.write(chunk)
        size += len(chunk)
    return Stored(digest.hexdigest(), size)
