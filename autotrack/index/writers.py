"""Which run has written a checkpoint."""

import os
from collections.abc import Collection, Iterator
from typing import NamedTuple

from sqlalchemy import Connection

from autotrack.index.fold import Fact
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
    for run, fact, save in _newest_first(connection):
        body = fact.body
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


class Writers:
    """The saves of a store, as of when it was made, for what runs have read without knowing whose it is."""

    def __init__(self, connection: Connection) -> None:
        self._by_digest: dict[str, list[_Written]] = {}
        self._by_path: dict[str, list[_Written]] = {}
        for one in _saves(connection):
            self._by_path.setdefault(one.path, []).append(one)
            if one.save.digest is not None:
                self._by_digest.setdefault(one.save.digest, []).append(one)

    def find(self, path: str, digest: str | None, wall: int) -> Save | None:
        """Who had written what lay at a path then: the last that had saved these bytes, best of all there.

        Where the bytes of one of both are not known, it is the last that had saved to the path.
        """
        paths = {path, os.path.realpath(path)}
        same = [one for one in self._by_digest.get(digest or "", []) if one.wall <= wall]
        found = [one for one in same if one.path in paths] or same
        if found:
            return found[0].save
        there = [one for place in paths for one in self._by_path.get(place, []) if one.wall <= wall]
        last = max(there, key=lambda one: one.wall, default=None)
        if last is None or (last.is_comparable and digest is not None):
            return None
        return last.save


class _Written(NamedTuple):
    """A save, and when it was made, in Unix nanoseconds; `is_comparable`: its digest is that of all that lies at its path."""

    path: str
    wall: int
    save: Save
    is_comparable: bool


def _saves(connection: Connection) -> Iterator[_Written]:
    """Every save, newest first."""
    for _, fact, save in _newest_first(connection):
        if save is not None:
            comparable = save.digest is not None and not fact.body.get("without")
            yield _Written(str(fact.body.get("path")), fact.wall, save, comparable)


def _newest_first(connection: Connection) -> Iterator[tuple[str, Fact, Save | None]]:
    """Every event of a checkpoint with its run, and of a save what is known of it."""
    query = FACTS_OF_RUNS.where(events.c.kind == "checkpoint").order_by(
        events.c.wall.desc(), events.c.seq.desc()
    )
    digests: dict[str, str] = {}
    for run, *row in connection.execute(query):
        fact = fact_of(row)
        body = fact.body
        if body.get("action") in ("sealed", "damaged"):
            digests[str(body.get("save"))] = str(body.get("digest"))
        known = body.get("action") in ("saved", "overwritten")
        digest = digests.get(str(body.get("id")))
        yield run, fact, Save(run, body.get("step"), body.get("size"), digest) if known else None
