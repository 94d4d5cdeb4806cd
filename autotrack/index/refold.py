"""After an ingest: the summaries and rows of the runs that it touched, made anew from everything that the
index holds of them.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, delete, select

from autotrack.index.bulk import in_groups, insert_rows, names_of, update_rows
from autotrack.index.checks import verified, with_check
from autotrack.index.chunks import Written
from autotrack.index.fold import FOLDED, Fact, attempts_of, flatten, fold, pack_body, typed, unpack_body
from autotrack.index.known import FolderState, Place
from autotrack.index.schema import Broken, config_values, events, journals, runs, tags
from autotrack.index.summary import write_summaries

_CHECKED = names_of(runs, "check", "status")
_FOLDED = names_of(runs, "pk", "folder", "id", "root", "status")
_FACTS = _CHECKED.index(_FOLDED[0])
_EVENT = [events.c[name] for name in names_of(events, "pk")]
FACTS = select(journals.c.stem, journals.c.rank, *_EVENT).join(journals, journals.c.pk == events.c.journal)
"""Every query for events starts with this; `fact_of` takes a row of it."""
FACTS_OF_RUNS = (
    select(runs.c.id, *FACTS.selected_columns)
    .join(runs, runs.c.pk == events.c.run)
    .join(journals, journals.c.pk == events.c.journal)
)
"""The same with the run's id before it."""


Kinds = dict[int, dict[str, int]]
"""By run: how many events of each kind it has."""


class Touched(NamedTuple):
    """A folder of which new lines were read: its state as it is now, and the rows of the runs that they speak of, by id."""

    place: Place
    state: FolderState
    run_rows: dict[str, int]
    old_runs: set[int]


def refold(
    connection: Connection,
    touched: list[Touched],
    facts: dict[int, list[Fact]],
    new_kinds: Kinds,
    written: Written,
) -> None:
    """Bring the rows of the runs up to date; `facts` are the events of those that are new, `new_kinds` count what was added."""
    old = [pk for one in touched for pk in one.old_runs]
    kinds = load_kinds(connection, old)
    for pk, counts in new_kinds.items():
        before = kinds.get(pk, {})
        kinds[pk] = before | {kind: before.get(kind, 0) + number for kind, number in counts.items()}
    facts = facts | _load_folded(connection, old, kinds)
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
            row |= {"kinds": orjson.dumps(kinds.get(pk, {})).decode()}
            row |= {"pk": pk, "folder": one.state.pk, "id": run_id, "root": root, "status": "running"}
            rows.append(row | {"shown": shown or not root})
    _write_rows(connection, rows, set(old))


def load_kinds(connection: Connection, run_pks: Iterable[int]) -> Kinds:
    """How many events of each kind some runs have."""
    found: Kinds = {}
    for some in in_groups(run_pks):
        query = select(runs.c.pk, runs.c.kinds).where(runs.c.pk.in_(some))
        found.update((pk, kinds_of(text)) for pk, text in connection.execute(query))
    return found


def kinds_of(text: str) -> dict[str, int]:
    """The column `kinds`; Broken if it is damaged."""
    try:
        return dict(orjson.loads(text))
    except (ValueError, TypeError) as error:
        raise Broken("a row of the index is damaged") from error


def check_kinds(found: Iterable[Fact], wanted: Collection[str], kinds: Mapping[str, int]) -> None:
    """Broken if the index has lost an event of the wanted kinds."""
    there = Counter(fact.kind for fact in found)
    if any(there[kind] != kinds.get(kind, 0) for kind in wanted):
        raise Broken("the index lacks events")


def load_folded(connection: Connection, run_pks: Collection[int]) -> dict[int, list[Fact]]:
    """The events that a run's row is made of, by run."""
    return _load_folded(connection, run_pks, load_kinds(connection, run_pks))


def _load_folded(connection: Connection, run_pks: Collection[int], kinds: Kinds) -> dict[int, list[Fact]]:
    found: dict[int, list[Fact]] = {}
    for some in in_groups(run_pks):
        query = FACTS.where(events.c.run.in_(some), events.c.kind.in_(FOLDED))
        for row in connection.execute(query):
            found.setdefault(row.run, []).append(fact_of(row))
    for run in run_pks:
        check_kinds(found.get(run, ()), FOLDED, kinds.get(run, {}))
    return found


def fact_of(row: Sequence[Any]) -> Fact:
    """The event of a row of `FACTS`; Broken if it has changed."""
    stem, rank, *event = row
    _, _, seq, wall, kind, body = verified(event)
    return Fact(wall, stem, seq, rank, kind, unpack_body(body))


def _checked(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return with_check([row[name] for name in _CHECKED])


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
    new = [(*_checked(row), row["status"]) for row in rows if row["pk"] not in old]
    changed = [(*_checked(row)[_FACTS:], row["pk"]) for row in rows if row["pk"] in old]
    for some in in_groups(old):
        for table in (config_values, tags):
            connection.execute(delete(table).where(table.c.run.in_(some)))
    insert_rows(connection, runs, names_of(runs), new)
    update_rows(connection, runs, _FOLDED, changed)
    insert_rows(connection, config_values, names_of(config_values), config_rows)
    insert_rows(connection, tags, names_of(tags), tag_rows)
