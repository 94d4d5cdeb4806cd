"""What the series of a run amount to: the rows of `metrics` and `lasts`, made from the facts of all chunks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select

from autotrack.index.blocks import Axis, Line
from autotrack.index.bulk import in_groups, insert_rows, names_of, ranges_of
from autotrack.index.checks import verified, with_check
from autotrack.index.chunks import FACTS, Facts, Written, facts_of
from autotrack.index.fold import Attempt, pack_body, unpack_body
from autotrack.index.points import Lines, load_points, merged
from autotrack.index.schema import chunks, lasts, metrics

SYSTEM = "system/"
_LAST = names_of(metrics).index("last")


def write_summaries(
    connection: Connection, written: Written, attempts: Mapping[int, list[Attempt]], stems: Mapping[int, str]
) -> None:
    """Replace the rows in `metrics` of every key that got points, and the runs' last values; `stems` are the names of journals by
    row.
    """
    touched: dict[int, list[int]] = {}
    for run, key in written.facts:
        touched.setdefault(run, []).append(key)
    rows: list[Any] = []
    new_lasts: list[Any] = []
    known = load_lasts(connection, touched.keys() & written.old_runs)
    for run, keys in touched.items():
        old = run in written.old_runs
        if len(attempts.get(run, ())) > 1:
            series = load_points(connection, run, keys)
            found = {key: [_shown_facts(lines, attempts[run])] for key, lines in series.items()}
        else:
            found = (
                load_facts(connection, run, keys) if old else {key: written.facts[run, key] for key in keys}
            )
        own = [(run, key, *summarise(facts, stems)) for key, facts in found.items()]
        before, count = known.get(run, ({}, 0))
        for some in in_groups(keys if old else ()):
            gone = connection.execute(delete(metrics).where(metrics.c.run == run, metrics.c.key.in_(some)))
            count -= gone.rowcount
        rows += map(with_check, own)
        values = before | {written.keys[row[1]]: row[_LAST] for row in own}
        new_lasts.append(_lasts_row(run, count + len(own), values))
    insert_rows(connection, metrics, names_of(metrics), rows)
    for some in in_groups(known):
        connection.execute(delete(lasts).where(lasts.c.run.in_(some)))
    insert_rows(connection, lasts, names_of(lasts), new_lasts)


def _lasts_row(run: int, keys: int, values: Mapping[str, float | None]) -> tuple[Any, ...]:
    shown = {key: values[key] for key in sorted(values) if not key.startswith(SYSTEM)}
    return with_check((run, keys, pack_body(shown)))


def values_of_lasts(row: Sequence[Any]) -> dict[str, float | None]:
    """The last values by key in a row of `lasts`; Broken if it has changed."""
    return unpack_body(verified(row)[2])


def load_lasts(
    connection: Connection, run_pks: Iterable[int]
) -> dict[int, tuple[dict[str, float | None], int]]:
    """By run: its last values by key (None for NaN), without those of the system, and how many keys it has in all."""
    found: dict[int, tuple[dict[str, float | None], int]] = {}
    for some in ranges_of(lasts.c.run, run_pks):
        for run, count, data, *_ in map(verified, connection.execute(select(lasts).where(some))):
            found[run] = unpack_body(data), count
    return found


def load_facts(connection: Connection, run: int, keys: Sequence[int]) -> dict[int, list[Facts]]:
    """The facts of every chunk of some keys of a run, by key."""
    found: dict[int, list[Facts]] = {}
    for some in in_groups(keys):
        for row in connection.execute(select(*FACTS).where(chunks.c.run == run, chunks.c.key.in_(some))):
            found.setdefault(row[1], []).append(Facts._make(verified(row)[:-1]))
    return found


def summarise(facts: list[Facts], stems: Mapping[int, str]) -> tuple[Any, ...]:
    """The columns of `metrics` for one key from its chunks' facts."""
    if len(facts) == 1:
        first = last = low = high = facts[0]
        count, nonfinite, total = low.points, low.nonfinite, low.sum
    else:
        facts = sorted(facts, key=lambda one: (stems[one.journal], one.sampled, one.part))
        count, nonfinite = sum(one.points for one in facts), sum(one.nonfinite for one in facts)
        finite = [one for one in facts if one.min is not None]
        low = min(finite, key=lambda one: one.min or 0.0, default=facts[0])
        high = max(finite, key=lambda one: one.max or 0.0, default=facts[0])
        first, last = _ends(facts, stems)
        total = None if any(one.sum is None for one in finite) else sum(one.sum or 0.0 for one in finite)
    mean = None if total is None or count == nonfinite else total / (count - nonfinite)
    values = first.first, last.last, low.min, high.max, mean, count, nonfinite
    return *values, first.first_step, last.last_step, low.min_step, high.max_step


def _ends(facts: list[Facts], stems: Mapping[int, str]) -> tuple[Facts, Facts]:
    """The chunks with the first and the last point: the clock picks the journal, and numbers the point in it."""
    first = min(facts, key=lambda one: (one.first_time, stems[one.journal], one.first_seq))
    first = min((one for one in facts if one.journal == first.journal), key=lambda one: one.first_seq)
    last = max(facts, key=lambda one: (one.last_time, stems[one.journal]))
    return first, max((one for one in facts if one.journal == last.journal), key=lambda one: one.last_seq)


def _shown_facts(lines: Lines, attempts: list[Attempt]) -> Facts:
    """The facts of a whole series of several attempts, as `history()` shows it."""
    points = merged(lines, attempts)
    axis = Axis(points.seqs, points.steps, points.times)
    return facts_of(Line(0, 0, points.steps is None), [0], 0, axis, points.values.reshape(1, -1))[0]
