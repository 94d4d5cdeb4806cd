"""What the index knows of run folders: how far their journals were read, and who wrote them. Many folders in few questions."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, select

from autotrack.index.bulk import in_groups
from autotrack.index.checks import checked, verified
from autotrack.index.schema import Broken, folders, journals, segments


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
    segments: int
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


class FolderRow(NamedTuple):
    """A row of `folders`; that of a new one is written when all is known."""

    pk: int
    project: str
    run: str
    journals: int = 0
    runs: int = 0
    mtime: int = 0
    ctime: int = 0
    size: int = 0
    settled: bool = False
    loose: bool = False
    sealed: bool = False


@dataclass
class FolderState:
    """A folder's row, with its journals by stem and its segments by stem and number."""

    row: FolderRow
    journals: dict[str, JournalState] = field(default_factory=dict)
    segments: dict[tuple[str, int], SegmentState] = field(default_factory=dict)

    @property
    def pk(self) -> int:
        """The number of the folder's row."""
        return self.row.pk

    def check(self) -> None:
        """Broken if the index has lost a journal or a segment."""
        segments = sum(journal.segments for journal in self.journals.values())
        if (len(self.journals), len(self.segments)) != (self.row.journals, segments):
            raise Broken("the index lacks journals")

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
            query = select(folders).where(folders.c.project == project, folders.c.run.in_(some))
            for row in map(FolderRow._make, checked(connection.execute(query))):
                found[project, row.run] = by_pk[row.pk] = FolderState(row)
    for group in in_groups(by_pk):
        _load_journals(connection, group, by_pk)
    for state in by_pk.values():
        state.check()
    return found


def _load_journals(connection: Connection, pks: list[int], by_pk: dict[int, FolderState]) -> None:
    for row in checked(connection.execute(select(journals).where(journals.c.folder.in_(pks)))):
        state = JournalState._make(row)
        by_pk[state.folder].journals[state.stem] = state
    query = select(journals.c.folder, journals.c.stem, segments)
    query = query.join(journals, journals.c.pk == segments.c.journal).where(journals.c.folder.in_(pks))
    for folder, stem, *facts in connection.execute(query):
        segment = SegmentState._make(verified(facts))
        by_pk[folder].segments[stem, segment.number] = segment
