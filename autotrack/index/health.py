"""What is amiss in a store's records, for all runs at once: damaged lines, gaps, files that cannot be read."""

from typing import NamedTuple

from sqlalchemy import Connection, func, select

from autotrack.index.schema import events, folders, journals, runs, segments


class Unreadable(NamedTuple):
    """A file that is called like a journal and could not be read as one."""

    project: str
    run: str
    problem: str


def states(connection: Connection) -> dict[str, str]:
    """The state of every run by its id, child runs and archived ones too."""
    rows = connection.execute(select(runs.c.id, runs.c.status).where(runs.c.shown))
    return {row.id: row.status for row in rows}


def damaged(connection: Connection) -> dict[str, int]:
    """How many lines are damaged in the journals of a run, by its id; whole runs are left out."""
    lines = func.sum(segments.c.damaged)
    query = (
        select(folders.c.run, lines.label("lines"))
        .join(journals, journals.c.folder == folders.c.pk)
        .join(segments, segments.c.journal == journals.c.pk)
        .group_by(folders.c.pk)
        .having(lines > 0)
        .order_by(folders.c.run)
    )
    return {row.run: int(row.lines) for row in connection.execute(query)}


def with_gaps(connection: Connection) -> list[str]:
    """The ids of the runs in which lines were dropped."""
    query = select(runs.c.id).distinct().join(events, events.c.run == runs.c.pk).where(events.c.kind == "gap")
    return list(connection.scalars(query.order_by(runs.c.id)))


def unreadable(connection: Connection) -> list[Unreadable]:
    """The files that could not be read as journals, and why."""
    query = (
        select(folders.c.project, folders.c.run, segments.c.problem)
        .join(journals, journals.c.folder == folders.c.pk)
        .join(segments, segments.c.journal == journals.c.pk)
        .where(segments.c.problem.is_not(None))
        .order_by(folders.c.project, folders.c.run, segments.c.problem)
    )
    return [Unreadable(row.project, row.run, row.problem) for row in connection.execute(query)]
