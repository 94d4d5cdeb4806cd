"""Writes points as chunk rows: behind what is there, cut in the order of the journal's file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, delete, exists, func, select

from autotrack.index.blocks import Axis, Block, Line, joined
from autotrack.index.bulk import in_groups, insert_rows, names_of, next_pk, update_rows
from autotrack.index.checks import check_of, verified, with_check
from autotrack.index.schema import Broken, axes, chunks
from autotrack.index.series import (
    CHUNK,
    LONGEST_PLAIN,
    pack_ints,
    pack_rows,
    unpack_floats,
    unpack_ints,
    unpack_ints_late,
)
from autotrack.journal.reader import Floats

_CHUNK_ROW = names_of(chunks, "pk")
_AXIS_ROW = names_of(axes)


VALUES = [
    chunks.c[name] for name in ("run", "key", "journal", "sampled", "part", "axis", "values", "values_check")
]
"""What `values_of` takes."""


class Facts(NamedTuple):
    """The columns of a chunk row but for its points."""

    run: int
    key: int
    journal: int
    sampled: bool
    part: int
    points: int
    nonfinite: int
    sum: float | None
    min: float | None
    min_step: int | None
    min_time: int | None
    min_place: int | None
    max: float | None
    max_step: int | None
    max_time: int | None
    max_place: int | None
    first: float | None
    first_step: int | None
    first_seq: int
    first_time: int
    last: float | None
    last_step: int | None
    last_seq: int
    last_time: int


FACTS = [chunks.c[name] for name in (*Facts._fields, "axis", "check")]
"""The facts of a chunk with their check."""


class Tail(NamedTuple):
    """The last chunk of a key in one journal."""

    pk: int
    part: int
    points: int
    axis: int
    values: bytes


@dataclass
class Piece:
    """Keys of a block whose next chunk begins at the same place: behind the same tail, if that has room."""

    keys: list[int]
    rows: list[int]
    part: int
    axis: int | None = None
    tails: list[Tail] = field(default_factory=list)


class Written(NamedTuple):
    """What was written: the facts of the chunks by run and key, the rows of the runs that had points before, and the keys' texts by
    row.
    """

    facts: dict[tuple[int, int], list[Facts]]
    old_runs: set[int]
    keys: dict[int, str]


class ChunkWriter:
    """One transaction's worth of new points."""

    def __init__(self, connection: Connection, key_rows: dict[str, int], old_runs: set[int]) -> None:
        self.connection = connection
        self.key_rows = key_rows
        self.written = Written({}, old_runs, {row: key for key, row in key_rows.items()})
        self._next_axis = next_pk(connection, axes)
        self._axis_rows: list[Any] = []
        self._new: list[Any] = []
        self._changed: list[Any] = []
        self._left_axes: set[int] = set()

    def append(self, blocks: Sequence[Block]) -> Written:
        """Write the points of all blocks."""
        for block in blocks:
            for piece in self._pieces(block):
                self._write(block, piece)
        insert_rows(self.connection, axes, _AXIS_ROW, self._axis_rows)
        insert_rows(self.connection, chunks, _CHUNK_ROW, self._new)
        update_rows(self.connection, chunks, _CHUNK_ROW, self._changed)
        for some in in_groups(self._left_axes):
            unused = ~exists(select(chunks.c.pk).where(chunks.c.axis == axes.c.pk))
            self.connection.execute(delete(axes).where(axes.c.pk.in_(some), unused))
        return self.written

    def _pieces(self, block: Block) -> list[Piece]:
        numbers = [self.key_rows[key] for key in block.keys]
        tails = (
            _tails(self.connection, block.line, numbers) if block.line.run in self.written.old_runs else {}
        )
        if not tails:
            return [Piece(numbers, list(range(len(numbers))), 0)]
        found: dict[tuple[int, int | None], Piece] = {}
        for row, key in enumerate(numbers):
            tail = tails.get(key)
            room = tail is not None and tail.points < CHUNK
            place = (0 if tail is None else tail.part + (not room), tail.axis if tail and room else None)
            piece = found.setdefault(place, Piece([], [], *place))
            piece.keys.append(key)
            piece.rows.append(row)
            if tail is not None and room:
                piece.tails.append(tail)
        return list(found.values())

    def _write(self, block: Block, piece: Piece) -> None:
        axis = block.axis
        values = block.values if len(piece.rows) == len(block.keys) else block.values[piece.rows]
        if piece.axis is not None:
            axis = joined([_load_axis(self.connection, piece.axis), axis])
            before = np.stack([unpack_floats(tail.values) for tail in piece.tails])
            values = np.concatenate([before, values], axis=1)
            self._left_axes.add(piece.axis)
        for number, start in enumerate(range(0, len(axis), CHUNK)):
            cut = slice(start, start + CHUNK)
            self._chunk(block.line, piece, number, axis.take(cut), values[:, cut])

    def _chunk(self, line: Line, piece: Piece, number: int, axis: Axis, values: Floats) -> None:
        if not bool(np.all(axis.seqs[1:] > axis.seqs[:-1])):
            order = np.argsort(axis.seqs, kind="stable")
            axis, values = axis.take(order), values[:, order]
        pk, self._next_axis = self._next_axis, self._next_axis + 1
        steps = None if axis.steps is None else pack_ints(axis.steps)
        self._axis_rows.append(with_check((pk, line.run, pack_ints(axis.seqs), steps, pack_ints(axis.times))))
        facts = facts_of(line, piece.keys, piece.part + number, axis, values)
        rows = [_row(one, pk, data) for one, data in zip(facts, pack_rows(values), strict=True)]
        if number == 0 and piece.tails:
            self._changed += [(*row, tail.pk) for row, tail in zip(rows, piece.tails, strict=True)]
        else:
            self._new += rows
        for one in facts:
            self.written.facts.setdefault((one.run, one.key), []).append(one)


def _row(facts: Facts, axis: int, values: bytes) -> tuple[Any, ...]:
    return *with_check((*facts, axis)), values, _values_check((*facts[:5], axis, values))


def values_of(row: Sequence[Any]) -> bytes:
    """What the last but one of the columns `VALUES` holds; Broken if that or what stands before it has changed."""
    if _values_check(row[:-1]) != row[-1]:
        raise Broken("a row of the index is damaged")
    return bytes(row[-2])


def _values_check(row: Sequence[Any]) -> int:
    """Long ones are compressed, with a check of zstd's."""
    values = row[-1]
    return check_of(row if len(values) <= LONGEST_PLAIN else (*row[:-1], values[:1], len(values)))


def _tails(connection: Connection, line: Line, keys: list[int]) -> dict[int, Tail]:
    """The last chunk of each key of a line, where there is one."""
    here = (
        (chunks.c.run == line.run) & (chunks.c.journal == line.journal) & (chunks.c.sampled == line.sampled)
    )
    found: dict[int, Tail] = {}
    for some in in_groups(keys):
        last = (
            select(chunks.c.key, func.max(chunks.c.part).label("part"))
            .where(here, chunks.c.key.in_(some))
            .group_by(chunks.c.key)
            .subquery()
        )
        query = select(*VALUES, chunks.c.points, chunks.c.pk).join(
            last, (chunks.c.key == last.c.key) & (chunks.c.part == last.c.part) & here
        )
        for *row, points, pk in connection.execute(query):
            _, key, _, _, part, axis, *_ = row
            found[key] = Tail(pk, part, points, axis, values_of(row))
    return found


def _load_axis(connection: Connection, pk: int) -> Axis:
    return axis_of(*verified(connection.execute(select(axes).where(axes.c.pk == pk)).one()))


def axis_of(pk: int, run: int, seqs: bytes, steps: bytes | None, times: bytes) -> Axis:
    """An axis from its row."""
    return Axis(unpack_ints(seqs), None if steps is None else unpack_ints(steps), unpack_ints_late(times))


def facts_of(line: Line, keys: list[int], part: int, axis: Axis, values: Floats) -> list[Facts]:
    """What one chunk of each key amounts to; the points stand by their sequence numbers."""
    count = values.shape[1]
    if count == 1:
        return _single_facts(line, keys, part, axis, values[:, 0].tolist())
    finite = np.isfinite(values)
    whole = bool(finite.all())
    good = values if whole else np.where(finite, values, 0.0)
    low = _extreme(values if whole else np.where(finite, values, np.inf), np.argmin, axis)
    high = _extreme(values if whole else np.where(finite, values, -np.inf), np.argmax, axis)
    nonfinite = (count - finite.sum(axis=1)).tolist()
    steps = axis.steps
    first_step, last_step = (None, None) if steps is None else (int(steps[0]), int(steps[-1]))
    columns = [*low, *high]
    if not whole:
        columns = [
            [None if bad == count else value for bad, value in zip(nonfinite, column, strict=True)]
            for column in columns
        ]
    every = len(keys)
    ends = (
        [first_step, int(axis.seqs[0]), int(axis.times[0])],
        [last_step, int(axis.seqs[-1]), int(axis.times.max())],
    )
    with np.errstate(over="ignore", invalid="ignore"):
        sums = _numbers(good.sum(axis=1))
    parts: list[Any] = [
        [line.run] * every,
        keys,
        *([one] * every for one in (line.journal, line.sampled, part, count)),
    ]
    parts += [nonfinite, sums, *columns]
    for value, end in zip((values[:, 0], values[:, -1]), ends, strict=True):
        parts += [_numbers(value), *([one] * every for one in end)]
    return [Facts._make(row) for row in zip(*parts, strict=True)]


def _single_facts(line: Line, keys: list[int], part: int, axis: Axis, values: list[float]) -> list[Facts]:
    """The facts of chunks that have one point each."""
    step = None if axis.steps is None else int(axis.steps[0])
    seq, time = int(axis.seqs[0]), int(axis.times[0])
    found = []
    for key, value in zip(keys, values, strict=True):
        finite = -np.inf < value < np.inf
        number = None if value != value else value + 0.0
        extreme = (number, step, time, 0) if finite else (None, None, None, None)
        end = number, step, seq, time
        head = line.run, key, line.journal, line.sampled, part, 1, int(not finite), number if finite else 0.0
        found.append(Facts._make((*head, *extreme, *extreme, *end, *end)))
    return found


def _numbers(array: Floats) -> list[float | None]:
    """Plain numbers for a row: None for NaN, which SQL does not have, and 0.0 for -0.0, which it does not give back."""
    return [None if number != number else number for number in (array + 0.0).tolist()]


def _extreme(values: Floats, choose: Any, axis: Axis) -> list[list[Any]]:
    """The lowest or highest of each row: value, step, time and place."""
    places: npt.NDArray[np.int64] = choose(values, axis=1)
    steps = [None] * len(places) if axis.steps is None else axis.steps[places].tolist()
    return [
        (values[np.arange(len(places)), places] + 0.0).tolist(),
        steps,
        axis.times[places].tolist(),
        places.tolist(),
    ]
