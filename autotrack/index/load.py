"""Loads what records show from the index, for many runs at once where that is what is asked for."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from autotrack.errors import RunNotFound
from autotrack.index.chunks import in_groups, load_points, merged
from autotrack.index.database import Database
from autotrack.index.fold import Fact, attempts_of, in_order, unpack_body
from autotrack.index.refold import load_folded
from autotrack.index.schema import events, folders, journals, keys, metrics, runs, segments
from autotrack.index.series import Points
from autotrack.layout import Layout

SYSTEM = "system/"


class Name(NamedTuple):
    """What a run is called for good, whatever the rows of the index are: its id, and the folder that it lies in."""

    id: str
    project: str
    folder: str


RUNS = select(runs, folders.c.project.label("folder_project"), folders.c.run.label("folder_run")).join(
    folders, folders.c.pk == runs.c.folder
)
"""Every query for whole runs starts with this, so that a row tells where its folder is."""


def name_of(row: Any) -> Name:
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
        self._names = [name_of(row) for row in rows]
        self._metrics: dict[Name, dict[str, Any]] = {}

    def metrics(self, name: Name) -> dict[str, Any]:
        """The rows of `metrics` of a run, by key."""
        if name not in self._metrics:
            self._metrics = self.database.ask(lambda connection: _metrics(connection, {name, *self._names}))
        return self._metrics.get(name, {})

    def events(self, name: Name, *kinds: str) -> list[Fact]:
        """A run's events of some kinds, in order."""

        def question(connection: Connection) -> list[Fact]:
            query = (
                select(events, journals.c.stem, journals.c.rank)
                .join(journals, journals.c.pk == events.c.journal)
                .where(events.c.run == _row(connection, name), events.c.kind.in_(kinds))
            )
            rows = connection.execute(query).mappings()
            return [_fact(row) for row in rows]

        return in_order(self.database.ask(question))

    def folder(self, name: Name) -> Folder:
        """The folder that a run's journals lie in."""

        def question(connection: Connection) -> Folder:
            query = (
                select(folders)
                .join(runs, runs.c.folder == folders.c.pk)
                .where(runs.c.pk == _row(connection, name))
            )
            folder = connection.execute(query).mappings().one()
            query = (
                select(segments.c.damaged, segments.c.problem)
                .join(journals, journals.c.pk == segments.c.journal)
                .where(journals.c.folder == folder["pk"])
            )
            rows = connection.execute(query).all()
            path = self.layout.run_dir(folder["project"], folder["run"])
            root = Name(folder["run"], folder["project"], folder["run"])
            return Folder(
                path, sum(row.damaged for row in rows), [row.problem for row in rows if row.problem], root
            )

        return self.database.ask(question)

    def children(self, name: Name) -> list[Any]:
        """The rows of the runs whose parent a run is, oldest first."""
        query = RUNS.where(runs.c.parent == name.id, runs.c.id != name.id, runs.c.shown).order_by(
            runs.c.created, runs.c.id
        )
        return self.database.ask(lambda connection: list(connection.execute(query).mappings()))

    def points(self, name: Name, wanted: list[str], every: bool) -> dict[str, Points]:
        """The series of some keys of a run; `every`: of all attempts."""

        def question(connection: Connection) -> dict[str, Points]:
            pk = _row(connection, name)
            names: dict[int, str] = {}
            for some in in_groups(wanted):
                query = select(keys.c.pk, keys.c.key).where(keys.c.key.in_(some))
                names.update({row.pk: row.key for row in connection.execute(query)})
            attempts = attempts_of(load_folded(connection, [pk]).get(pk, []))
            found = load_points(connection, pk, list(names))
            return {names[key]: merged(lines, attempts, every) for key, lines in found.items()}

        return self.database.ask(question)


def _metrics(connection: Connection, names: set[Name]) -> dict[Name, dict[str, Any]]:
    found: dict[Name, dict[str, Any]] = {name: {} for name in names}
    for some in in_groups(names):
        query = (
            select(
                metrics,
                keys.c.key.label("name"),
                runs.c.id,
                folders.c.project,
                folders.c.run.label("folder_run"),
            )
            .join(keys, keys.c.pk == metrics.c.key)
            .join(runs, runs.c.pk == metrics.c.run)
            .join(folders, folders.c.pk == runs.c.folder)
            .where(runs.c.id.in_([name.id for name in some]))
            .order_by(metrics.c.run, keys.c.key)
        )
        for row in connection.execute(query).mappings():
            name = Name(row["id"], row["project"], row["folder_run"])
            if name in found:
                found[name][row["name"]] = row
    return found


def _row(connection: Connection, name: Name) -> int:
    """The row number of a run in the index as it is now."""
    query = select(runs.c.pk).join(folders, folders.c.pk == runs.c.folder)
    query = query.where(runs.c.id == name.id, folders.c.project == name.project, folders.c.run == name.folder)
    pk = connection.scalar(query)
    if pk is None:
        raise RunNotFound(
            f"The run {name.id!r} is not in the store any more: its folder was removed, or the index was emptied."
        )
    return int(pk)


def _fact(row: Any) -> Fact:
    return Fact(row["wall"], row["stem"], row["seq"], row["rank"], row["kind"], unpack_body(row["body"]))
