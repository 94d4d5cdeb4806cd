"""What the index knows of run folders: how far their journals were read, and who wrote them. Many folders in few questions."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, select

from autotrack.index.bulk import in_groups, names_of
from autotrack.index.schema import folders, journals, segments


class Place(NamedTuple):
    """A run's folder."""

    path: Path
    project: str
    run: str

    @property
    def key(self) -> tuple[str, str]:
        """What the index calls it."""
        return self.project, self.run


class JournalState(NamedTuple):
    """A row of `journals`."""

    pk: int
    folder: int
    stem: str
    role: str
    rank: int
    host: str | None
    pid: int | None
    pidns: str | None
    boot: str | None
    started: int | None
    wall: int | None


class SegmentState(NamedTuple):
    """A row of `segments`."""

    journal: int
    number: int
    offset: int
    damaged: int
    unknown: int
    wall: int | None
    mono: int | None
    last_wall: int | None
    last_seq: int
    problem: str | None


@dataclass
class FolderState:
    """A folder's row, with its journals by stem and its segments by stem and number."""

    pk: int
    journals: dict[str, JournalState] = field(default_factory=dict)
    segments: dict[tuple[str, int], SegmentState] = field(default_factory=dict)

    def offset(self, stem: str, number: int) -> int:
        """How far a segment was read."""
        found = self.segments.get((stem, number))
        return 0 if found is None else found.offset

    def last_walls(self) -> dict[str, int]:
        """The last sign of life of each journal, by stem."""
        found = dict.fromkeys(self.journals, 0)
        for (stem, _), segment in self.segments.items():
            found[stem] = max(found[stem], segment.last_wall or 0)
        return found


def load_states(connection: Connection, places: Iterable[Place]) -> dict[tuple[str, str], FolderState]:
    """The folders that the index knows, by project and run."""
    found: dict[tuple[str, str], FolderState] = {}
    by_pk: dict[int, FolderState] = {}
    projects: dict[str, list[str]] = {}
    for place in places:
        projects.setdefault(place.project, []).append(place.run)
    for project, names in projects.items():
        for some in in_groups(names):
            query = select(folders.c.pk, folders.c.run).where(
                folders.c.project == project, folders.c.run.in_(some)
            )
            for pk, run in connection.execute(query):
                found[project, run] = by_pk[pk] = FolderState(pk)
    for group in in_groups(by_pk):
        _load_journals(connection, group, by_pk)
    return found


def _load_journals(connection: Connection, pks: list[int], by_pk: dict[int, FolderState]) -> None:
    columns = [journals.c[name] for name in names_of(journals)]
    for row in connection.execute(select(*columns).where(journals.c.folder.in_(pks))):
        state = JournalState._make(row)
        by_pk[state.folder].journals[state.stem] = state
    columns = [segments.c[name] for name in names_of(segments)]
    query = select(journals.c.folder, journals.c.stem, *columns)
    query = query.join(journals, journals.c.pk == segments.c.journal).where(journals.c.folder.in_(pks))
    for folder, stem, *facts in connection.execute(query):
        segment = SegmentState._make(facts)
        by_pk[folder].segments[stem, segment.number] = segment
