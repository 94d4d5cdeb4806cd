"""Reads points back: whole series from their chunks, in the run's order, or the extremes of long ones."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, select

from autotrack.index.blocks import Axis
from autotrack.index.bulk import in_groups
from autotrack.index.checks import checked
from autotrack.index.chunks import VALUES, axis_of, values_of
from autotrack.index.fold import Attempt
from autotrack.index.schema import Broken, axes, chunks, journals
from autotrack.index.series import Points, join, ordered, unpack_floats
from autotrack.journal.reader import Ints

# Built once: that takes longer than running them.
_CHUNKS = (
    select(journals.c.stem, *VALUES)
    .join(journals, journals.c.pk == chunks.c.journal)
    .where(chunks.c.run == bindparam("run"), chunks.c.key.in_(bindparam("keys", expanding=True)))
    .order_by(chunks.c.key, journals.c.stem, chunks.c.sampled, chunks.c.part)
)
_AXES = select(axes).where(axes.c.pk.in_(bindparam("axes", expanding=True)))

Lines = list[tuple[str, bool, Points]]


def load_points(connection: Connection, run: int, keys: Iterable[int]) -> dict[int, Lines]:
    """All points of some keys of a run: by key, the journals' stems, whether sampled, and the points by
    sequence number.
    """
    found: dict[int, dict[tuple[str, bool], list[Points]]] = {}
    known: dict[int, Axis] = {}
    for some in in_groups(keys):
        rows = connection.execute(_CHUNKS, {"run": run, "keys": some}).all()
        load_axes(connection, {row.axis for row in rows}, known)
        for stem, *row in rows:
            _, key, _, sampled, _, axis, *_ = row
            line = found.setdefault(key, {}).setdefault((stem, bool(sampled)), [])
            line.append(points_of(known[axis], values_of(row)))
    return {
        key: [(stem, sampled, ordered(join(parts))) for (stem, sampled), parts in lines.items()]
        for key, lines in found.items()
    }


def load_axes(connection: Connection, wanted: Iterable[int], known: dict[int, Axis]) -> None:
    """Add the axes that are wanted and not known yet."""
    missing = set(wanted) - known.keys()
    for some in in_groups(missing):
        rows = checked(connection.execute(_AXES, {"axes": some}))
        known.update((row[0], axis_of(*row)) for row in rows)
    if not missing <= known.keys():
        raise Broken("the index lacks points")


def points_of(axis: Axis, values: bytes) -> Points:
    """The points of one chunk."""
    return Points(axis.seqs, axis.steps, axis.late_times, unpack_floats(values))


def merged(lines: Lines, attempts: list[Attempt], every: bool = False) -> Points:
    """One series from all journals, in the run's order; points that a later attempt replaced are left out
    unless `every`.
    """
    sampled = _in_one([(stem, points) for stem, is_sampled, points in lines if is_sampled], [], True)
    logged = _in_one(
        [(stem, points) for stem, is_sampled, points in lines if not is_sampled], attempts, every
    )
    if sampled is None:
        assert logged is not None
        return logged
    sampled.steps = np.arange(len(sampled), dtype=np.int64)
    if logged is None:
        return sampled
    both = join([logged, sampled])
    return both.take(np.argsort(both.times, kind="stable"))


def _in_one(parts: list[tuple[str, Points]], attempts: list[Attempt], every: bool) -> Points | None:
    if not parts:
        return None
    if len(parts) == 1 and len(attempts) < 2:
        return parts[0][1]
    numbers = np.concatenate([_attempt_numbers(stem, points, attempts) for stem, points in parts])
    clocks = np.concatenate([np.maximum.accumulate(points.times) for _, points in parts])
    order = np.concatenate([np.full(len(points), place) for place, (_, points) in enumerate(parts)])
    points = join([points for _, points in parts])
    places = np.lexsort((points.seqs, order, clocks, numbers))
    points, numbers = points.take(places), numbers[places]
    if every or points.steps is None or len(attempts) < 2:
        return points
    return points.take(_visible(points.steps, numbers))


def _attempt_numbers(stem: str, points: Points, attempts: list[Attempt]) -> Ints:
    """To which attempt each point belongs: by the starts in its own journal, else by the clock."""
    if len(attempts) < 2:
        return np.zeros(len(points), np.int64)
    own = sorted((attempt.seq, number) for number, attempt in enumerate(attempts) if attempt.stem == stem)
    if own:
        after = np.searchsorted(np.array([seq for seq, _ in own]), points.seqs, side="right") - 1
        return np.array([number for _, number in own], np.int64)[np.maximum(after, 0)]
    walls = np.maximum.accumulate(np.array([attempt.wall // 1000 for attempt in attempts], np.int64))
    return np.maximum(np.searchsorted(walls, points.times, side="right") - 1, 0).astype(np.int64)


def _visible(steps: Ints, numbers: Ints) -> Any:
    """Which points no later attempt has replaced: those before the later attempt's first step."""
    keep = np.ones(len(steps), bool)
    bound: int | None = None
    for number in np.unique(numbers)[::-1].tolist():
        own = numbers == number
        if bound is not None:
            keep[own] = steps[own] < bound
        first = int(steps[own][0])
        bound = first if bound is None else min(bound, first)
    return keep
