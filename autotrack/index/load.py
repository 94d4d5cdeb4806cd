"""Loads what records show from the index, for many runs at once where that is what is asked for."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select

from autotrack.errors import RunNotFound
from autotrack.index.bulk import in_groups, ranges_of
from autotrack.index.checks import checked, verified, verified_run
from autotrack.index.database import Database
from autotrack.index.fold import Fact, attempts_of, in_order
from autotrack.index.glance import glances
from autotrack.index.points import load_points, merged
from autotrack.index.refold import FACTS, FACTS_OF_RUNS, check_kinds, fact_of, kinds_of, load_folded
from autotrack.index.schema import Broken, events, folders, journals, keys, lasts, metrics, runs, segments
from autotrack.index.series import Points, thinned
from autotrack.index.status import STATUSES
from autotrack.index.summary import load_lasts, values_of_lasts
from autotrack.index.writers import Writers
from autotrack.layout import Layout


class Name(NamedTuple):
    """What a run is called for good, whatever the rows of the index are: its id, and the folder that it lies in."""

    id: str
    project: str
    folder: str


RUNS = select(runs, folders.c.project.label("folder_project"), folders.c.run.label("folder_run")).outerjoin(
    folders, folders.c.pk == runs.c.folder
)
"""Every query for whole runs starts with this, so that a row tells where its folder is; `run_rows` takes its rows."""

_AT_ONCE = 1_000_000
"""Points of several series that are in memory at a time before they are thinned out; a single one may be longer."""
_KEYS = (
    select(keys, metrics.c.count)
    .join(metrics, metrics.c.key == keys.c.pk)
    .where(metrics.c.run == bindparam("run"))
)
_ROW = (
    select(runs)
    .join(folders, folders.c.pk == runs.c.folder)
    .where(
        runs.c.id == bindparam("id"),
        folders.c.project == bindparam("project"),
        folders.c.run == bindparam("folder"),
    )
)
_LASTS = (
    select(runs.c.id, folders.c.project, folders.c.run.label("folder"), lasts)
    .join(runs, runs.c.pk == lasts.c.run)
    .join(folders, folders.c.pk == runs.c.folder)
)


def run_rows(connection: Connection, query: Select[Any]) -> list[Any]:
    """The rows that a query for whole runs finds, as mappings; Broken if one has changed."""
    rows = connection.execute(query).all()
    for row in map(verified_run, rows):
        if row.status not in STATUSES or row.folder_run is None:
            raise Broken("a row of the index is damaged")
    return [row._mapping for row in rows]


def _name_of(row: Any) -> Name:
    """The name of a row of `RUNS`."""
    return Name(row["id"], row["folder_project"], row["folder_run"])


class Folder(NamedTuple):
    """A run's folder: how many of its lines are damaged, what is wrong with its files, and the run it was
    made for.
    """

    path: Path
    damaged: int
    problems: list[str]
    root: Name


class Loader:
    """Answers the questions of the records of one list; metrics are loaded for the whole list at the first
    question.

    Records are named by id and folder: their rows are looked up each time, because the index may be built
    anew meanwhile.
    """

    def __init__(self, database: Database, layout: Layout, rows: Iterable[Any]) -> None:
        self.database = database
        self.layout = layout
        self.rows = {_name_of(row): row for row in rows}
        self._names = {name: int(row["pk"]) for name, row in self.rows.items()}
        self._metrics: dict[Name, dict[str, Any]] = {}
        self._lasts: dict[Name, dict[str, float | None]] = {}
        self._children: dict[str, int] | None = None
        self._writers: Writers | None = None

    def _all(self, name: Name) -> dict[Name, int | None]:
        """The runs of the list, and this one, with the rows that they had."""
        return {name: None, **self._names}

    def metrics(self, name: Name) -> dict[str, Any]:
        """The rows of `metrics` of a run, by key."""
        if name not in self._metrics:
            self._metrics = self.database.ask(lambda connection: _metrics(connection, self._all(name)))
        return self._metrics.get(name, {})

    def lasts(self, name: Name) -> dict[str, float | None]:
        """The last values of a run by key, without those of the system; None stands for NaN."""
        if name not in self._lasts:
            self._lasts = self.database.ask(lambda connection: _lasts(connection, self._all(name)))
        return self._lasts.get(name, {})

    def events(self, name: Name, *kinds: str) -> list[Fact]:
        """A run's events of some kinds, in order."""

        def question(connection: Connection) -> list[Fact]:
            row = _row(connection, name)
            query = FACTS.where(events.c.run == row.pk, events.c.kind.in_(kinds))
            found = [fact_of(row) for row in connection.execute(query)]
            check_kinds(found, kinds, kinds_of(row.kinds))
            return found

        return in_order(self.database.ask(question))

    def bodies(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """The events of a kind of all runs, each with the id of its run, in no order."""

        def question(connection: Connection) -> list[tuple[str, dict[str, Any]]]:
            query = FACTS_OF_RUNS.where(events.c.kind == kind)
            return [(run, fact_of(row).body) for run, *row in connection.execute(query)]

        return self.database.ask(question)

    def saves(self) -> dict[str, list[Fact]]:
        """The events of checkpoints of every run that has any, in order, by the run's id."""

        def question(connection: Connection) -> dict[str, list[Fact]]:
            found: dict[str, list[Fact]] = {}
            for run, *row in connection.execute(FACTS_OF_RUNS.where(events.c.kind == "checkpoint")):
                found.setdefault(run, []).append(fact_of(row))
            return found

        return {run: in_order(facts) for run, facts in self.database.ask(question).items()}

    def writers(self) -> Writers:
        """Who has saved which checkpoint, of the whole store; looked up at the first question."""
        if self._writers is None:
            self._writers = self.database.ask(Writers)
        return self._writers

    def folder(self, name: Name) -> Folder:
        """The folder that a run's journals lie in."""

        def question(connection: Connection) -> Folder:
            query = (
                select(folders)
                .join(runs, runs.c.folder == folders.c.pk)
                .where(runs.c.pk == _row(connection, name).pk)
            )
            folder = connection.execute(query).one()
            verified(folder)
            query = select(segments).join(journals, journals.c.pk == segments.c.journal)
            rows = connection.execute(query.where(journals.c.folder == folder.pk)).all()
            for row in rows:
                verified(row)
            path = self.layout.run_dir(folder.project, folder.run)
            root = Name(folder.run, folder.project, folder.run)
            return Folder(
                path, sum(row.damaged for row in rows), [row.problem for row in rows if row.problem], root
            )

        return self.database.ask(question)

    def children(self, name: Name) -> list[Any]:
        """The rows of the runs whose parent a run is, oldest first."""
        query = RUNS.where(runs.c.parent == name.id, runs.c.id != name.id, runs.c.shown).order_by(
            runs.c.created, runs.c.id
        )
        return self.database.ask(lambda connection: run_rows(connection, query))

    def child_count(self, name: Name) -> int:
        """How many runs have a run as their parent; counted for the whole list at the first question."""
        if self._children is None:
            self._children = self.database.ask(
                lambda connection: _child_counts(connection, {name.id, *(one.id for one in self._names)})
            )
        return self._children.get(name.id, 0)

    def points(
        self,
        name: Name,
        choose: Callable[[Collection[str]], list[str]],
        every: bool,
        limit: int | None = None,
    ) -> dict[str, Points]:
        """The series of a run whose keys are chosen of those that it has, in that order; `every`: of all attempts; long
        ones may be thinned out to `limit` points.
        """

        def question(connection: Connection) -> dict[str, Points]:
            row = _row(connection, name)
            pk, attempted = row.pk, row.attempts
            known = _known_keys(connection, pk)
            wanted = {text: known[text] for text in choose({text: known[text] for text in sorted(known)})}
            attempts = attempts_of(load_folded(connection, [pk]).get(pk, [])) if attempted > 1 else []
            found: dict[str, Points] = {}
            if limit is not None and len(attempts) < 2:
                long = {text: known for text, known in wanted.items() if known[1] > limit}
                texts = {key: text for text, (key, _) in long.items()}
                for key, seen in glances(connection, pk, dict(long.values()), limit):
                    found[texts[key]] = seen
            rest = {text: known for text, known in wanted.items() if text not in found}
            for some in [list(rest)] if limit is None else _portions(rest):
                whole = load_points(connection, pk, [rest[text][0] for text in some])
                for text in some:
                    key, count = rest[text]
                    points = merged(whole.pop(key), attempts, every) if key in whole else None
                    if points is None or (len(points) != count and not every):
                        raise Broken("the index lacks points")
                    found[text] = points if limit is None else thinned(points, limit)
            return {text: found[text] for text in wanted}

        return self.database.ask(question)


def _metrics(connection: Connection, names: dict[Name, int | None]) -> dict[Name, dict[str, Any]]:
    rows = _rows(connection, names)
    found: dict[int, dict[str, Any]] = {row: {} for row in rows}
    texts = _Texts(connection)
    for some in ranges_of(metrics.c.run, rows):
        found_rows = connection.execute(select(metrics).where(some)).all()
        for row in texts.sorted(found_rows, lambda row: int(row.key)):
            if row.run in found:
                verified(row)
                found[row.run][texts[row.key]] = row._mapping
    known = load_lasts(connection, rows)
    for run, values in found.items():
        _check_keys(values, run, known)
    return {name: {} for name in names} | {rows[row]: values for row, values in found.items()}


def _lasts(connection: Connection, names: dict[Name, int | None]) -> dict[Name, dict[str, float | None]]:
    found: dict[Name, dict[str, float | None]] = {}
    for some in ranges_of(lasts.c.run, (pk for pk in names.values() if pk is not None)):
        for run, project, folder, *row in connection.execute(_LASTS.where(some)):
            if (name := Name(run, project, folder)) in names:
                found[name] = values_of_lasts(row)
    rows = _rows(connection, {name: None for name in names if name not in found})
    known = load_lasts(connection, rows)
    return found | {name: known.get(row, ({}, 0))[0] for row, name in rows.items()}


def _portions(keys: Mapping[str, tuple[int, int]]) -> Iterator[list[str]]:
    """Keys, by their counts of points in groups that fit into memory whatever there is in all."""
    some: list[str] = []
    total = 0
    for text, (_, count) in keys.items():
        if some and total + count > _AT_ONCE:
            yield some
            some, total = [], 0
        some.append(text)
        total += count
    if some:
        yield some


def _known_keys(connection: Connection, run: int) -> dict[str, tuple[int, int]]:
    """The metric keys of a run: the row of each, and how many points `history()` shows of it."""
    found = {}
    for *row, count in connection.execute(_KEYS, {"run": run}):
        pk, key = verified(row)
        found[key] = pk, count
    _check_keys(found, run, load_lasts(connection, [run]))
    return found


def _check_keys(found: Collection[str], run: int, known: Mapping[int, tuple[Any, int]]) -> None:
    """Broken if a run has other metrics than when it was written."""
    values, count = known.get(run, ({}, 0))
    if len(found) != count or not values.keys() <= set(found):
        raise Broken("the index lacks metrics")


class _Texts(dict[int, str]):
    """The texts of metric keys by row, loaded as they are needed."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def sorted(self, rows: Sequence[Any], key_of: Callable[[Any], int]) -> list[Any]:
        """Rows in the order of their keys' texts."""
        for some in in_groups({key_of(row) for row in rows} - self.keys()):
            query = select(keys).where(keys.c.pk.in_(some))
            self.update((pk, text) for pk, text in checked(self._connection.execute(query)))
        return sorted(rows, key=lambda row: self[key_of(row)])


def _rows(connection: Connection, names: dict[Name, int | None]) -> dict[int, Name]:
    """The row numbers of runs in the index as it is now: mostly those that they had."""
    query = select(runs.c.pk, runs.c.id, folders.c.project, folders.c.run)
    query = query.join(folders, folders.c.pk == runs.c.folder)
    found: dict[int, Name] = {}

    def look(condition: ColumnElement[bool]) -> None:
        for pk, *name in connection.execute(query.where(condition)):
            if (known := Name(*name)) in names:
                found[pk] = known

    for some in ranges_of(runs.c.pk, (pk for pk in names.values() if pk is not None)):
        look(some)
    missing = names.keys() - found.values()
    for ids in in_groups({name.id for name in missing}):
        look(runs.c.id.in_(ids))
    return found


def _child_counts(connection: Connection, ids: set[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for some in in_groups(ids):
        query = select(runs.c.parent, func.count()).where(
            runs.c.parent.in_(some), runs.c.id != runs.c.parent, runs.c.shown
        )
        found.update((parent, number) for parent, number in connection.execute(query.group_by(runs.c.parent)))
    return found


def check_lost(connection: Connection, id: str, folder: tuple[str, str] | None = None) -> None:
    """Where a run is not found: Broken if it (and its folder, by project and name) is there, and only the way to it is damaged."""
    every_run = select(runs.c.id).where(runs.c.shown).with_hint(runs, "NOT INDEXED", "sqlite")
    if id not in connection.scalars(every_run).all():
        return
    every_folder = select(folders.c.project, folders.c.run).with_hint(folders, "NOT INDEXED", "sqlite")
    if folder is None or folder in map(tuple, connection.execute(every_folder)):
        raise Broken("the index lacks runs")


def _row(connection: Connection, name: Name) -> Any:
    """The row of a run in the index as it is now; Broken if it has changed, or is not the one that was looked for."""
    found = connection.execute(_ROW, name._asdict()).first()
    if found is None:
        check_lost(connection, name.id, (name.project, name.folder))
        raise RunNotFound(
            f"The run {name.id!r} is not in the store any more: its folder was removed, or the index was emptied."
        )
    return verified_run(found)
