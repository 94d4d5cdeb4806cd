"""Reads journals: whole blocks of lines become NumPy arrays of metrics and a short list of other events.

Nothing in a journal is fatal: a damaged line is counted and skipped, an unknown kind is counted, a file that is
empty, foreign or of a later format is named in `Batch.problem`. What a damaged first line said is taken from elsewhere.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from autotrack.collector import without_collector
from autotrack.journal.format import FORMAT, SEGMENT_BYTES, Event, event_of
from autotrack.journal.lines import Row, may_hold_rows, rows_of, split
from autotrack.journal.source import BLOCK, DamagedFile, Segment, blocks, find_segments, stretches

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

KINDS = frozenset(
    (
        "start",
        "config",
        "edit",
        "artifact",
        "checkpoint",
        "input",
        "capture",
        "warning",
        "gap",
        "registry",
        "beat",
        "finish",
        "h",
        "m",
        "s",
    )
)
_BOUND = 2**63
_FIRST = 64 * 1024
_LOOK_BACK = 64 * 1024
_WIDER = 4
_LOOKED_THROUGH = SEGMENT_BYTES
"""A file that holds no whole line up to here is none of ours."""


@dataclass
class Group:
    """Metric lines with the same keys: one row a line. `steps` is None for system samples, which have none."""

    child: str | None
    keys: tuple[str, ...]
    places: Ints
    seqs: Ints
    monos: Ints
    steps: Ints | None
    values: Floats


@dataclass
class Batch:
    """What some whole lines of one segment hold; `end` is the byte offset behind them."""

    end: int
    header: dict[str, Any] | None = None
    events: list[Event] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    damaged: int = 0
    unknown: int = 0
    first_mono: int | None = None
    last_mono: int | None = None
    last_seq: int = -1
    problem: str | None = None


def read(segment: Segment, offset: int = 0, last_seq: int = -1, size: int = BLOCK) -> Iterator[Batch]:
    """The batches of a segment from a byte offset on.

    `last_seq` is the highest sequence number before `offset`; a line that stands there twice is taken once.
    A file that is no journal, or one of a later format, gives one batch with `problem` and `end` 0.
    """
    known = Known(segment, offset, last_seq)
    begun, damaged = offset > 0, 0
    try:
        for block, length in stretches(segment, offset, size):
            offset += length
            readable = begun or may_hold_rows(block)
            batch = parse(block, known) if readable else Batch(0, damaged=len(split(block)))
            batch.end = offset
            if not begun:
                batch.damaged = damaged = damaged + batch.damaged
                if not _has_lines(batch):
                    if offset > _LOOKED_THROUGH:
                        break
                    continue
                if problem := _refusal(batch):
                    yield Batch(0, problem=f"{segment.path.name} {problem}", header=batch.header)
                    return
                if batch.header is None:
                    batch.header = _header_from_elsewhere(segment, batch)
                begun = True
            yield batch
    except DamagedFile as error:
        yield Batch(offset if begun else 0, problem=str(error))
        return
    if not begun:
        yield _without_lines(segment, offset, damaged)


def _has_lines(batch: Batch) -> bool:
    return bool(batch.header or batch.last_mono is not None or batch.events or batch.groups)


def _without_lines(segment: Segment, end: int, damaged: int) -> Batch:
    if damaged:
        return Batch(0, problem=f"{segment.path.name} is not a journal: it has no whole line")
    return Batch(end, problem=None if end else f"{segment.path.name} is empty")


class Known:
    """The sequence numbers of a segment that were read, so that a line which stands there twice is taken once."""

    def __init__(self, segment: Segment | None = None, offset: int = 0, top: int = -1) -> None:
        self.top = top
        self._segment = segment
        self._before = offset
        self._below = top
        self._stretch = _LOOK_BACK
        self._seqs = [np.array([top], np.int64)]

    def add(self, seqs: Ints) -> None:
        """Note the numbers of lines that were taken."""
        self._seqs.append(seqs)
        self.top = max(self.top, int(seqs.max(initial=-1)))

    def has(self, seqs: Ints) -> npt.NDArray[np.bool_]:
        """Which of these numbers were read before.

        The file is looked through backwards, to where all numbers are lower: threads that write at once are only a little
        out of order.
        """
        lowest = int(seqs.min(initial=_BOUND - 1))
        while self._segment is not None and self._before and self._below > lowest:
            start = max(self._before - self._stretch, 0)
            self._stretch *= _WIDER
            self._before, found = _seqs_between(self._segment, start, self._before)
            self._below = int(found.max(initial=-1)) if len(found) else self._below
            self._seqs.append(found)
        return np.isin(seqs, np.concatenate(self._seqs))


def _seqs_between(segment: Segment, start: int, end: int) -> tuple[int, Ints]:
    """Where the first line that begins between two byte offsets stands, and the sequence numbers of all from there on."""
    found: list[int] = []
    place, first = start, start
    for block, length in stretches(segment, start):
        block = block if place + length <= end else block[: end - place]
        if place == start > 0:
            first = start + block.find(b"\n") + 1
            block = block[first - start :]
        with without_collector():
            found += [row[1] for row in rows_of(split(block))[0] if _is_integer(row[1])]
        place += length
        if place >= end:
            break
    return first, np.array(found, np.int64)


def _header_from_elsewhere(segment: Segment, batch: Batch) -> dict[str, Any]:
    """What a damaged first line said, as far as it is known: from the journal's other segments, else from the first events
    and the file's name.
    """
    for other in _neighbours(segment):
        found = _header_of(other)
        if found is not None:
            return found | {"segment": segment.number}
    kinds = {event.kind for event in batch.events if event.child is None}
    rank = segment.stem.rpartition("-")[2]
    if kinds == {"edit"} and not batch.groups:
        role = "edit"
    else:
        role = "run" if rank in ("0", "") or kinds & {"start", "config", "capture", "finish"} else "worker"
    wall, mono = segment.started or 0, batch.first_mono or 0
    for event in batch.events:
        if event.kind == "start" and event.child is None and _is_integer(event.body.get("created")):
            wall, mono = event.body["created"], event.mono
    return {"wall": wall, "mono": mono, "role": role, "rank": int(rank) if rank.isdecimal() else 0}


def _header_of(segment: Segment) -> dict[str, Any] | None:
    """What a segment's first line says; None where that cannot be read. FileNotFoundError where it was sealed meanwhile."""
    try:
        for block in blocks(segment, size=_FIRST):
            return parse(block).header
    except FileNotFoundError:
        raise
    except (DamagedFile, OSError):
        return None
    return None


def _neighbours(segment: Segment) -> list[Segment]:
    """The other segments of a journal, nearest first."""
    try:
        found = find_segments(segment.path.parent)[0]
    except OSError:
        return []
    same = [other for other in found if other.stem == segment.stem and other.number != segment.number]
    return sorted(same, key=lambda other: abs(other.number - segment.number))


def _refusal(batch: Batch) -> str | None:
    """Why the first line of a file makes it none of ours; None if it is."""
    if batch.header is None:
        return None
    number = batch.header.get("format")
    if not isinstance(number, int):
        return f"names no format that is known ({number!r})"
    if number > FORMAT:
        by = batch.header.get("by", "a later autotrack")
        return f"is of format {number}, written by {by}; this autotrack reads format {FORMAT}: upgrade it"
    return None


def parse(block: bytes, known: Known | None = None) -> Batch:
    """Whole lines, in a batch whose `end` is the length of the block."""
    known = known or Known()
    with without_collector():
        rows, damaged = rows_of(split(block))
        batch = Batch(len(block), damaged=damaged)
        _sort_out(_once(rows, known, batch), batch)
        batch.last_seq = known.top
        del rows
    return batch


def _once(rows: list[Row], known: Known, batch: Batch) -> list[Row]:
    """Without the second copies of lines: after a short write that lacked only the line's end, or where a file was put
    together wrongly.
    """
    try:
        seqs = np.fromiter([row[1] for row in rows], np.int64, len(rows))
    except (TypeError, ValueError, OverflowError):
        numbered = [row for row in rows if _is_integer(row[1])]
        batch.damaged += len(rows) - len(numbered)
        return _once(numbered, known, batch)
    if not rows or (seqs[0] > known.top and bool(np.all(seqs[1:] > seqs[:-1]))):
        known.add(seqs)
        return rows
    first = np.unique(seqs, return_index=True)[1]
    fresh = np.zeros(len(rows), bool)
    fresh[first] = True
    late = fresh & (seqs <= known.top)
    if late.any():
        fresh[late] = ~known.has(seqs[late])
    known.add(seqs[fresh])
    return [rows[place] for place in np.flatnonzero(fresh)]


def _sort_out(rows: list[Row], batch: Batch) -> None:
    """Fill the batch: metric lines by their keys, other events one by one."""
    shapes: dict[tuple[Any, ...], list[int]] = {}
    for place, row in enumerate(rows):
        kind = row[0]
        try:
            if kind == "m":
                shape = ("m", row[5] if len(row) > 6 else None, *row[4])
            elif kind == "s":
                shape = ("s", None, *row[3])
            elif kind in KINDS:
                _other(row, batch)
                continue
            else:
                batch.unknown += 1
                continue
            if shape in shapes:
                shapes[shape].append(place)
            else:
                shapes[shape] = [place]
        except (TypeError, IndexError):
            batch.damaged += 1
    for shape, places in shapes.items():
        _add_group(rows, places, shape, batch)
    _note_ends(rows, batch)


def _other(row: Row, batch: Batch) -> None:
    event = event_of(row)
    if event is None or not -_BOUND <= event.mono < _BOUND or not 0 <= event.seq < _BOUND:
        batch.damaged += 1
    elif event.kind == "h":
        batch.header = batch.header or event.body | {"mono": event.mono}
    elif event.kind != "beat":
        batch.events.append(event)


def _note_ends(rows: list[Row], batch: Batch) -> None:
    """The clocks of the first and last line."""
    whole = [row for row in (*rows[:1], *rows[-1:]) if _is_integer(row[2])]
    if whole:
        batch.first_mono, batch.last_mono = whole[0][2], whole[-1][2]


def _add_group(
    rows: list[Row], places: list[int], shape: tuple[Any, ...], batch: Batch, plain: bool = False
) -> None:
    """The columns of lines with the same keys; lines with values that need a closer look go one by one."""
    keys = shape[2:]
    count, at = len(places), 4 if shape[0] == "m" else 3
    if not keys:
        return
    picked = [rows[place] for place in places]
    try:
        seqs = np.fromiter([row[1] for row in picked], np.int64, count)
        monos = np.fromiter([row[2] for row in picked], np.int64, count)
        steps = np.fromiter([row[3] for row in picked], np.int64, count) if at == 4 else None
        cells = chain.from_iterable([row[at].values() for row in picked])
        values = np.fromiter(cells, np.float64, count * len(keys)).reshape(count, len(keys))
        if shape[1] is not None and not isinstance(shape[1], str):
            raise TypeError("a child's id is text")
        if not plain and bool(np.isnan(values).any()):
            raise ValueError("null is no number, and NaN is spelled out")
    except (TypeError, ValueError, OverflowError, AttributeError):
        _add_slowly(rows, places, shape, batch)
        return
    batch.groups.append(Group(shape[1], keys, np.array(places, np.int64), seqs, monos, steps, values))


def _add_slowly(rows: list[Row], places: list[int], shape: tuple[Any, ...], batch: Batch) -> None:
    """Lines some of which hold spelled-out numbers: those are spelled back, then taken together again."""
    again = []
    at = 4 if shape[0] == "m" else 3
    for place in places:
        plain = _plain_row(rows[place], at)
        if plain is None:
            batch.damaged += 1
        else:
            rows[place] = plain
            again.append(place)
    shapes: dict[tuple[Any, ...], list[int]] = {}
    for place in again:
        shapes.setdefault((*shape[:2], *rows[place][at]), []).append(place)
    for found, members in shapes.items():
        _add_group(rows, members, found, batch, plain=True)


def _plain_row(row: Row, at: int) -> Row | None:
    """The row with plain numbers only; None if it is not a metric line after all."""
    event = event_of(row)
    if event is None or not all(
        -_BOUND <= number < _BOUND for number in (event.seq, event.mono, event.step or 0)
    ):
        return None
    if at == 4 and len(row) > 6 and not isinstance(row[5], str):
        return None
    values = {key: _float(value) for key, value in event.body.items() if isinstance(value, int | float)}
    copy = list(row)
    copy[3] = event.step if at == 4 else values
    copy[at] = values
    return copy if values else None


def _float(value: float) -> float:
    """A number as a float; an integer too large for one as infinity."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and -_BOUND <= value < _BOUND


def count_points(batches: Iterable[Batch]) -> int:
    """How many single values some batches hold."""
    return sum(group.values.size for batch in batches for group in batch.groups)
