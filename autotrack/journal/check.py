"""Looks through a journal's files for what is damaged, missing or doubled. Nothing is changed."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from autotrack.journal.format import FORMAT, Event, event_of
from autotrack.journal.lines import Row, rescued_rows, sound_row, sound_rows
from autotrack.journal.reader import Ints
from autotrack.journal.sealed import pieces
from autotrack.journal.source import DamagedFile, Segment, content_size, stretches

Range = tuple[int, int]
IN_FLIGHT = 64
"""So many events before the end of a journal without a finish may have been under way in other threads when its process died."""
_NUMBERLESS = frozenset({"m", "s", "beat"})
_SEQ = re.compile(rb'\["\w+",(\d{1,18}),')


class Stretch(NamedTuple):
    """Damaged lines that stand together: line numbers from 1, byte offset and length in the decompressed file,
    and the sequence numbers of the whole lines around them.
    """

    first_line: int
    last_line: int
    offset: int
    length: int
    before: int | None
    after: int | None
    rewritten: bool


class Frame(NamedTuple):
    """A damaged frame of a sealed file: where in the file it lies, and what zstd says."""

    offset: int
    length: int
    why: str


@dataclass
class FileCheck:
    """What one file of a journal holds."""

    segment: Segment
    lines: int = 0
    size: int = 0
    header: dict[str, Any] | None = None
    stretches: list[Stretch] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    tail: bytes = b""
    tail_offset: int = 0
    problem: str | None = None
    seqs: list[Ints] = field(default_factory=list)
    crcs: list[Ints] = field(default_factory=list)


def check_file(segment: Segment) -> FileCheck:
    """Read one file to its end. OSError where it cannot be read, FileNotFoundError where it was sealed meanwhile."""
    found = FileCheck(segment)
    offset = 0
    scan = _Scan(found)
    try:
        if segment.sealed is not None:
            found.frames = list(_damaged_frames(segment.sealed))
        for block, length in stretches(segment):
            scan.block(block, offset)
            offset += length
            if found.problem:
                return found
        scan.end()
        found.tail_offset, found.tail = offset, _tail(segment, offset)
    except DamagedFile as error:
        found.problem = str(error)
    found.size = offset + len(found.tail)
    if not found.size and not found.problem:
        found.problem = "is empty: its process died before it wrote a line, or the disk lost what it wrote"
    return found


def tail_seq(tail: bytes) -> int | None:
    """The sequence number that a torn line bears, None where it is torn before that."""
    found = _SEQ.match(tail)
    return int(found[1]) if found else None


def missing(files: Iterable[FileCheck]) -> list[Range]:
    """The ranges of sequence numbers that no file of a journal has, up to the highest one."""
    seqs = np.unique(_joined(seqs for file in files for seqs in file.seqs))
    if not len(seqs):
        return []
    before = np.concatenate([[-1], seqs[:-1]])
    holes = np.flatnonzero(seqs - before > 1)
    return [(int(before[place]) + 1, int(seqs[place]) - 1) for place in holes]


def doubled(files: list[FileCheck]) -> tuple[list[Range], list[Range]]:
    """The sequence numbers that stand twice in a journal: in equal lines, and in lines that differ."""
    seqs = _joined(part for file in files for part in file.seqs)
    crcs = _joined(part for file in files for part in file.crcs)
    order = np.lexsort((crcs, seqs))
    seqs, crcs = seqs[order], crcs[order]
    again = np.flatnonzero(seqs[1:] == seqs[:-1]) + 1
    differ = np.unique(seqs[again][crcs[again] != crcs[again - 1]])
    return _ranges(np.setdiff1d(seqs[again], differ)), _ranges(differ)


def within(ranges: Iterable[Range], first: int, last: int) -> list[Range]:
    """The parts of ranges that lie between two numbers, both included."""
    return [(max(low, first), min(high, last)) for low, high in ranges if low <= last and high >= first]


def without(ranges: Iterable[Range], taken: Iterable[Range]) -> list[Range]:
    """The parts of ranges that none of the others cover."""
    left = list(ranges)
    for first, last in taken:
        left = [*within(left, -1, first - 1), *within(left, last + 1, 2**63)]
    return sorted(left)


def _joined(parts: Iterable[Ints]) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _ranges(numbers: Ints) -> list[Range]:
    if not len(numbers):
        return []
    cuts = np.flatnonzero(np.diff(numbers) > 1)
    firsts, lasts = numbers[np.concatenate([[0], cuts + 1])], numbers[np.concatenate([cuts, [-1]])]
    return [(int(first), int(last)) for first, last in zip(firsts, lasts, strict=True)]


def _damaged_frames(path: Path) -> Iterator[Frame]:
    for piece in pieces(path.read_bytes()):
        if piece.trouble is not None:
            yield Frame(piece.frame.start, piece.frame.end - piece.frame.start, piece.trouble)


def _tail(segment: Segment, offset: int) -> bytes:
    """What stands behind the last newline; of a sealed file its length only, in NUL bytes."""
    if segment.plain is None or segment.sealed is not None:
        return bytes(max(content_size(segment) - offset, 0))
    with open(segment.plain, "rb") as file:
        file.seek(offset)
        return file.read()


class _Scan:
    """One pass over the lines of a file."""

    def __init__(self, found: FileCheck) -> None:
        self.found = found
        self.line = 0
        self.last: int | None = None
        self.open: Stretch | None = None
        self.torn = b""

    def block(self, block: bytes, offset: int) -> None:
        """Whole lines, which begin at a byte offset."""
        lines = block.split(b"\n")[:-1]
        rows = sound_rows(lines) if all(lines) else None
        if rows is not None:
            self._close(rows[0] if rows else None, lines[0] if lines else b"")
            self._take(rows)
            self.line += len(lines)
            return
        for line in lines:
            self._line(line, offset)
            offset += len(line) + 1

    def _line(self, line: bytes, offset: int) -> None:
        self.line += 1
        if not line:
            return
        row = sound_row(line)
        if row is not None:
            self._close(row, line)
            self._take([row])
            return
        rescued = rescued_rows(line)
        if self.open is None:
            self.open = Stretch(self.line, self.line, offset, len(line), self.last, None, False)
        else:
            length = offset + len(line) - self.open.offset
            self.open = self.open._replace(last_line=self.line, length=length)
        self.torn = line
        self._take(rescued)

    def _close(self, row: Row | None, line: bytes) -> None:
        """A whole line follows: the damaged ones before it are one stretch, or a torn line that was written again."""
        if self.open is None or row is None:
            return
        alone = self.open.first_line == self.open.last_line
        stretch = self.open._replace(after=_seq(row), rewritten=alone and line.startswith(self.torn))
        self.found.stretches.append(stretch)
        self.open = None

    def _take(self, rows: list[Row]) -> None:
        numbered = [row for row in rows if _seq(row) is not None]
        if not numbered:
            return
        self.found.lines += len(numbered)
        self.found.seqs.append(np.array([row[1] for row in numbered], np.int64))
        self.found.crcs.append(np.array([row[-1] for row in numbered], np.int64))
        self.last = numbered[-1][1]
        for row in numbered:
            if row[0] in _NUMBERLESS and not (row[0] == "beat" and row[3]):
                continue
            event = event_of(row)
            if event is None:
                continue
            if event.kind == "h" and self.found.header is None:
                self._header(event.body)
            else:
                self.found.events.append(event)

    def _header(self, header: dict[str, Any]) -> None:
        self.found.header = header
        number = header.get("format")
        if not isinstance(number, int) or number > FORMAT:
            by = header.get("by", "a later autotrack")
            self.found.problem = (
                f"is of format {number!r}, written by {by}; this autotrack checks format {FORMAT}: upgrade it"
            )

    def end(self) -> None:
        """The file ends: damaged lines at its end have none behind them."""
        if self.open is not None:
            self.found.stretches.append(self.open)
            self.open = None


def _seq(row: Row) -> int | None:
    return row[1] if isinstance(row[1], int) and 0 <= row[1] < 2**63 else None
