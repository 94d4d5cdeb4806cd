"""After an ingest: the summaries and rows of the runs that it touched, made anew from everything that the
index holds of them.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, delete, select

from autotrack.index.bulk import in_groups, insert_rows, names_of, update_rows
from autotrack.index.chunks import Written
from autotrack.index.fold import FOLDED, Fact, attempts_of, flatten, fold, pack_body, typed, unpack_body
from autotrack.index.known import FolderState, Place
from autotrack.index.schema import config_values, events, journals, runs, tags
from autotrack.index.summary import write_summaries

_NEW = names_of(runs)
_FOLDED = names_of(runs, "pk", "folder", "id", "root", "status")


class Touched(NamedTuple):
    """A folder of which new lines were read: its state as it is now, and the rows of the runs that they speak of, by id."""

    place: Place
    state: FolderState
    run_rows: dict[str, int]
    old_runs: set[int]


def refold(
    connection: Connection, touched: list[Touched], facts: dict[int, list[Fact]], written: Written
) -> None:
    """Bring the rows of the runs up to date; `facts` are the events of those that are new."""
    old = [pk for one in touched for pk in one.old_runs]
    facts = facts | load_folded(connection, old)
    attempts = {pk: attempts_of(facts.get(pk, ())) for one in touched for pk in one.run_rows.values()}
    stems = {journal.pk: journal.stem for one in touched for journal in one.state.journals.values()}
    write_summaries(connection, written, attempts, stems)
    last = _last_times(connection, old, written)
    rows = []
    for one in touched:
        shown = any(journal.role != "edit" for journal in one.state.journals.values())
        ends = one.state.last_walls()
        for run_id, pk in one.run_rows.items():
            own = facts.get(pk, [])
            fallback = _fallback(one, ends, run_id, own, last.get(pk, 0))
            root = run_id == one.place.run
            row = fold(own, attempts[pk], fallback) | {"last_wall": fallback["last_wall"]}
            row |= {"pk": pk, "folder": one.state.pk, "id": run_id, "root": root, "status": "running"}
            rows.append(row | {"shown": shown or not root})
    _write_rows(connection, rows, set(old))


def load_folded(connection: Connection, run_pks: Iterable[int]) -> dict[int, list[Fact]]:
    """The events that a run's row is made of, by run."""
    found: dict[int, list[Fact]] = {}
    fields = (
        events.c.run,
        events.c.wall,
        journals.c.stem,
        events.c.seq,
        journals.c.rank,
        events.c.kind,
        events.c.body,
    )
    for some in in_groups(run_pks):
        query = (
            select(*fields)
            .join(journals, journals.c.pk == events.c.journal)
            .where(events.c.run.in_(some), events.c.kind.in_(FOLDED))
        )
        for run, wall, stem, seq, rank, kind, body in connection.execute(query):
            found.setdefault(run, []).append(Fact(wall, stem, seq, rank, kind, unpack_body(body)))
    return found


def _fallback(
    one: Touched, ends: dict[str, int], run_id: str, facts: list[Fact], last: int
) -> dict[str, Any]:
    """What is known of a run without its events: when it was first and last seen."""
    last = max([last, *(fact.wall for fact in facts)], default=0)
    known = {"id": run_id, "project": one.place.project}
    if run_id != one.place.run:
        created = min((fact.wall for fact in facts), default=last)
        return known | {"parent": one.place.run, "created": created, "last_wall": last}
    every = one.state.journals.values()
    own = [journal for journal in every if journal.role != "edit"] or list(every)
    stem_ends = {journal.stem: ends[journal.stem] for journal in own}
    created = min((journal.wall or 0 for journal in own), default=0)
    last = max([last, *stem_ends.values()])
    return known | {"created": created, "last_wall": last, "stem_ends": stem_ends}


def _last_times(connection: Connection, old: list[int], written: Written) -> dict[int, int]:
    """When each run was last heard of, as far as its points tell."""
    last: dict[int, int] = {}
    for some in in_groups(old):
        last.update(
            (pk, wall)
            for pk, wall in connection.execute(select(runs.c.pk, runs.c.last_wall).where(runs.c.pk.in_(some)))
        )
    for (run, _), facts in written.facts.items():
        last[run] = max(last.get(run, 0), max(one.last_time for one in facts) * 1000)
    return last


def _write_rows(connection: Connection, rows: list[dict[str, Any]], old: set[int]) -> None:
    """Write the runs and what hangs on them."""
    config_rows: list[Any] = []
    tag_rows: list[Any] = []
    for row in rows:
        pk, finish = row["pk"], row["finish"]
        config_rows += [(pk, key, *typed(value)) for key, value in flatten(row["config"]).items()]
        tag_rows += [(pk, tag) for tag in row["tags"]]
        row["tags"] = orjson.dumps(row["tags"]).decode()
        row["config"] = pack_body(row["config"])
        row["finish"] = None if finish is None else pack_body(finish)
    new = [tuple(row[name] for name in _NEW) for row in rows if row["pk"] not in old]
    changed = [(*(row[name] for name in _FOLDED), row["pk"]) for row in rows if row["pk"] in old]
    for some in in_groups(old):
        for table in (config_values, tags):
            connection.execute(delete(table).where(table.c.run.in_(some)))
    insert_rows(connection, runs, _NEW, new)
    update_rows(connection, runs, _FOLDED, changed)
    insert_rows(connection, config_values, names_of(config_values), config_rows)
    insert_rows(connection, tags, names_of(tags), tag_rows)
