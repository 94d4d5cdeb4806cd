"""Brings run folders' journals into the index, from where the last reading stopped: many folders in one transaction."""

from collections.abc import Callable, Iterable, Iterator

from sqlalchemy import Connection, delete, select

from autotrack.collector import without_collector
from autotrack.guard import warn
from autotrack.index.bulk import in_groups
from autotrack.index.database import Database
from autotrack.index.known import FolderState, Place, load_states
from autotrack.index.schema import (
    axes,
    chunks,
    config_values,
    events,
    folders,
    journals,
    lasts,
    metrics,
    runs,
    segments,
    tags,
)
from autotrack.index.unread import Overtaken, Part, Shrunk, new_parts
from autotrack.index.write import write

BUNDLE_BYTES = 8 * 1024 * 1024
_TRIES = 20
Bundle = dict[Place, list[Part]]
Tell = Callable[[float], object]


class Outcome:
    """What became of some folders: those that had anything new, and those that cannot be looked at now."""

    def __init__(self) -> None:
        self.changed: set[Place] = set()
        self.missing: set[Place] = set()


def ingest(database: Database, places: Iterable[Place], tell: Tell) -> Outcome:
    """Bring in everything new in some folders, safe while other processes do the same; `tell` is told how many are done."""
    outcome = Outcome()
    waiting = list(places)
    for _ in range(_TRIES):
        again = _once(database, waiting, outcome, tell)
        if not again:
            break
        waiting = again
    return outcome


def _once(database: Database, places: list[Place], outcome: Outcome, tell: Tell) -> list[Place]:
    """Read and write once; the folders are returned whose journals another process moved meanwhile."""
    with database.reading() as connection:
        states = load_states(connection, places)
    again: dict[Place, None] = {}
    bundle: Bundle = {}
    size = 0
    for done, place in enumerate(places):
        for part in _parts(database, place, states.get(place.key), again, outcome):
            bundle.setdefault(place, []).append(part)
            size += part.batch.end - part.start
            if size >= BUNDLE_BYTES:
                _flush(database, bundle, again, outcome)
                bundle, size = {}, 0
                tell(done + part.share)
            if place in again:
                break
        tell(done + 1)
    _flush(database, bundle, again, outcome)
    return list(again)


def _parts(
    database: Database, place: Place, state: FolderState | None, again: dict[Place, None], outcome: Outcome
) -> Iterator[Part]:
    """The new parts of a folder, as far as it can be read; one that changes under us is looked at again."""
    try:
        yield from new_parts(place, state)
    except Overtaken:
        again[place] = None
    except Shrunk:
        with database.writing() as connection:
            forget(connection, [place.key])
        again[place] = None
    except FileNotFoundError:
        outcome.missing.add(place)
    except OSError as error:
        outcome.missing.add(place)
        message = f"{place.path} cannot be read ({error.strerror}); this run is not brought up to date."
        warn("unreadable-folder", message, key=place.path)


def _flush(database: Database, bundle: Bundle, again: dict[Place, None], outcome: Outcome) -> None:
    """Write the parts that begin where the index has stopped; the others were written by somebody else."""
    if not bundle:
        return
    with without_collector(), database.writing() as connection:
        states = load_states(connection, bundle)
        fitting = {}
        for place, parts in bundle.items():
            outcome.changed.add(place)
            if _fits(parts, states.get(place.key)):
                fitting[place] = parts
            else:
                again[place] = None
        if fitting:
            write(connection, fitting, states)


def _fits(parts: list[Part], state: FolderState | None) -> bool:
    offsets: dict[tuple[str, int], int] = {}
    for part in parts:
        name = part.segment.stem, part.segment.number
        if part.start != offsets.get(name, 0 if state is None else state.offset(*name)):
            return False
        offsets[name] = part.batch.end
    return True


def forget(connection: Connection, keys: Iterable[tuple[str, str]]) -> None:
    """Remove folders, by project and run, and everything that came from them."""
    projects: dict[str, list[str]] = {}
    for project, run in keys:
        projects.setdefault(project, []).append(run)
    for project, names in projects.items():
        for some in in_groups(names):
            query = select(folders.c.pk).where(folders.c.project == project, folders.c.run.in_(some))
            _forget(connection, list(connection.scalars(query)))


def _forget(connection: Connection, pks: list[int]) -> None:
    own_runs = select(runs.c.pk).where(runs.c.folder.in_(pks))
    own_journals = select(journals.c.pk).where(journals.c.folder.in_(pks))
    for table in (events, chunks, axes, metrics, lasts, tags, config_values):
        connection.execute(delete(table).where(table.c.run.in_(own_runs)))
    connection.execute(delete(segments).where(segments.c.journal.in_(own_journals)))
    connection.execute(delete(runs).where(runs.c.folder.in_(pks)))
    connection.execute(delete(journals).where(journals.c.folder.in_(pks)))
    connection.execute(delete(folders).where(folders.c.pk.in_(pks)))
