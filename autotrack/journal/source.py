"""Where a journal's bytes come from: a plain segment, a sealed one, or both while sealing was interrupted."""

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import zstandard

from autotrack.journal import sealed as sealing
from autotrack.journal.format import SEALED_SUFFIX, SUFFIX, check
from autotrack.journal.lines import sound_row

BLOCK = 1 * 1024 * 1024
LINE_MOST = 256 * 1024 * 1024
"""A longer line is none of ours; it is passed over, whatever it holds."""
_HEAD = 4096


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
    """A sealed segment that holds nothing that can be decompressed."""


def find_segments(folder: Path) -> tuple[list[Segment], list[str]]:
    """The segments in a run's folder, by journal and number, and the names of files that only look like
    journals, copies under another name among them.
    """
    found: dict[str, dict[str, Path]] = {}
    foreign = []
    with os.scandir(folder) as entries:
        for entry in entries:
            suffix = suffix_of(entry.name)
            if suffix is None:
                continue
            name = entry.name[: -len(suffix)]
            stem, _, number = name.rpartition(".")
            if stem and number.isascii() and number.isdigit() and entry.is_file():
                found.setdefault(name, {})[suffix] = Path(entry.path)
            else:
                foreign.append(entry.name)
    segments = [Segment(name, files.get(SUFFIX), files.get(SEALED_SUFFIX)) for name, files in found.items()]
    segments.sort(key=lambda segment: (segment.stem, segment.number))
    copied = copies(segments) if len(segments) > 1 else {}
    foreign += [path.name for segment in copied for path in (segment.plain, segment.sealed) if path]
    return [segment for segment in segments if segment not in copied], sorted(foreign)


def suffix_of(name: str) -> str | None:
    """The suffix of a file that is called like a journal, None for other files."""
    if name.startswith("."):
        return None
    return next((end for end in (SEALED_SUFFIX, SUFFIX) if name.endswith(end)), None)


def left_out(path: Path) -> str:
    """Why a file that is called like a journal is none, in words that follow its name."""
    name = path.name.removesuffix(".zst").removesuffix(SUFFIX)
    stem, _, number = name.rpartition(".")
    if not path.is_file():
        return "is not a file"
    if stem and number.isascii() and number.isdigit():
        return "is a copy of another journal in the folder"
    return "is not named like a journal"


def copies(segments: Iterable[Segment]) -> dict[Segment, Segment]:
    """Segments that begin with the first line of another one: that is the one whose name fits the line, or the larger."""
    first: dict[bytes, list[Segment]] = {}
    for segment in segments:
        line = _first_line(segment)
        row = sound_row(line)
        if row is not None and row[0] == "h":
            first.setdefault(line, []).append(segment)
    found = {}
    for line, group in first.items():
        if len(group) > 1:
            group.sort(key=lambda one: (not _fits(one, line), -_file_size(one.path), one.name))
            found.update(dict.fromkeys(group[1:], group[0]))
    return found


def _first_line(segment: Segment) -> bytes:
    try:
        with open(segment.path, "rb") as file:
            plain = file if segment.plain else zstandard.ZstdDecompressor().stream_reader(file)
            return plain.read(_HEAD).partition(b"\n")[0]
    except (OSError, zstandard.ZstdError):
        return b""


def _fits(segment: Segment, line: bytes) -> bool:
    """Whether a segment's name says what its first line says."""
    row = sound_row(line)
    return row is not None and not name_differs(segment, row[3])


def name_differs(segment: Segment, header: Any) -> list[str]:
    """What of pid, rank and segment a first line says differently from the file's name."""
    parts = segment.stem.rsplit("-", 3)
    if len(parts) != 4 or not isinstance(header, dict):
        return ["name"]
    said = {"pid": parts[1], "rank": parts[3], "segment": str(segment.number)}
    return [name for name, text in said.items() if name in header and str(header[name]) != text]


def _file_size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def content_size(segment: Segment) -> int:
    """How many bytes of lines a segment holds, decompressed; a damaged sealed file counts what it is read as."""
    if segment.plain is not None and segment.sealed is not None:
        return len(_merged(segment.plain, segment.sealed))
    return os.stat(segment.path).st_size if segment.plain is not None else sealed_size(segment.path)


def blocks(segment: Segment, offset: int = 0, size: int = BLOCK) -> Iterator[bytes]:
    """Pieces of whole lines from a byte offset on, about `size` bytes each; a last line without its end is
    left out, and so is a line longer than LINE_MOST.

    Raises DamagedFile when a sealed segment holds nothing that can be decompressed.
    """
    for block, _ in stretches(segment, offset, size):
        yield block


def stretches(segment: Segment, offset: int = 0, size: int = BLOCK) -> Iterator[tuple[bytes, int]]:
    """As `blocks`, each with the number of bytes that it takes in the segment."""
    if segment.plain is not None and segment.sealed is not None:
        pieces: Iterator[bytes] = iter([_merged(segment.plain, segment.sealed)[offset:]])
    elif segment.plain is not None:
        pieces = _plain_pieces(segment.plain, offset, size)
    else:
        pieces = _sealed_pieces(segment.path, offset)
    rest: list[bytes] = []
    waiting = passed = 0
    for piece in pieces:
        end = piece.rfind(b"\n") + 1
        if not end:
            rest.append(piece)
            waiting += len(piece)
            if waiting > LINE_MOST:
                rest, waiting, passed = [], 0, passed + waiting
            continue
        whole = [*rest, piece[:end]]
        if passed:
            # A byte stands for the line that was passed over, so that it is counted as damaged.
            whole = [b"\x00", piece[piece.find(b"\n") : end]]
        yield b"".join(whole), passed + waiting + end
        rest, waiting, passed = ([piece[end:]] if end < len(piece) else []), len(piece) - end, 0


def decompress(path: Path) -> Iterator[bytes]:
    """A sealed file's content in pieces of about BLOCK bytes; damaged frames give what they can.

    Raises DamagedFile when there is nothing that can be decompressed.
    """
    data = path.read_bytes()
    together: list[bytes] = []
    length = 0
    readable = not data
    for piece in sealing.pieces(data):
        readable = readable or piece.trouble is None or bool(piece.data.strip(b"\x00\n"))
        together.append(piece.data)
        length += len(piece.data)
        if length >= BLOCK:
            yield b"".join(together)
            together, length = [], 0
    if not readable:
        raise DamagedFile(f"{path.name} cannot be decompressed: it holds no whole zstd frame")
    yield b"".join(together)


def sealed_size(path: Path) -> int:
    """The decompressed size of a sealed file, as its frames say; a file that has not changed is read once."""
    look = os.stat(path)
    return _sealed_size(path, look.st_dev, look.st_ino, look.st_size, look.st_mtime_ns, look.st_ctime_ns)


@lru_cache(maxsize=1024)
def _sealed_size(path: Path, *look: int) -> int:
    return sealing.content_size(path.read_bytes())


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
