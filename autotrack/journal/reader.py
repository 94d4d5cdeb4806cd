"""Reads journals: whole blocks of lines become NumPy arrays of metrics and a short list of other events.

Nothing in a journal is fatal: a damaged line is counted and skipped, an unknown kind is counted, a file that
is
empty, foreign or of a later format is named in `Batch.problem`.
"""

import gc
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from autotrack.journal.format import FORMAT, Event, check, event_of
from autotrack.journal.source import BLOCK, DamagedFile, Segment, blocks

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

KINDS = frozenset(
    (
        "start",
        "config",
        "edit",
        "artifact",
        "input",
        "capture",
        "warning",
        "gap",
        "beat",
        "finish",
        "h",
        "m",
        "s",
    )
)
_AT_ONCE = 512
_BOUND = 2**63


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

    `last_seq` is the sequence number of the line before `offset`; a line written twice is taken once.
    A file that is no journal, or one of a later format, gives one batch with `problem` and `end` 0.
    """
    start = offset
    try:
        for block in blocks(segment, offset, size):
            batch = parse(block, last_seq)
            offset += len(block)
            batch.end = offset
            if offset == len(block) and (problem := _refusal(batch)):
                yield Batch(0, problem=f"{segment.path.name} {problem}", header=batch.header)
                return
            last_seq = batch.last_seq
            yield batch
    except DamagedFile as error:
        yield Batch(offset, problem=str(error))
        return
    if start == 0 and offset == 0:
        yield Batch(0, problem=f"{segment.path.name} is empty")


def _refusal(batch: Batch) -> str | None:
    """Why the first lines of a file make it none of ours; None if they are."""
    if batch.header is not None:
        number = batch.header.get("format")
        if not isinstance(number, int):
            return f"names no format that is known ({number!r})"
        if number > FORMAT:
            by = batch.header.get("by", "a later autotrack")
            return f"is of format {number}, written by {by}; this autotrack reads format {FORMAT}: upgrade it"
        return None
    if batch.last_mono is None and batch.damaged:
        return "is not a journal: it has no whole line"
    return None


def parse(block: bytes, last_seq: int = -1) -> Batch:
    """Whole lines, in a batch whose `end` is the length of the block."""
    lines = [line for line in block.split(b"\n") if line]
    with _no_collection():
        rows, damaged = _rows(lines)
        batch = Batch(len(block), damaged=damaged, last_seq=last_seq)
        _sort_out(_once(rows, last_seq, batch), batch)
        del rows
    return batch


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the collector from walking over a million short-lived lists, again and again."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _rows(lines: list[bytes]) -> tuple[list[list[Any]], int]:
    """The arrays of the whole lines, and how many lines are damaged."""
    rows = _rows_at_once(lines)
    if rows is not None:
        return rows, 0
    if len(lines) > _AT_ONCE:
        parts = [_rows(lines[place : place + _AT_ONCE]) for place in range(0, len(lines), _AT_ONCE)]
        return list(chain.from_iterable(part for part, _ in parts)), sum(damaged for _, damaged in parts)
    rows = []
    for line in lines:
        if check(line):
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(row, list) and len(row) >= 5:
                rows.append(row)
    return rows, len(lines) - len(rows)


def _rows_at_once(lines: list[bytes]) -> list[list[Any]] | None:
    crc32 = zlib.crc32
    try:
        rows: list[list[Any]] = orjson.loads(b"[%b]" % b",".join(lines))
        if [row[-1] for row in rows] != [crc32(line[: line.rfind(b",") + 1]) for line in lines]:
            return None
        return rows if not rows or min(map(len, rows)) >= 5 else None
    except (orjson.JSONDecodeError, TypeError, IndexError, KeyError):
        return None


def _once(rows: list[list[Any]], last_seq: int, batch: Batch) -> list[list[Any]]:
    """Without the second copy of a line that was written twice (a short write that lacked only the line's
    end).
    """
    try:
        seqs = np.fromiter([row[1] for row in rows], np.int64, len(rows))
    except (TypeError, ValueError, OverflowError):
        numbered = [row for row in rows if _is_integer(row[1])]
        batch.damaged += len(rows) - len(numbered)
        return _once(numbered, last_seq, batch)
    if rows and seqs[0] > last_seq and bool(np.all(seqs[1:] > seqs[:-1])):
        return rows
    numbers = [last_seq, *seqs.tolist()]
    fresh = dict(zip(reversed(numbers), range(len(rows), -1, -1), strict=True))
    return [rows[place - 1] for place in sorted(fresh.values()) if place]


def _sort_out(rows: list[list[Any]], batch: Batch) -> None:
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


def _other(row: list[Any], batch: Batch) -> None:
    event = event_of(row)
    if event is None or not -_BOUND <= event.mono < _BOUND or not 0 <= event.seq < _BOUND:
        batch.damaged += 1
    elif event.kind == "h":
        batch.header = batch.header or event.body | {"mono": event.mono}
    elif event.kind != "beat":
        batch.events.append(event)


def _note_ends(rows: list[list[Any]], batch: Batch) -> None:
    """The clocks of the first and last line, and the last line's number."""
    whole = [row for row in (*rows[:1], *rows[-1:]) if _is_integer(row[2])]
    if whole:
        batch.first_mono, batch.last_mono, batch.last_seq = whole[0][2], whole[-1][2], whole[-1][1]


def _add_group(
    rows: list[list[Any]], places: list[int], shape: tuple[Any, ...], batch: Batch, plain: bool = False
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


def _add_slowly(rows: list[list[Any]], places: list[int], shape: tuple[Any, ...], batch: Batch) -> None:
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


def _plain_row(row: list[Any], at: int) -> list[Any] | None:
    """The row with plain numbers only; None if it is not a metric line after all."""
    event = event_of(row)
    if event is None or not all(
        -_BOUND <= number < _BOUND for number in (event.seq, event.mono, event.step or 0)
    ):
        return None
    if at == 4 and len(row) > 6 and not isinstance(row[5], str):
        return None
    values = {key: float(value) for key, value in event.body.items() if _is_number(value)}
    copy = list(row)
    copy[3] = event.step if at == 4 else values
    copy[at] = values
    return copy if values else None


def _is_number(value: Any) -> bool:
    if not isinstance(value, (int, float)):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and -_BOUND <= value < _BOUND


def count_points(batches: Iterable[Batch]) -> int:
    """How many single values some batches hold."""
    return sum(group.values.size for batch in batches for group in batch.groups)
