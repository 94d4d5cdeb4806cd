"""Which run has written a checkpoint."""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection

from autotrack.index.refold import FACTS_OF_RUNS, fact_of
from autotrack.index.schema import events


class Save(NamedTuple):
    """A run's save of a checkpoint, at a step of its training where that is known; `size` in bytes."""

    run: str
    step: int | None
    size: int | None = None
    digest: str | None = None


def last_save(connection: Connection, paths: Collection[str]) -> Save | None:
    """The last save to one of these paths, or to what a link at one of them stands for; None where there is none."""
    wanted = set(paths)
    linked_by: str | None = None
    for run, body, save in _newest_first(connection):
        if body.get("path") not in wanted or linked_by not in (None, run):
            continue
        if save is not None:
            return save
        if body.get("action") == "linked":
            linked_by, wanted = run, {str(body.get("target"))}
    return None if linked_by is None else Save(linked_by, None)


def saves_of_size(connection: Connection, size: int) -> list[Save]:
    """The saves of so many bytes whose digest is known, newest first."""
    saves = (save for _, _, save in _newest_first(connection))
    return [save for save in saves if save is not None and save.size == size and save.digest is not None]


def _newest_first(connection: Connection) -> Iterator[tuple[str, dict[str, Any], Save | None]]:
    """Every event of a checkpoint with its run, and of a save what is known of it."""
    query = FACTS_OF_RUNS.where(events.c.kind == "checkpoint").order_by(
        events.c.wall.desc(), events.c.seq.desc()
    )
    digests: dict[str, str] = {}
    for run, *row in connection.execute(query):
        body = fact_of(row).body
        if body.get("action") in ("sealed", "damaged"):
            digests[str(body.get("save"))] = str(body.get("digest"))
        known = body.get("action") in ("saved", "overwritten")
        digest = digests.get(str(body.get("id")))
        yield run, body, Save(run, body.get("step"), body.get("size"), digest) if known else None
