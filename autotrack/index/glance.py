"""A long series at a glance: its extremes from the facts of its chunks, without unpacking them."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, select

from autotrack.index.blocks import Axis
from autotrack.index.bulk import in_groups
from autotrack.index.checks import verified
from autotrack.index.chunks import FACTS, VALUES, Facts, values_of
from autotrack.index.points import load_axes
from autotrack.index.schema import Broken, chunks
from autotrack.index.series import Points, stretches_of, unpack_floats
from autotrack.journal.reader import Floats


class Chunk(NamedTuple):
    """One chunk: its row, its axis' row, its facts, and how many points stand before it."""

    pk: int
    axis: int
    facts: Facts
    before: int


class Spot(NamedTuple):
    """One point, and its place in the series."""

    place: int
    step: int | None
    time: int
    value: float


def glances(
    connection: Connection, run: int, counts: Mapping[int, int], limit: int
) -> Iterator[tuple[int, Points]]:
    """By key, of those that have so many points: at most `limit` that keep the first, the last, and the lowest, the highest
    and a NaN of each stretch of chunks.

    Left out are keys whose chunks do not tell enough: too few of them for half as many points, several journals, or lines out
    of order. Raises Broken where chunks are missing.
    """
    for some in in_groups(counts):
        for key, found in _chunks(connection, run, some).items():
            if found[-1].before + found[-1].facts.points != counts[key]:
                raise Broken("the index lacks points")
            points = _glance(connection, found, limit)
            if points is not None:
                yield key, points


def _glance(connection: Connection, found: list[Chunk], limit: int) -> Points | None:
    stretches = stretches_of(limit, any(chunk.facts.nonfinite for chunk in found))
    if stretches < 1 or 2 * len(found) < stretches or not _in_one_line(found):
        return None
    stretches = min(stretches, len(found))
    axes: dict[int, Axis] = {}
    load_axes(
        connection, {found[0].axis, found[-1].axis, *(one.axis for one in found if one.facts.nonfinite)}, axes
    )
    odd = _odd_spots(connection, [chunk for chunk in found if chunk.facts.nonfinite], axes)
    spots = {spot.place: spot for spot in _ends(found, axes)}
    edges = np.linspace(0, len(found), stretches + 1).astype(int).tolist()
    for start, end in pairwise(edges):
        spots.update((spot.place, spot) for spot in _extremes(found[start:end], odd))
    return _as_points([spots[place] for place in sorted(spots)])


def _chunks(connection: Connection, run: int, keys: list[int]) -> dict[int, list[Chunk]]:
    query = select(chunks.c.pk, *FACTS).where(chunks.c.run == run, chunks.c.key.in_(keys))
    query = query.order_by(chunks.c.key, chunks.c.journal, chunks.c.sampled, chunks.c.part)
    found: dict[int, list[Chunk]] = {}
    for pk, *row in connection.execute(query):
        *values, axis = verified(row)
        facts = Facts._make(values)
        known = found.setdefault(facts.key, [])
        before = known[-1].before + known[-1].facts.points if known else 0
        known.append(Chunk(pk, axis, facts, before))
    return found


def _in_one_line(found: list[Chunk]) -> bool:
    if len({(chunk.facts.journal, chunk.facts.sampled) for chunk in found}) != 1:
        return False
    return all(one.facts.last_seq < other.facts.first_seq for one, other in pairwise(found))


def _ends(found: list[Chunk], axes: dict[int, Axis]) -> Iterator[Spot]:
    for chunk, at in ((found[0], 0), (found[-1], found[-1].facts.points - 1)):
        value = chunk.facts.first if at == 0 else chunk.facts.last
        yield _spot(chunk, at, axes[chunk.axis], np.nan if value is None else value)


def _spot(chunk: Chunk, at: int, axis: Axis, value: float) -> Spot:
    place = chunk.before + at
    return Spot(place, None if axis.steps is None else int(axis.steps[at]), int(axis.times[at]), value)


def _odd_spots(
    connection: Connection, found: Iterable[Chunk], axes: dict[int, Axis]
) -> dict[int, list[Spot]]:
    """The first NaN and infinities of the chunks that have any, by the chunk's row."""
    by_pk = {chunk.pk: chunk for chunk in found}
    odd: dict[int, list[Spot]] = {}
    for some in in_groups(by_pk):
        for pk, *row in connection.execute(select(chunks.c.pk, *VALUES).where(chunks.c.pk.in_(some))):
            chunk, values = by_pk[pk], unpack_floats(values_of(row))
            odd[pk] = [_spot(chunk, at, axes[chunk.axis], float(values[at])) for at in _odd_places(values)]
    return odd


def _odd_places(values: Floats) -> Iterator[int]:
    for where in (np.isnan(values), values == np.inf, values == -np.inf):
        if where.any():
            yield int(where.argmax())


def _extremes(found: list[Chunk], odd: dict[int, list[Spot]]) -> Iterator[Spot]:
    """The lowest, the highest and the first NaN of a stretch."""
    low = high = missing = None
    for chunk in found:
        facts = chunk.facts
        candidates = list(odd.get(chunk.pk, ()))
        low_end = facts.min, facts.min_step, facts.min_time, facts.min_place
        high_end = facts.max, facts.max_step, facts.max_time, facts.max_place
        for value, step, time, at in (low_end, high_end):
            if value is not None and time is not None and at is not None:
                candidates.append(Spot(chunk.before + at, step, time, value))
        for spot in candidates:
            if spot.value != spot.value:
                missing = missing or spot
            else:
                low = spot if low is None or spot.value < low.value else low
                high = spot if high is None or spot.value > high.value else high
    return (spot for spot in (low, high, missing) if spot is not None)


def _as_points(spots: list[Spot]) -> Points:
    places = np.array([spot.place for spot in spots], np.int64)
    steps = [spot.step for spot in spots if spot.step is not None]
    times = np.array([spot.time for spot in spots], np.int64)
    values = np.array([spot.value for spot in spots], np.float64)
    return Points(places, np.array(steps, np.int64) if steps else places, times, values)
