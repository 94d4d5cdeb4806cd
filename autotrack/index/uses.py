"""What the runs of a store have to do with a file or folder: which saved it, kept it, or read it."""

import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from autotrack.digests import digest_of, look_at
from autotrack.index.refold import FACTS_OF_RUNS, fact_of
from autotrack.index.schema import events
from autotrack.times import moment


class Use(NamedTuple):
    """One time that a run had to do with it.

    `what`: "saved" (as a checkpoint), "kept" (as an artifact) or "read" (as an input), under `path`, with the `role` of an input.
    `same`: whether it was these bytes; None where the record or the file does not say, then only the path tells.
    """

    run: str
    what: str
    path: str
    same: bool | None
    when: datetime
    step: int | None = None
    score: float | None = None
    monitor: str | None = None
    role: str | None = None


class Known(NamedTuple):
    """What is known of a path: `size` in bytes and `digest` (sha256) None where nothing lies there or it cannot be read."""

    path: str
    size: int | None
    digest: str | None
    uses: list[Use]


_KINDS = {"checkpoint": "saved", "artifact": "kept", "input": "read"}


def uses_of(connection: Connection, path: str) -> Known:
    """Every use of what lies at an absolute path, newest first: of the same bytes anywhere, and of this path with any bytes."""
    size, digest = _content(path)
    places = {path, os.path.realpath(path)}
    uses = []
    for run, kind, wall, body, digests in _facts(connection):
        recorded = str(body.get("path") or "")
        same = _same(digest, digests, recorded in places)
        if not same and not _lies_in(places, recorded):
            continue
        facts = {name: body.get(name) for name in ("step", "score", "monitor")}
        role = str(body.get("role", "data")) if kind == "input" else None
        shown = str(body.get("path") or body.get("name") or "")
        uses.append(Use(run, _KINDS[kind], shown, same, moment(wall), role=role, **facts))
    return Known(path, size, digest, uses)


def _content(path: str) -> tuple[int | None, str | None]:
    """Size and digest of what lies at a path."""
    try:
        look = look_at(path)
    except OSError:
        return None, None
    return look.size, digest_of(path, look)


def _facts(connection: Connection) -> Iterator[tuple[str, str, int, dict[str, Any], set[str]]]:
    """The events that name files, newest first: run, kind, time, body, and the digests of what they name."""
    query = FACTS_OF_RUNS.where(events.c.kind.in_(_KINDS)).order_by(events.c.wall.desc(), events.c.seq.desc())
    later: dict[str, str] = {}
    for run, *row in connection.execute(query):
        fact = fact_of(row)
        kind, wall, body = fact.kind, fact.wall, fact.body
        action = body.get("action")
        if action in ("sealed", "damaged"):
            later[str(body.get("save"))] = str(body.get("digest"))
        elif kind != "checkpoint" or action in ("saved", "overwritten"):
            yield run, kind, wall, body, set(_digests(body, later))


def _same(digest: str | None, digests: set[str], whole: bool) -> bool | None:
    """Whether a digest is among those recorded; None where one is missing, or they are of a folder that the file lies in."""
    if digest is None or not digests:
        return None
    return digest in digests or (False if whole else None)


def _digests(body: dict[str, Any], later: dict[str, str]) -> Iterator[str]:
    found = [body.get("digest"), later.get(str(body.get("id")))]
    found += (
        [one.get("digest") for one in body.get("files") or [] if isinstance(one, dict)]
        if _lists(body)
        else []
    )
    yield from (str(one) for one in found if one)


def _lists(body: dict[str, Any]) -> bool:
    """Whether the event lists the files of a folder; of a checkpoint `files` is their number."""
    return isinstance(body.get("files"), list)


def _lies_in(places: set[str], recorded: str) -> bool:
    """Whether one of these paths is the recorded one, or lies in the folder of that name."""
    return bool(recorded) and any(
        place == recorded or place.startswith(recorded + os.sep) for place in places
    )
