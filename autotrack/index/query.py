"""Lists of runs, and one run by its id."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from sqlalchemy import Connection, Select, func, or_, select

from autotrack.errors import AmbiguousRun, RunNotFound
from autotrack.index import filters, frames
from autotrack.index.database import Database
from autotrack.index.fold import flatten
from autotrack.index.load import RUNS, Loader, check_lost, run_rows
from autotrack.index.record import RunRecord, records_of
from autotrack.index.schema import runs
from autotrack.layout import Layout

if TYPE_CHECKING:
    import pandas
    import polars


class RunList(Sequence[RunRecord]):
    """Runs, in the order that was asked for."""

    def __init__(self, records: Iterable[RunRecord]) -> None:
        self._records = list(records)

    @overload
    def __getitem__(self, place: int) -> RunRecord: ...
    @overload
    def __getitem__(self, place: slice) -> "RunList": ...
    def __getitem__(self, place: int | slice) -> "RunRecord | RunList":
        return RunList(self._records[place]) if isinstance(place, slice) else self._records[place]

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        inside = ", ".join(f"{record.id} {record.name!r} {record.status}" for record in self._records[:5])
        return f"RunList({len(self)} runs: {inside}{', …' if len(self) > 5 else ''})"

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a run: its facts, `config.<key>` and the last value of each metric. Needs pandas."""
        return frames.pandas_frame(self._columns())

    def to_polars(self) -> "polars.DataFrame":
        """One row a run: its facts, `config.<key>` and the last value of each metric. Needs polars."""
        return frames.polars_frame(self._columns())

    def _columns(self) -> frames.Columns:
        records = self._records
        columns: dict[str, Any] = {
            name: [getattr(record, name) for record in records]
            for name in (
                "id",
                "name",
                "project",
                "status",
                "group",
                "parent",
                "framework",
                "tags",
                "notes",
                "archived",
            )
        }
        for name in ("created", "finished"):
            moments = [getattr(record, name) for record in records]
            seconds = [np.nan if moment is None else moment.timestamp() for moment in moments]
            columns[name] = frames.moments(np.array(seconds, np.float64))
        columns["duration"] = [record.duration for record in records]
        configs = [flatten(record.config) for record in records]
        for key in dict.fromkeys(key for config in configs for key in config):
            columns[f"config.{key}"] = [config.get(key) for config in configs]
        summaries = [record.summary for record in records]
        for key in dict.fromkeys(key for summary in summaries for key in summary):
            name = key if key not in columns else f"metrics.{key}"
            columns[name] = [summary.get(key) for summary in summaries]
        return columns


def find(
    database: Database,
    layout: Layout,
    project: str | None,
    where: str | None,
    order_by: str | Sequence[str] | None,
    limit: int | None,
    archived: bool,
    children: bool,
    group: str | None = None,
) -> RunList:
    """The runs that fit; the newest first unless `order_by` says otherwise. FilterError for a filter that
    does not parse.
    """
    query = _ordered(_chosen(RUNS, project, where, archived, children, group), order_by)
    if limit is not None:
        if limit < 0:
            raise ValueError(f"limit is {limit}, and must not be negative.")
        query = query.limit(limit)

    def question(connection: Connection) -> list[Any]:
        _check_hidden(connection, archived)
        return run_rows(connection, query)

    rows = database.ask(question)
    return _records(database, layout, rows)


def count(
    database: Database,
    project: str | None,
    where: str | None,
    archived: bool,
    children: bool,
    group: str | None = None,
) -> int:
    """How many runs fit."""
    query = _chosen(select(func.count()).select_from(runs), project, where, archived, children, group)
    return int(database.ask(lambda connection: connection.scalar(query)) or 0)


def _chosen(
    query: Select[Any],
    project: str | None,
    where: str | None,
    archived: bool,
    children: bool,
    group: str | None,
) -> Select[Any]:
    query = filters.apply(query.where(runs.c.shown), where)
    if project is not None:
        query = query.where(runs.c.project == project)
    if group is not None:
        query = query.where(runs.c.group == group)
    if not archived:
        query = query.where(~runs.c.archived)
    if not children:
        query = query.where(runs.c.parent.is_(None))
    return query


def _check_hidden(connection: Connection, archived: bool) -> None:
    """Broken if a run is left out of all lists because its row has changed."""
    hidden = runs.c.shown.is_not(True)
    run_rows(connection, RUNS.where(hidden if archived else hidden | runs.c.archived.is_not(False)))


def _records(database: Database, layout: Layout, rows: Sequence[Any]) -> RunList:
    return RunList(records_of(Loader(database, layout, rows)))


def _ordered(query: Select[Any], order_by: str | Sequence[str] | None) -> Select[Any]:
    given: Any = "-created" if order_by is None else order_by
    names: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    for name in names:
        field, down = filters.order(name)
        for column in (field.number, field.text):
            if column is not None:
                query = query.order_by((column.desc() if down else column.asc()).nulls_last())
    return query.order_by(runs.c.created.desc(), runs.c.id)


def get(database: Database, layout: Layout, text: str) -> RunRecord:
    """The run with an id, or whose id alone begins with a text; RunNotFound and AmbiguousRun name the
    candidates.
    """
    if not isinstance(text, str) or not text.strip():
        raise RunNotFound(
            f"{text!r} is no run id. Give an id or the beginning of one, as `autotrack ls` shows them."
        )
    text = text.strip()
    row = database.ask(lambda connection: _one(connection, layout, text))
    return _records(database, layout, [row])[0]


def _one(connection: Connection, layout: Layout, text: str) -> Any:
    for candidate in dict.fromkeys((text, text.lower())):
        for query in (_exactly, _beginning):
            rows = run_rows(connection, query(candidate).limit(50))
            if len(rows) == 1:
                return rows[0]
            if rows:
                raise AmbiguousRun(_ambiguous(text, rows))
    _check_hidden(connection, archived=True)
    check_lost(connection, text)
    raise RunNotFound(_not_found(connection, layout, text))


def _exactly(text: str) -> Select[Any]:
    return RUNS.where(runs.c.shown, runs.c.id == text)


def _beginning(text: str) -> Select[Any]:
    return RUNS.where(runs.c.shown, func.substr(runs.c.id, 1, len(text)) == text).order_by(runs.c.id)


def _ambiguous(text: str, rows: Sequence[Any]) -> str:
    listed = ", ".join(f"{row['id']} ({row['name']!r}, project {row['project']!r})" for row in rows[:10])
    more = "" if len(rows) <= 10 else f" and {'at least ' if len(rows) == 50 else ''}{len(rows) - 10} more"
    return f"{text!r} fits more than one run: {listed}{more}. Give more of the id."


def _not_found(connection: Connection, layout: Layout, text: str) -> str:
    named = (
        connection.execute(select(runs.c.id).where(runs.c.shown, runs.c.name == text).limit(5))
        .scalars()
        .all()
    )
    if named:
        return f"No run id begins with {text!r}, but a run has that name: {', '.join(named)}. Give its id."
    start = or_(func.substr(runs.c.id, 1, 1) == text[:1], func.substr(runs.c.name, 1, 1) == text[:1])
    rows = connection.execute(select(runs.c.id, runs.c.name).where(runs.c.shown, start).limit(5000)).all()
    words = {row.id: row.id for row in rows} | {row.name: row.id for row in rows}
    near = dict.fromkeys(words[word] for word in get_close_matches(text, words, 3, 0.5))
    hint = f" Near to it: {', '.join(near)}." if near else " `autotrack ls` shows the runs there are."
    return f"No run id begins with {text!r} in {layout.root}.{hint}"
