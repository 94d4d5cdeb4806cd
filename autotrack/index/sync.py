"""Brings the index up to date with the store: finds folders, ingests them, works out states, seals what is
over.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from autotrack.collector import without_collector
from autotrack.guard import warn
from autotrack.index.bulk import in_groups, names_of, update_rows
from autotrack.index.checks import checked, verified_run, with_check
from autotrack.index.database import Database
from autotrack.index.discover import Stamp, discover, folder_stamp, journal_bytes
from autotrack.index.fold import Fact, attempts_of, in_order
from autotrack.index.ingest import Tell, forget, ingest
from autotrack.index.known import FolderRow, FolderState, Place, load_states
from autotrack.index.refold import load_folded
from autotrack.index.schema import Broken, folders, runs
from autotrack.index.seal import seal_folder
from autotrack.index.status import Writer, all_gone, run_status
from autotrack.journal.format import SEALED_SUFFIX, SUFFIX
from autotrack.layout import Layout, decode_project

Progress = Callable[[float, int], None]

_AT_ONCE = 200
_SEALED_MOST = 5000
_SEALED_BYTES_A_SECOND = 10_000_000
_REST_NS = 60_000_000_000
_LOOK = names_of(folders, "pk", "project", "run", "journals", "runs")
_LOOK_FROM = names_of(folders).index(_LOOK[0])
_HOW_MANY_RUNS = select(func.count()).select_from(runs).with_hint(runs, "NOT INDEXED", "sqlite")
"""Counted in the table itself: an index of SQLite's may know of rows that the table has lost."""


def sync(
    database: Database,
    layout: Layout,
    progress: Progress | None = None,
    only: Path | None = None,
    seal_seconds: float = 0.5,
) -> None:
    """Read what is new in the store; `only` looks at one run's folder. `progress(done, total)` is called with the
    number of folders that were looked at, a part of one for a long one, of those that may hold anything new.

    Sealing stops after `seal_seconds` and goes on the next time.
    """
    if only is not None:
        place = Place(layout.runs / only.parent.name / only.name, decode_project(only.parent.name), only.name)
        _look_at(database, layout, [place], progress)
        return
    with database.batch():
        with without_collector():
            with database.reading() as connection:
                known = _known(connection)
            found = discover(layout, known)
        _look_at(database, layout, found.places, progress)
        refused = found.refused
        gone = [] if refused is None else [key for key in known.keys() - found.keys if key[0] not in refused]
        if gone:
            with database.writing() as connection:
                forget(connection, gone)
    if found.places or any(one.settled and not one.sealed for one in known.values()):
        _seal_some(database, layout, seal_seconds)


def _known(connection: Connection) -> dict[tuple[str, str], FolderRow]:
    found = [FolderRow._make(row) for row in checked(connection.execute(select(folders)).all())]
    if connection.scalar(_HOW_MANY_RUNS) != sum(row.runs for row in found):
        raise Broken("the index lacks runs")
    known = {(row.project, row.run): row for row in found}
    if len(known) != len(found):
        raise Broken("the index has a folder twice")
    return known


def _look_at(database: Database, layout: Layout, places: list[Place], progress: Progress | None) -> None:
    """Bring folders up to date, some hundred at a time; several processes begin at different ones."""
    groups = list(in_groups(places, _AT_ONCE))
    first = os.getpid() % len(groups) if groups else 0
    markers = _markers(layout)
    done = 0
    with database.batch():
        for group in groups[first:] + groups[:first]:
            _bring_in(database, layout, group, markers, _counted(progress, done, len(places)))
            done += len(group)


def _counted(progress: Progress | None, before: int, total: int) -> Tell:
    """Tells how many folders are done in all, of a group that begins behind so many."""
    return lambda done: progress is not None and progress(before + done, total)


class _Look(NamedTuple):
    """How a folder was when the look at it began."""

    stamp: Stamp
    size: int


def _bring_in(database: Database, layout: Layout, places: list[Place], markers: set[str], tell: Tell) -> None:
    looks = {}
    for place in places:
        try:
            looks[place] = _Look(folder_stamp(place.path), journal_bytes(place.path))
        except OSError:
            continue
    outcome = ingest(database, looks, tell)
    seen = [place for place in looks if place not in outcome.missing]
    with database.reading() as connection:
        states = load_states(connection, seen)
        rows = _root_rows(connection, states)
        shown = [row.root_pk for row in rows.values() if row.root_pk is not None and row.shown]
        facts = load_folded(connection, shown)
    looked: dict[int, dict[str, Any]] = {}
    root_rows: list[Any] = []
    for place in seen:
        state = states.get(place.key)
        if state is None:
            continue
        row = rows[state.pk]
        status, settled, loose = _status(place, state, facts.get(row.root_pk or 0, []))
        if row.shown is False:
            message = f"{place.path} holds edits but no journal of a run; it is left out. Copy the run's journals there."
            warn("edits-only", message, key=place.path)
        if settled and place.run in markers:
            _remove_marker(layout, place.run)
        look = looks[place]
        sealed = state.row.sealed and place not in outcome.changed
        seen_so = look.stamp._asdict() | {
            "size": look.size,
            "settled": settled,
            "loose": loose,
            "sealed": sealed,
        }
        if state.row._replace(**seen_so) != state.row:
            looked[state.pk] = seen_so
        if status != row.status or place in outcome.changed:
            root_rows.append((status, state.pk))
    if looked or root_rows:
        with database.writing() as connection:
            _change_folders(connection, looked)
            _set_status(connection, root_rows)


class _RootRow(NamedTuple):
    """The run of a folder, if it has one."""

    root_pk: int | None
    shown: bool | None
    status: str | None


def _root_rows(connection: Connection, states: Mapping[tuple[str, str], FolderState]) -> dict[int, _RootRow]:
    found = {state.pk: _RootRow(None, None, None) for state in states.values()}
    for some in in_groups(found):
        for row in map(
            verified_run, connection.execute(select(runs).where(runs.c.folder.in_(some), runs.c.root))
        ):
            found[row.folder] = _RootRow(row.pk, row.shown, row.status)
    if any(state.row.runs and found[state.pk].root_pk is None for state in states.values()):
        raise Broken("the index lacks runs")
    return found


def _set_status(connection: Connection, rows: list[Any]) -> None:
    """The state of the folders' runs; a child that did not end by its own word shares it."""
    for status in {status for status, _ in rows}:
        for some in in_groups(pk for each, pk in rows if each == status):
            inside = runs.update().where(runs.c.folder.in_(some))
            connection.execute(inside.where(runs.c.root).values(status=status))
            connection.execute(inside.where(~runs.c.root).values(status=func.coalesce(runs.c.ended, status)))


def _status(place: Place, state: FolderState, facts: list[Fact]) -> tuple[str, bool, bool]:
    """The state of a folder's run, whether that is final, and whether the folder may be a copy that still grows."""
    writers = _writers(place.path, state, facts)
    status = run_status(writers, attempts_of(facts))
    own = [writer for writer in writers if writer.role != "edit"]
    troubled = any(segment.problem is not None for segment in state.segments.values())
    settled = status not in ("running", "stale") and all_gone(own) and not troubled
    loose = status == "died" or any(writer.alive() is None for writer in own)
    return status, settled, loose


def _writers(path: Path, state: FolderState, facts: Iterable[Fact]) -> list[Writer]:
    """The journals of a folder as their processes."""
    endings: dict[str, str | None] = {}
    for fact in in_order(facts):
        if fact.kind == "start":
            endings[fact.stem] = None
        elif fact.kind == "finish":
            status = fact.body.get("status")
            endings[fact.stem] = status if status in ("finished", "failed", "interrupted") else "failed"
    spoke = {stem: wall / 1e9 for stem, wall in state.last_walls().items()}
    last = dict(spoke)
    for stem, number in state.segments:
        last[stem] = max(last[stem], _file_time(path, f"{stem}.{number}"))
    return [
        Writer(
            *(stem, journal.role, journal.rank, journal.host, journal.pid, journal.pidns, journal.boot),
            *(journal.started, journal.wall or 0, last[stem], spoke[stem], endings.get(stem)),
        )
        for stem, journal in state.journals.items()
    ]


def _file_time(path: Path, name: str) -> float:
    for suffix in (SUFFIX, SEALED_SUFFIX):
        try:
            return os.stat(path / f"{name}{suffix}").st_mtime
        except OSError:
            continue
    return 0.0


def _markers(layout: Layout) -> set[str]:
    """The runs that are marked as open."""
    try:
        return set(os.listdir(layout.open))
    except OSError:
        return set()


def _remove_marker(layout: Layout, run: str) -> None:
    try:
        os.unlink(layout.open / run)
    except OSError:
        return


def _seal_some(database: Database, layout: Layout, seconds: float) -> None:
    """Seal runs that are over, as many as the time allows; one that takes longer by itself only when it is over for a minute,
    so that nobody who has just ended it waits for that.
    """
    end = time.monotonic() + seconds
    if seconds <= 0 or not os.access(layout.runs, os.W_OK):
        return
    with database.reading() as connection:
        query = select(folders.c.pk, folders.c.project, folders.c.run)
        small = folders.c.size <= seconds * _SEALED_BYTES_A_SECOND
        query = query.where(small | (runs.c.last_wall < time.time_ns() - _REST_NS))
        query = query.join(runs, (runs.c.folder == folders.c.pk) & runs.c.root)
        query = query.where(folders.c.settled, ~folders.c.sealed, runs.c.ended.is_not(None))
        waiting = connection.execute(query.limit(_SEALED_MOST)).all()
    done: list[int] = []
    for group in in_groups(waiting, _AT_ONCE):
        if time.monotonic() >= end:
            break
        places = [Place(layout.run_dir(row.project, row.run), row.project, row.run) for row in group]
        with database.reading() as connection:
            states = load_states(connection, places)
        for row, place in zip(group, places, strict=True):
            if time.monotonic() >= end:
                break
            state = states.get(place.key)
            writers = _writers(place.path, state, []) if state else []
            gone = {writer.stem for writer in writers if writer.role != "edit" and writer.alive() is False}
            if not gone or seal_folder(place.path, gone):
                done.append(row.pk)
    if done:
        # The new mtimes are not noted: the folders are looked at once more, so that no file that came
        # meanwhile is missed.
        with database.writing() as connection:
            _change_folders(connection, {pk: {"sealed": True} for pk in done})


def _change_folders(connection: Connection, changes: Mapping[int, Mapping[str, Any]]) -> None:
    """Set some columns of folders, by row."""
    rows: list[Any] = []
    for some in in_groups(changes):
        for known in checked(connection.execute(select(folders).where(folders.c.pk.in_(some)))):
            row = FolderRow._make(known)
            rows.append((*with_check(row._replace(**changes[row.pk]))[_LOOK_FROM:], row.pk))
    update_rows(connection, folders, _LOOK, rows)
