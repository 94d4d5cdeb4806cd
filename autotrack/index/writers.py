"""Which run has written a checkpoint."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection, select

from autotrack.index.fold import unpack_body
from autotrack.index.schema import events, runs


class Save(NamedTuple):
    """A run's save of a checkpoint, at a step of its training where that is known."""

    run: str
    step: int | None


def last_save(connection: Connection, paths: Collection[str]) -> Save | None:
    """The last save to one of these paths, or to what a link at one of them stands for; None where there is none."""
    query = select(runs.c.id, events.c.body).join(runs, runs.c.pk == events.c.run)
    query = query.where(events.c.kind == "checkpoint").order_by(events.c.wall.desc(), events.c.seq.desc())
    wanted = set(paths)
    linked_by: str | None = None
    for run, data in connection.execute(query):
        body = unpack_body(data)
        if body.get("path") not in wanted or linked_by not in (None, run):
            continue
        if body.get("action") == "linked":
            linked_by, wanted = run, {str(body.get("target"))}
        elif body.get("action") in ("saved", "overwritten"):
            return Save(run, body.get("step"))
    return None if linked_by is None else Save(linked_by, None)
