"""After an ingest: the summaries and rows of the runs that it touched, made anew from everything that the
index holds of them.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Connection, bindparam, delete, select

from autotrack.index.chunks import Line, in_groups, load_facts, load_points, merged, summarise
from autotrack.index.fold import (
    FOLDED,
    Attempt,
    Fact,
    attempts_of,
    flatten,
    fold,
    pack_body,
    typed,
    unpack_body,
)
from autotrack.index.schema import config_values, events, journals, metrics, runs, segments, tags
from autotrack.index.series import chunk_facts
from autotrack.journal.format import spell


def refold(
    connection: Connection,
    folder: int,
    project: str,
    root: str,
    run_rows: Mapping[str, int],
    written: Mapping[Line, list[dict[str, Any]]],
    old_runs: set[int],
) -> None:
    """Bring the rows of `run_rows` (by id) up to date; `written` are the chunk rows that are new."""
    facts = load_folded(connection, list(run_rows.values()))
    writers = _journal_ends(connection, folder)
    stems = {row["pk"]: row["stem"] for row in writers}
    attempts = {pk: attempts_of(facts.get(pk, [])) for pk in run_rows.values()}
    _summaries(connection, written, old_runs, attempts, stems)
    last = _last_times(connection, list(run_rows.values()), written)
    rows = []
    for run_id, pk in run_rows.items():
        fallback = {"project": project} | _fallback(run_id, root, writers, facts.get(pk, []), last.get(pk, 0))
        rows.append((pk, fold(facts.get(pk, []), fallback) | {"last_wall": fallback["last_wall"]}))
    _write_rows(
        connection, rows, root_pk=run_rows.get(root), shown=any(row["role"] != "edit" for row in writers)
    )


def load_folded(connection: Connection, run_pks: list[int]) -> dict[int, list[Fact]]:
    """The events that a run's row is made of, by run."""
    found: dict[int, list[Fact]] = {}
    columns = (
        events.c.run,
        events.c.wall,
        events.c.seq,
        events.c.kind,
        events.c.body,
        journals.c.stem,
        journals.c.rank,
    )
    for some in in_groups(run_pks):
        query = (
            select(*columns)
            .join(journals, journals.c.pk == events.c.journal)
            .where(events.c.run.in_(some), events.c.kind.in_(FOLDED))
        )
        for row in connection.execute(query):
            fact = Fact(row.wall, row.stem, row.seq, row.rank, row.kind, unpack_body(row.body))
            found.setdefault(row.run, []).append(fact)
    return found


def _journal_ends(connection: Connection, folder: int) -> list[dict[str, Any]]:
    """The journals of a folder, each with its last sign of life."""
    query = (
        select(journals, segments.c.last_wall)
        .join(segments, segments.c.journal == journals.c.pk)
        .where(journals.c.folder == folder)
    )
    found: dict[int, dict[str, Any]] = {}
    for row in connection.execute(query).mappings():
        known = found.setdefault(row["pk"], dict(row) | {"last_wall": 0})
        known["last_wall"] = max(known["last_wall"], row["last_wall"] or 0)
    return list(found.values())


def _fallback(
    run_id: str, root: str, writers: list[dict[str, Any]], facts: list[Fact], last: int
) -> dict[str, Any]:
    """What is known of a run without its events: when it was first and last seen."""
    last = max([last, *(fact.wall for fact in facts)], default=0)
    if run_id != root:
        created = min((fact.wall for fact in facts), default=last)
        return {"id": run_id, "parent": root, "created": created, "last_wall": last}
    own = [row for row in writers if row["role"] != "edit"] or writers
    ends = {row["stem"]: row["last_wall"] for row in own}
    created = min((row["wall"] for row in own), default=0)
    return {"id": run_id, "created": created, "last_wall": max([last, *ends.values()]), "stem_ends": ends}


def _last_times(
    connection: Connection, run_pks: list[int], written: Mapping[Line, list[dict[str, Any]]]
) -> dict[int, int]:
    """When each run was last heard of, as far as its points tell."""
    last: dict[int, int] = {}
    for some in in_groups(run_pks):
        query = select(runs.c.pk, runs.c.last_wall).where(runs.c.pk.in_(some))
        last.update({row.pk: row.last_wall for row in connection.execute(query)})
    for line, rows in written.items():
        last[line.run] = max(last.get(line.run, 0), max(row["last_time"] for row in rows) * 1000)
    return last


def _summaries(
    connection: Connection,
    written: Mapping[Line, list[dict[str, Any]]],
    old_runs: set[int],
    attempts: Mapping[int, list[Attempt]],
    stems: Mapping[int, str],
) -> None:
    """Replace the rows in `metrics` of every key that got points."""
    touched: dict[int, set[int]] = {}
    fresh: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for line, rows in written.items():
        touched.setdefault(line.run, set()).add(line.key)
        if line.run not in old_runs:
            stem = stems[line.journal]
            fresh.setdefault((line.run, line.key), []).extend(row | {"stem": stem} for row in rows)
    new: list[dict[str, Any]] = []
    for run, run_keys in touched.items():
        ordered = sorted(run_keys)
        if len(attempts.get(run, ())) > 1:
            series = load_points(connection, run, ordered)
            found = {key: [_shown_facts(lines, attempts[run])] for key, lines in series.items()}
        elif run in old_runs:
            found = load_facts(connection, run, ordered)
        else:
            found = {key: sorted(fresh[run, key], key=_chunk_order) for key in ordered}
        new.extend({"run": run, "key": key, **summarise(rows)} for key, rows in found.items())
        if run in old_runs:
            for some in in_groups(ordered):
                connection.execute(delete(metrics).where(metrics.c.run == run, metrics.c.key.in_(some)))
    if new:
        connection.execute(metrics.insert(), new)


def _chunk_order(row: Mapping[str, Any]) -> tuple[str, bool, int]:
    return row["stem"], row["sampled"], row["part"]


def _shown_facts(lines: Any, attempts: list[Attempt]) -> dict[str, Any]:
    """The facts of a whole series of several attempts, as `history()` shows it."""
    points = merged(lines, attempts)
    facts = chunk_facts(points) | {"stem": ""}
    ends = {"first": points.values[0], "last": points.values[-1]}
    facts |= {name: None if value != value else float(value) for name, value in ends.items()}
    if points.steps is not None:
        facts |= {"first_step": int(points.steps[0]), "last_step": int(points.steps[-1])}
    return facts


def _write_rows(
    connection: Connection, rows: list[tuple[int, dict[str, Any]]], root_pk: int | None, shown: bool
) -> None:
    """Update the runs and what hangs on them."""
    updates, config_rows, tag_rows = [], [], []
    for pk, row in rows:
        config_rows += [
            {"run": pk, "key": key, **typed(value)} for key, value in flatten(row["config"]).items()
        ]
        tag_rows += [{"run": pk, "tag": tag} for tag in row["tags"]]
        finish = row["finish"]
        updates.append(
            row
            | {
                "pk_": pk,
                "tags": orjson.dumps(row["tags"]).decode(),
                "config": pack_body(spell(row["config"])),
                "finish": None if finish is None else pack_body(spell(finish)),
                "shown": shown or pk != root_pk,
            }
        )
    for some in in_groups([pk for pk, _ in rows]):
        for table in (config_values, tags):
            connection.execute(delete(table).where(table.c.run.in_(some)))
    names = [name for name in updates[0] if name != "pk_"]
    statement = (
        runs.update().where(runs.c.pk == bindparam("pk_")).values({name: bindparam(name) for name in names})
    )
    connection.execute(statement, updates)
    for table, new in ((config_values, config_rows), (tags, tag_rows)):
        if new:
            connection.execute(table.insert(), new)
