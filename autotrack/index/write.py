"""One transaction's worth of new lines: folders, journals, runs, events and points, each table in one go."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from sqlalchemy import Connection, select

from autotrack.index.blocks import Block, blocks_of
from autotrack.index.bulk import in_groups, insert_rows, names_of, next_pk, update_rows
from autotrack.index.checks import checked, verified_run, with_check
from autotrack.index.chunks import ChunkWriter
from autotrack.index.fold import FOLDED, Fact, pack_body
from autotrack.index.known import FolderRow, FolderState, JournalState, Place, SegmentState
from autotrack.index.refold import Kinds, Touched, refold
from autotrack.index.schema import events, folders, journals, keys, runs, segments
from autotrack.index.unread import Part

_BOUND = 2**63
_EVENT_ROW = names_of(events, "pk")
_FOLDER_FACTS = names_of(folders, "pk", "project", "run")
_JOURNAL_FACTS = names_of(journals, "pk", "folder", "stem")
_SEGMENT_FACTS = names_of(segments, "journal", "number")


def write(
    connection: Connection, bundle: Mapping[Place, list[Part]], states: dict[tuple[str, str], FolderState]
) -> None:
    """Write parts that begin where the index has stopped; `states` are those folders that it knows."""
    work = [_Work(place, parts, states.get(place.key)) for place, parts in bundle.items()]
    _number_folders(connection, work)
    _Journals(connection).add(work)
    spoken = [one for one in work if one.has_lines]
    _find_runs(connection, spoken)
    _write_folders(connection, work)
    work = spoken
    facts, kinds = _add_events(connection, work)
    blocks = [block for one in work for block in one.blocks()]
    old_runs = {pk for one in work for pk in one.old_runs}
    key_rows = _find_keys(connection, {key for block in blocks for key in block.keys})
    written = ChunkWriter(connection, key_rows, old_runs).append(blocks)
    refold(connection, [one.touched() for one in work], facts, kinds, written)


@dataclass
class _Work:
    """One folder's parts; `clocks` has for each the row of its journal and what makes wall time of its clock."""

    place: Place
    parts: list[Part]
    known: FolderState | None
    state: FolderState = field(init=False)
    clocks: list[tuple[int, int]] = field(default_factory=list)
    run_rows: dict[str, int] = field(default_factory=dict)
    old_runs: set[int] = field(default_factory=set)

    @property
    def has_lines(self) -> bool:
        return any(part.batch.last_mono is not None for part in self.parts)

    def ids(self) -> set[str]:
        """The runs that the parts speak of."""
        found = {self.place.run}
        for part in self.parts:
            found.update(event.child for event in part.batch.events if event.child)
            found.update(group.child for group in part.batch.groups if group.child)
        return found

    def blocks(self) -> list[Block]:
        """The points."""
        rows: dict[str | None, int] = dict(self.run_rows.items())
        rows[None] = self.run_rows[self.place.run]
        batches = [
            (part.batch, journal, shift)
            for part, (journal, shift) in zip(self.parts, self.clocks, strict=True)
        ]
        return blocks_of(batches, rows)

    def touched(self) -> Touched:
        """What the summaries need to know of the folder."""
        return Touched(self.place, self.state, self.run_rows, self.old_runs)


def _number_folders(connection: Connection, work: list[_Work]) -> None:
    """Give new folders their numbers."""
    numbers = count(next_pk(connection, folders))
    for one in work:
        one.state = one.known or FolderState(FolderRow(next(numbers), *one.place.key))


def _write_folders(connection: Connection, work: list[_Work]) -> None:
    """Write new folders, and how many journals and runs each of them has now."""
    new: list[Any] = []
    changed: list[Any] = []
    for one in work:
        before = one.state.row
        runs = before.runs + len(one.run_rows) - len(one.old_runs)
        one.state.row = before._replace(journals=len(one.state.journals), runs=runs)
        row = with_check(one.state.row)
        if one.known is None:
            new.append(row)
        elif one.state.row != before:
            changed.append((*row[3:], row[0]))
    insert_rows(connection, folders, names_of(folders), new)
    update_rows(connection, folders, _FOLDER_FACTS, changed)


class _Journals:
    """Notes whose journals the parts are, and how far they were read."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._next = next_pk(connection, journals)
        self._new: dict[int, JournalState] = {}
        self._told: dict[int, JournalState] = {}
        self._segments: dict[tuple[int, int], SegmentState] = {}
        self._old: set[tuple[int, int]] = set()

    def add(self, work: list[_Work]) -> None:
        """Note all parts, and fill in the clocks."""
        for one in work:
            self._old |= {(row.journal, row.number) for row in one.state.segments.values()}
            one.clocks = [self._advance(one.state, part) for part in one.parts]
        rows: list[Any] = [with_check(row) for row in self._new.values()]
        insert_rows(self.connection, journals, names_of(journals), rows)
        rows = [(*with_check(row)[3:], row.pk) for row in self._told.values()]
        update_rows(self.connection, journals, _JOURNAL_FACTS, rows)
        new = [with_check(row) for name, row in self._segments.items() if name not in self._old]
        changed = [(*with_check(row)[2:], *name) for name, row in self._segments.items() if name in self._old]
        insert_rows(self.connection, segments, names_of(segments), new)
        update_rows(self.connection, segments, _SEGMENT_FACTS, changed, by=("journal", "number"))

    def _advance(self, state: FolderState, part: Part) -> tuple[int, int]:
        """Note how far a segment was read; its journal's row, and what to add to a monotonic time for wall
        time.
        """
        batch, header = part.batch, part.batch.header or {}
        journal = self._journal(state, part)
        name = part.segment.stem, part.segment.number
        row = state.segments.get(name)
        wall, mono = header.get("wall"), header.get("mono")
        if not (isinstance(wall, int) and isinstance(mono, int) and max(abs(wall), abs(mono)) < 2**61):
            wall, mono = (row.wall, row.mono) if row else (part.segment.started or 0, batch.first_mono or 0)
        shift = (wall or 0) - (mono or 0)
        last = row.last_wall if row else None
        if batch.last_mono is not None:
            last = max(batch.last_mono + shift, last or 0)
        known = row or SegmentState(journal, part.segment.number, 0, 0, 0, None, None, None, -1, None)
        new = known._replace(
            offset=batch.end,
            damaged=batch.damaged + known.damaged,
            unknown=batch.unknown + known.unknown,
            wall=wall,
            mono=mono,
            last_wall=last,
            last_seq=known.last_seq if batch.problem is not None else batch.last_seq,
            problem=batch.problem,
        )
        state.segments[name] = self._segments[journal, part.segment.number] = new
        return journal, shift

    def _journal(self, state: FolderState, part: Part) -> int:
        stem, header = part.segment.stem, part.batch.header or {}
        before = found = state.journals.get(stem)
        if found is None:
            found = JournalState(self._next, state.pk, stem, 0, **journal_facts(header, part))
            self._next += 1
            self._new[found.pk] = found
        elif found.host is None and header:
            found = found._replace(**journal_facts(header, part))
        if (stem, part.segment.number) not in state.segments:
            found = found._replace(segments=found.segments + 1)
        if found != before:
            (self._new if found.pk in self._new else self._told)[found.pk] = found
        state.journals[stem] = found
        return found.pk


def journal_facts(header: dict[str, Any], part: Part) -> dict[str, Any]:
    """The columns of a journal from its header; what a damaged header does not say stays unknown."""

    def whole(name: str) -> int | None:
        value = header.get(name)
        return value if isinstance(value, int) and -_BOUND <= value < _BOUND else None

    def text(name: str) -> str | None:
        value = header.get(name)
        return value if isinstance(value, str) else None

    rank = part.segment.stem.rpartition("-")[2]
    return {
        "role": text("role") or ("run" if part.batch.last_mono is not None else "unknown"),
        "rank": whole("rank") if header else (int(rank) if rank.isdecimal() else 0),
        "host": text("host"),
        "pid": whole("pid"),
        "pidns": text("pidns"),
        "boot": text("boot"),
        "started": whole("started"),
        "wall": whole("wall") or part.segment.started or 0,
    } | ({"rank": 0} if header and whole("rank") is None else {})


def _find_runs(connection: Connection, work: list[_Work]) -> None:
    """The rows of the runs that the parts speak of; new ones get their numbers, and are written when all is known."""
    start = next_pk(connection, runs)
    for one in work:
        ids = one.ids()
        for some in in_groups(ids if one.known else ()):
            query = select(runs).where(runs.c.folder == one.state.pk, runs.c.id.in_(some))
            one.run_rows.update((row.id, row.pk) for row in map(verified_run, connection.execute(query)))
        one.old_runs = set(one.run_rows.values())
        missing = sorted(ids - one.run_rows.keys())
        one.run_rows.update(zip(missing, range(start, start + len(missing)), strict=True))
        start += len(missing)


def _add_events(connection: Connection, work: list[_Work]) -> tuple[dict[int, list[Fact]], Kinds]:
    """Write the events; those that the rows of new runs are made of are returned, by run, and how many of each kind there were."""
    rows = []
    facts: dict[int, list[Fact]] = {}
    kinds: Kinds = {}
    for one in work:
        for part, (journal, shift) in zip(one.parts, one.clocks, strict=True):
            stem = part.segment.stem
            for event in part.batch.events:
                run = one.run_rows[event.child or one.place.run]
                wall = max(-_BOUND, min(event.mono + shift, _BOUND - 1))
                rows.append(with_check((run, journal, event.seq, wall, event.kind, pack_body(event.body))))
                own = kinds.setdefault(run, {})
                own[event.kind] = own.get(event.kind, 0) + 1
                if event.kind in FOLDED and run not in one.old_runs:
                    rank = one.state.journals[stem].rank
                    facts.setdefault(run, []).append(
                        Fact(wall, stem, event.seq, rank, event.kind, event.body)
                    )
    insert_rows(connection, events, _EVENT_ROW, rows)
    return facts, kinds


def _find_keys(connection: Connection, names: set[str]) -> dict[str, int]:
    """The rows of metric keys; new ones are written."""
    found: dict[str, int] = {}
    for some in in_groups(names):
        query = select(keys).where(keys.c.key.in_(some))
        found.update((key, pk) for pk, key in checked(connection.execute(query)))
    missing = sorted(names - found.keys())
    if missing:
        rows = list(enumerate(missing, next_pk(connection, keys)))
        insert_rows(connection, keys, names_of(keys), [with_check(row) for row in rows])
        found.update((key, pk) for pk, key in rows)
    return found
