"""The chunk rows of the index: appending points to them, loading them, and the summaries that follow from
them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from sqlalchemy import Connection, bindparam, func, select, update

from autotrack.index.fold import Attempt
from autotrack.index.schema import chunks, journals
from autotrack.index.series import (
    CHUNK,
    Points,
    chunk_facts,
    join,
    ordered,
    pack_floats,
    pack_ints,
    unpack_floats,
    unpack_ints,
)
from autotrack.journal.reader import Ints

T = TypeVar("T")
FACTS = (
    "count nonfinite sum min min_step max max_step first first_step first_seq first_time "
    "last last_step last_seq last_time"
).split()


class Line(NamedTuple):
    """What a stretch of points belongs to; `run`, `key` and `journal` are row numbers."""

    run: int
    key: int
    journal: int
    sampled: bool


def in_groups(items: Iterable[T], size: int = 500) -> Iterator[list[T]]:
    """Items in lists short enough for one statement."""
    rest = list(items)
    for place in range(0, len(rest), size):
        yield rest[place : place + size]


def append(
    connection: Connection, points: dict[Line, Points], old_runs: set[int]
) -> dict[Line, list[dict[str, Any]]]:
    """Write points behind what is there; the rows written are returned, for runs that are new with all their
    facts.
    """
    packed: dict[bytes, bytes] = {}
    tails = _tails(connection, [line for line in points if line.run in old_runs])
    new: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    written: dict[Line, list[dict[str, Any]]] = {}
    for line, fresh in points.items():
        tail = tails.get(line)
        part = 0
        pk = None
        if tail is not None:
            part = tail["part"]
            if tail["count"] < CHUNK:
                fresh, pk = join([_points(tail), fresh]), tail["pk"]
            else:
                part += 1
        for start in range(0, len(fresh), CHUNK):
            row = _row(line, part, fresh.cut(start, start + CHUNK), packed)
            written.setdefault(line, []).append(row)
            if pk is None:
                new.append(row)
            else:
                changed.append(row | {"pk_": pk})
                pk = None
            part += 1
    if new:
        connection.execute(chunks.insert(), new)
    if changed:
        names = [name for name in changed[0] if name != "pk_"]
        statement = update(chunks).where(chunks.c.pk == bindparam("pk_"))
        connection.execute(statement.values({name: bindparam(name) for name in names}), changed)
    return written


def _row(line: Line, part: int, points: Points, packed: dict[bytes, bytes]) -> dict[str, Any]:
    return {
        "run": line.run,
        "key": line.key,
        "journal": line.journal,
        "sampled": line.sampled,
        "part": part,
        **chunk_facts(points),
        "seqs": _packed(points.seqs, packed),
        "steps": None if points.steps is None else _packed(points.steps, packed),
        "times": _packed(points.times, packed),
        "values": pack_floats(points.values),
    }


def _packed(array: Ints, packed: dict[bytes, bytes]) -> bytes:
    """Keys that are logged together have the same steps and times: packed once."""
    raw = array.tobytes()
    data = packed.get(raw)
    if data is None:
        data = packed[raw] = pack_ints(array)
    return data


def _points(row: Any) -> Points:
    return Points(
        unpack_ints(row["seqs"]),
        None if row["steps"] is None else unpack_ints(row["steps"]),
        unpack_ints(row["times"]),
        unpack_floats(row["values"]),
    )


def _tails(connection: Connection, lines: list[Line]) -> dict[Line, Any]:
    """The last chunk of each line, where there is one."""
    found: dict[Line, Any] = {}
    wanted = set(lines)
    by_place: dict[tuple[int, int], set[int]] = {}
    for line in wanted:
        by_place.setdefault((line.run, line.journal), set()).add(line.key)
    for (run, journal), keys in by_place.items():
        for some in in_groups(keys):
            here = (chunks.c.run == run) & (chunks.c.journal == journal) & chunks.c.key.in_(some)
            last = (
                select(chunks.c.key, chunks.c.sampled, func.max(chunks.c.part).label("part"))
                .where(here)
                .group_by(chunks.c.key, chunks.c.sampled)
                .subquery()
            )
            match = (
                (chunks.c.key == last.c.key)
                & (chunks.c.sampled == last.c.sampled)
                & (chunks.c.part == last.c.part)
                & (chunks.c.run == run)
                & (chunks.c.journal == journal)
            )
            for row in connection.execute(select(chunks).join(last, match)).mappings():
                found[Line(run, row["key"], journal, bool(row["sampled"]))] = row
    return found


def load_facts(connection: Connection, run: int, keys: Sequence[int]) -> dict[int, list[Any]]:
    """The summary columns of every chunk of some keys of a run, by key."""
    columns = [chunks.c[name] for name in FACTS]
    found: dict[int, list[Any]] = {}
    for some in in_groups(keys):
        query = (
            select(chunks.c.key, chunks.c.sampled, chunks.c.part, journals.c.stem, *columns)
            .join(journals, journals.c.pk == chunks.c.journal)
            .where(chunks.c.run == run, chunks.c.key.in_(some))
            .order_by(chunks.c.key, journals.c.stem, chunks.c.sampled, chunks.c.part)
        )
        for row in connection.execute(query).mappings():
            found.setdefault(row["key"], []).append(row)
    return found


def summarise(rows: Sequence[Any]) -> dict[str, Any]:
    """The summary of one key from its chunks' facts; `rows` by journal and part."""
    count, nonfinite = sum(row["count"] for row in rows), sum(row["nonfinite"] for row in rows)
    finite = [row for row in rows if row["min"] is not None]
    low = min(finite, key=lambda row: row["min"], default=None)
    high = max(finite, key=lambda row: row["max"], default=None)
    first = min(rows, key=lambda row: (row["first_time"], row["stem"], row["first_seq"]))
    first = min((row for row in rows if row["stem"] == first["stem"]), key=lambda row: row["first_seq"])
    ends: dict[str, int] = {}
    for row in rows:
        ends[row["stem"]] = max(row["last_time"], ends.get(row["stem"], row["last_time"]))
    last_stem = max(ends, key=lambda stem: (ends[stem], stem))
    last = max((row for row in rows if row["stem"] == last_stem), key=lambda row: row["last_seq"])
    return {
        "first": first["first"],
        "first_step": first["first_step"],
        "last": last["last"],
        "last_step": last["last_step"],
        "min": low["min"] if low else None,
        "min_step": low["min_step"] if low else None,
        "max": high["max"] if high else None,
        "max_step": high["max_step"] if high else None,
        "mean": sum(row["sum"] for row in finite) / (count - nonfinite) if finite else None,
        "count": count,
        "nonfinite": nonfinite,
    }


def load_points(
    connection: Connection, run: int, keys: Iterable[int]
) -> dict[int, list[tuple[str, bool, Points]]]:
    """All points of some keys of a run: by key, the journals' stems, whether sampled, and the points by
    sequence number.
    """
    found: dict[int, dict[tuple[str, bool], list[Points]]] = {}
    for some in in_groups(keys):
        query = (
            select(chunks, journals.c.stem)
            .join(journals, journals.c.pk == chunks.c.journal)
            .where(chunks.c.run == run, chunks.c.key.in_(some))
            .order_by(chunks.c.key, journals.c.stem, chunks.c.sampled, chunks.c.part)
        )
        for row in connection.execute(query).mappings():
            lines = found.setdefault(row["key"], {})
            lines.setdefault((row["stem"], bool(row["sampled"])), []).append(_points(row))
    return {
        key: [(stem, sampled, ordered(join(parts))) for (stem, sampled), parts in lines.items()]
        for key, lines in found.items()
    }


def merged(lines: list[tuple[str, bool, Points]], attempts: list[Attempt], every: bool = False) -> Points:
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
