"""Where a journal's bytes come from: a plain segment, a sealed one, or both while sealing was interrupted."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import zstandard

from autotrack.journal.format import SEALED_SUFFIX, SUFFIX, check

BLOCK = 1 * 1024 * 1024


class Segment(NamedTuple):
    """One segment of a journal: its name without suffix, and the files that hold it."""

    name: str
    plain: Path | None
    sealed: Path | None

    @property
    def stem(self) -> str:
        """The journal that the segment belongs to: `<host>-<pid>-<start ns>-<rank>`."""
        return self.name.rpartition(".")[0]

    @property
    def number(self) -> int:
        """The segment's place in its journal, from 0."""
        return int(self.name.rpartition(".")[2])

    @property
    def path(self) -> Path:
        """The file to name in messages."""
        path = self.plain or self.sealed
        assert path is not None
        return path

    @property
    def started(self) -> int | None:
        """When the journal was opened (Unix nanoseconds), as its name says; None if it does not."""
        parts = self.stem.rsplit("-", 3)
        return int(parts[2]) if len(parts) == 4 and parts[2].isdigit() else None


class DamagedFile(Exception):
    """A sealed segment that cannot be decompressed from some place on."""


def find_segments(folder: Path) -> tuple[list[Segment], list[str]]:
    """The segments in a run's folder, by journal and number, and the names of files that only look like
    journals.
    """
    found: dict[str, dict[str, Path]] = {}
    foreign = []
    with os.scandir(folder) as entries:
        for entry in entries:
            suffix = next((end for end in (SEALED_SUFFIX, SUFFIX) if entry.name.endswith(end)), None)
            if suffix is None:
                continue
            name = entry.name[: -len(suffix)]
            stem, _, number = name.rpartition(".")
            if stem and number.isascii() and number.isdigit() and entry.is_file():
                found.setdefault(name, {})[suffix] = Path(entry.path)
            else:
                foreign.append(entry.name)
    segments = [Segment(name, files.get(SUFFIX), files.get(SEALED_SUFFIX)) for name, files in found.items()]
    return sorted(segments, key=lambda segment: (segment.stem, segment.number)), sorted(foreign)


def content_size(segment: Segment) -> int:
    """How many bytes of lines a segment holds, decompressed; an unreadable sealed file counts what can be
    read.
    """
    if segment.plain is not None and segment.sealed is not None:
        return len(_merged(segment.plain, segment.sealed))
    return _plain_size(segment.plain) if segment.plain is not None else sealed_size(segment.path)


def blocks(segment: Segment, offset: int = 0, size: int = BLOCK) -> Iterator[bytes]:
    """Pieces of whole lines from a byte offset on, about `size` bytes each; a last line without its end is
    left out.

    Raises DamagedFile, after everything readable was given, when a sealed segment cannot be decompressed
    further.
    """
    if segment.plain is not None and segment.sealed is not None:
        pieces: Iterator[bytes] = iter([_merged(segment.plain, segment.sealed)[offset:]])
    elif segment.plain is not None:
        pieces = _plain_pieces(segment.plain, offset, size)
    else:
        pieces = _sealed_pieces(segment.path, offset)
    rest: list[bytes] = []
    for piece in pieces:
        end = piece.rfind(b"\n") + 1
        if not end:
            rest.append(piece)
            continue
        yield b"".join([*rest, piece[:end]])
        rest = [piece[end:]] if end < len(piece) else []


def decompress(path: Path) -> Iterator[bytes]:
    """A sealed file's content in pieces."""
    with open(path, "rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        try:
            while piece := reader.read(BLOCK):
                yield piece
        except zstandard.ZstdError as error:
            raise DamagedFile(f"{path.name} cannot be decompressed: {error}") from error


def _plain_size(path: Path) -> int:
    return os.stat(path).st_size


def sealed_size(path: Path) -> int:
    """The decompressed size of a sealed file: as its frame says, else counted."""
    with open(path, "rb") as file:
        head = file.read(18)
    try:
        size = zstandard.frame_content_size(head)
    except zstandard.ZstdError:
        return 0
    if size >= 0:
        return int(size)
    total = 0
    try:
        for piece in decompress(path):
            total += len(piece)
    except DamagedFile:
        return total
    return total


def _plain_pieces(path: Path, offset: int, size: int) -> Iterator[bytes]:
    with open(path, "rb") as file:
        file.seek(offset)
        while piece := file.read(size):
            yield piece


def _sealed_pieces(path: Path, offset: int) -> Iterator[bytes]:
    skip = offset
    for piece in decompress(path):
        if skip >= len(piece):
            skip -= len(piece)
            continue
        yield piece[skip:] if skip else piece
        skip = 0


def _merged(plain: Path, sealed: Path) -> bytes:
    """The content of both files of one segment: the longer one, then whole lines that only the other one has."""
    try:
        first = plain.read_bytes()
    except FileNotFoundError:
        first = b""
    second = bytearray()
    try:
        for piece in decompress(sealed):
            second += piece
    except DamagedFile:
        pass
    if first == second:
        return first
    long, short = (first, bytes(second)) if len(first) >= len(second) else (bytes(second), first)
    if long.startswith(short):
        return long
    known = set(long.split(b"\n"))
    missing = [line for line in short.split(b"\n") if line and line not in known and check(line)]
    if not missing:
        return long
    end = b"" if long.endswith(b"\n") else b"\n"
    return long + end + b"\n".join(missing) + b"\n"
