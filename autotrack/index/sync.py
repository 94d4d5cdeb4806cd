"""Brings the index up to date with the store: finds folders, ingests them, works out states, seals what is
over.
"""

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import func, select

from autotrack.guard import warn
from autotrack.index.database import Database
from autotrack.index.fold import Fact, attempts_of, in_order
from autotrack.index.ingest import forget, ingest
from autotrack.index.refold import load_folded
from autotrack.index.schema import folders, journals, runs, segments
from autotrack.index.seal import seal_folder
from autotrack.index.status import Writer, all_gone, run_status
from autotrack.index.unread import Place, folder_mtime
from autotrack.journal.format import SEALED_SUFFIX, SUFFIX
from autotrack.layout import Layout, decode_project

Progress = Callable[[int, int], None]


class Known(NamedTuple):
    """What the index says of a folder."""

    mtime: int
    settled: bool
    sealed: bool


def sync(
    database: Database,
    layout: Layout,
    progress: Progress | None = None,
    only: Path | None = None,
    seal_seconds: float = 0.5,
) -> None:
    """Read what is new in the store; `only` looks at one run's folder. `progress(done, total)` is
    called as it goes.

    Sealing stops after `seal_seconds` and goes on the next time.
    """
    if only is not None:
        place = Place(layout.runs / only.parent.name / only.name, decode_project(only.parent.name), only.name)
        _look_at(database, layout, [place], progress)
        return
    with database.reading() as connection:
        rows = connection.execute(select(folders)).mappings()
        known = {
            (row["project"], row["run"]): Known(row["mtime"], row["settled"], row["sealed"]) for row in rows
        }
    found, refused = discover(layout)
    new = [
        place
        for place, mtime in found
        if not ((there := known.get((place.project, place.run))) and there.settled and there.mtime == mtime)
    ]
    _look_at(database, layout, new, progress)
    _forget_vanished(database, set(known), found, refused)
    _seal_some(database, layout, seal_seconds)


def discover(layout: Layout) -> tuple[list[tuple[Place, int]], set[str] | None]:
    """Every run's folder with its mtime, and the projects whose folders could not be listed (None: not one
    could).
    """
    found: list[tuple[Place, int]] = []
    refused: set[str] = set()
    projects = _folders_in(layout.runs)
    if projects is None:
        return [], None
    for entry in projects:
        project = decode_project(entry.name)
        below = _folders_in(Path(entry.path))
        if below is None:
            refused.add(project)
            continue
        for run in below:
            try:
                found.append((Place(Path(run.path), project, run.name), run.stat().st_mtime_ns))
            except OSError:
                refused.add(project)
    return found, refused


def _folders_in(path: Path) -> list[os.DirEntry[str]] | None:
    """The folders in a folder; none where there is no such folder, None where it cannot be listed."""
    try:
        with os.scandir(path) as entries:
            return sorted(
                (entry for entry in entries if entry.name[0] != "." and entry.is_dir()),
                key=lambda entry: entry.name,
            )
    except FileNotFoundError:
        return []
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}); its runs are not brought up to date."
        warn("unreadable-folder", message, key=path)
        return None


def _look_at(database: Database, layout: Layout, places: list[Place], progress: Progress | None) -> None:
    with database.batch():
        for number, place in enumerate(places):
            try:
                _bring_in(database, layout, place)
            except FileNotFoundError:
                continue
            except OSError as error:
                message = (
                    f"{place.path} cannot be read ({error.strerror}); this run is not brought up to date."
                )
                warn("unreadable-folder", message, key=place.path)
            if progress is not None:
                progress(number + 1, len(places))


def _bring_in(database: Database, layout: Layout, place: Place) -> None:
    mtime = folder_mtime(place.path)
    changed = ingest(database, place)
    with database.reading() as connection:
        here = (folders.c.project == place.project) & (folders.c.run == place.run)
        folder = connection.execute(select(folders).where(here)).mappings().one_or_none()
        if folder is None:
            return
        root = (
            connection.execute(select(runs).where(runs.c.folder == folder["pk"], runs.c.root))
            .mappings()
            .one_or_none()
        )
        facts = load_folded(connection, [root["pk"]]).get(root["pk"], []) if root and root["shown"] else []
        writers, troubled = _writers(connection, folder["pk"], place.path, facts)
    if root is not None and not root["shown"]:
        message = f"{place.path} holds edits but no journal of a run; it is left out. Copy the run's journals there."
        warn("edits-only", message, key=place.path)
    status = run_status(writers, attempts_of(facts))
    own = [writer for writer in writers if writer.role != "edit"]
    settled = status not in ("running", "stale") and all_gone(own) and not troubled
    if settled:
        _remove_marker(layout, place.run)
    row = {"mtime": mtime, "settled": settled}
    if changed or root is None or status != root["status"] or any(folder[name] != row[name] for name in row):
        with database.writing() as connection:
            connection.execute(folders.update().where(folders.c.pk == folder["pk"]).values(row))
            inside = runs.update().where(runs.c.folder == folder["pk"])
            connection.execute(inside.where(runs.c.root).values(status=status))
            connection.execute(inside.where(~runs.c.root).values(status=func.coalesce(runs.c.ended, status)))


def _writers(connection: Any, folder: int, path: Path, facts: Iterable[Fact]) -> tuple[list[Writer], bool]:
    """The journals of a folder as their processes, and whether a file could not be read."""
    endings: dict[str, str | None] = {}
    for fact in in_order(facts):
        if fact.kind == "start":
            endings[fact.stem] = None
        elif fact.kind == "finish":
            status = fact.body.get("status")
            endings[fact.stem] = status if status in ("finished", "failed", "interrupted") else "failed"
    query = (
        select(journals, segments.c.number, segments.c.last_wall, segments.c.problem)
        .join(segments, segments.c.journal == journals.c.pk)
        .where(journals.c.folder == folder)
    )
    found: dict[str, Writer] = {}
    troubled = False
    for row in connection.execute(query).mappings():
        troubled = troubled or row["problem"] is not None
        spoke = (row["last_wall"] or 0) / 1e9
        last = max(spoke, _file_time(path, f"{row['stem']}.{row['number']}"))
        known = found.get(row["stem"])
        if known:
            last, spoke = max(last, known.last), max(spoke, known.spoke)
        process = (row["host"], row["pid"], row["pidns"], row["boot"], row["started"], row["wall"])
        ending = endings.get(row["stem"])
        found[row["stem"]] = Writer(row["stem"], row["role"], row["rank"], *process, last, spoke, ending)
    return list(found.values()), troubled


def _file_time(path: Path, name: str) -> float:
    for suffix in (SUFFIX, SEALED_SUFFIX):
        try:
            return os.stat(path / f"{name}{suffix}").st_mtime
        except OSError:
            continue
    return 0.0


def _remove_marker(layout: Layout, run: str) -> None:
    try:
        os.unlink(layout.open / run)
    except OSError:
        return


def _forget_vanished(
    database: Database, known: set[tuple[str, str]], found: list[tuple[Place, int]], refused: set[str] | None
) -> None:
    """Take folders that are gone out of the index; those of a project that cannot be listed stay."""
    if refused is None:
        return
    there = {(place.project, place.run) for place, _ in found}
    for project, run in known - there:
        if project not in refused:
            with database.writing() as connection:
                forget(connection, project, run)


def _seal_some(database: Database, layout: Layout, seconds: float) -> None:
    """Seal runs that are over, as many as the time allows."""
    end = time.monotonic() + seconds
    with database.reading() as connection:
        query = select(folders).join(runs, (runs.c.folder == folders.c.pk) & runs.c.root)
        query = query.where(folders.c.settled, ~folders.c.sealed, runs.c.ended.is_not(None))
        waiting = connection.execute(query).mappings().all()
    for folder in waiting:
        if time.monotonic() >= end:
            return
        path = layout.run_dir(folder["project"], folder["run"])
        with database.reading() as connection:
            writers, _ = _writers(connection, folder["pk"], path, [])
        gone = {writer.stem for writer in writers if writer.role != "edit" and writer.alive() is False}
        if gone and seal_folder(path, gone):
            # Its new mtime is not noted: the folder is looked at once more, so that no file that came
            # meanwhile is missed.
            with database.writing() as connection:
                connection.execute(folders.update().where(folders.c.pk == folder["pk"]).values(sealed=True))
