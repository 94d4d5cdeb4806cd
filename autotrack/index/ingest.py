"""Brings one run folder's journals into the index, from where the last reading stopped."""

from typing import Any

import numpy as np
from sqlalchemy import Connection, delete, select

from autotrack.index import chunks as chunk_rows
from autotrack.index.chunks import Line, in_groups
from autotrack.index.database import Database
from autotrack.index.fold import pack_body
from autotrack.index.refold import refold
from autotrack.index.schema import (
    chunks,
    config_values,
    events,
    folders,
    journals,
    keys,
    metrics,
    runs,
    segments,
    tags,
)
from autotrack.index.series import Points, join
from autotrack.index.unread import Overtaken, Part, Place, Shrunk, in_bundles, new_parts
from autotrack.journal.format import spell
from autotrack.journal.reader import Batch, Ints

_TRIES = 20


def ingest(database: Database, place: Place) -> bool:
    """Bring in everything new in a run's folder, safe while other processes do the same. Whether there was
    anything.
    """
    changed = False
    for _ in range(_TRIES):
        try:
            for parts in in_bundles(new_parts(database, place)):
                with database.writing() as connection:
                    Ingest(connection, place).apply(parts)
                changed = True
            return changed
        except Overtaken:
            changed = True
        except Shrunk:
            with database.writing() as connection:
                forget(connection, place.project, place.run)
    return changed


def forget(connection: Connection, project: str, run: str) -> None:
    """Remove a folder and everything that came from it."""
    folder = connection.scalar(select(folders.c.pk).where(folders.c.project == project, folders.c.run == run))
    if folder is None:
        return
    own_runs = select(runs.c.pk).where(runs.c.folder == folder)
    own_journals = select(journals.c.pk).where(journals.c.folder == folder)
    for table in (events, chunks, metrics, tags, config_values):
        connection.execute(delete(table).where(table.c.run.in_(own_runs)))
    connection.execute(delete(segments).where(segments.c.journal.in_(own_journals)))
    connection.execute(delete(runs).where(runs.c.folder == folder))
    connection.execute(delete(journals).where(journals.c.folder == folder))
    connection.execute(delete(folders).where(folders.c.pk == folder))


class Ingest:
    """One transaction's worth of one folder."""

    def __init__(self, connection: Connection, place: Place) -> None:
        self.connection = connection
        self.place = place
        self.fresh = False
        self.folder = self._folder()
        self.run_rows: dict[str, int] = {}
        self.old_runs: set[int] = set()

    def apply(self, parts: list[Part]) -> None:
        """Write the parts; Overtaken when the index has moved since they were read."""
        clocks = [self._advance(part) for part in parts]
        ids = {self.place.run}
        for part in parts:
            ids.update(event.child for event in part.batch.events if event.child)
            ids.update(group.child for group in part.batch.groups if group.child)
        if any(part.batch.last_mono is not None for part in parts):
            self._find_runs(ids)
            self._add_events(parts, clocks)
            written = self._add_points(parts, clocks)
            refold(
                self.connection,
                self.folder,
                self.place.project,
                self.place.run,
                self.run_rows,
                written,
                self.old_runs,
            )

    def _folder(self) -> int:
        query = select(folders.c.pk).where(
            folders.c.project == self.place.project, folders.c.run == self.place.run
        )
        found = self.connection.scalar(query)
        if found is not None:
            return int(found)
        self.fresh = True
        row = {
            "project": self.place.project,
            "run": self.place.run,
            "mtime": 0,
            "settled": False,
            "sealed": False,
        }
        return _inserted(self.connection, folders, row)

    def _advance(self, part: Part) -> tuple[int, int]:
        """Note how far a segment was read; its journal's row, and what to add to a monotonic time for wall
        time.
        """
        batch, header = part.batch, part.batch.header or {}
        journal = self._journal(part)
        here = (segments.c.journal == journal) & (segments.c.number == part.segment.number)
        row = self.connection.execute(select(segments).where(here)).mappings().one_or_none()
        if (row["offset"] if row else 0) != part.start:
            raise Overtaken
        wall, mono = header.get("wall"), header.get("mono")
        if not (isinstance(wall, int) and isinstance(mono, int) and max(abs(wall), abs(mono)) < 2**61):
            wall, mono = (
                (row["wall"], row["mono"]) if row else (part.segment.started or 0, batch.first_mono or 0)
            )
        shift = wall - mono
        last = row["last_wall"] if row else None
        if batch.last_mono is not None:
            last = max(batch.last_mono + shift, last or 0)
        values = {
            "offset": batch.end,
            "damaged": batch.damaged + (row["damaged"] if row else 0),
            "unknown": batch.unknown + (row["unknown"] if row else 0),
            "wall": wall,
            "mono": mono,
            "last_wall": last,
            "last_seq": batch.last_seq,
            "problem": batch.problem,
        }
        if row:
            self.connection.execute(segments.update().where(here).values(values))
        else:
            self.connection.execute(
                segments.insert().values(journal=journal, number=part.segment.number, **values)
            )
        return journal, shift

    def _journal(self, part: Part) -> int:
        stem, header = part.segment.stem, part.batch.header or {}
        query = select(journals.c.pk, journals.c.host).where(
            journals.c.folder == self.folder, journals.c.stem == stem
        )
        found = self.connection.execute(query).one_or_none()
        facts = journal_facts(header, part)
        if found is None:
            return _inserted(self.connection, journals, {"folder": self.folder, "stem": stem, **facts})
        if found.host is None and header:
            self.connection.execute(journals.update().where(journals.c.pk == found.pk).values(facts))
        return int(found.pk)

    def _find_runs(self, ids: set[str]) -> None:
        for some in in_groups(() if self.fresh else ids):
            query = select(runs.c.id, runs.c.pk).where(runs.c.folder == self.folder, runs.c.id.in_(some))
            self.run_rows.update({row.id: row.pk for row in self.connection.execute(query)})
        self.old_runs = set(self.run_rows.values())
        missing = sorted(ids - self.run_rows.keys())
        if not missing:
            return
        start = (self.connection.scalar(select(runs.c.pk).order_by(runs.c.pk.desc()).limit(1)) or 0) + 1
        rows = [
            {**_BLANK, "pk": start + place, "folder": self.folder, "id": id}
            for place, id in enumerate(missing)
        ]
        for row in rows:
            row["root"], row["project"] = row["id"] == self.place.run, self.place.project
        self.connection.execute(runs.insert(), rows)
        self.run_rows.update({row["id"]: row["pk"] for row in rows})

    def _add_events(self, parts: list[Part], clocks: list[tuple[int, int]]) -> None:
        rows = [
            {
                "run": self.run_rows[event.child or self.place.run],
                "journal": journal,
                "seq": event.seq,
                "wall": _bounded(event.mono + shift),
                "kind": event.kind,
                "body": pack_body(spell(event.body)),
            }
            for part, (journal, shift) in zip(parts, clocks, strict=True)
            for event in part.batch.events
        ]
        if rows:
            self.connection.execute(events.insert(), rows)

    def _add_points(
        self, parts: list[Part], clocks: list[tuple[int, int]]
    ) -> dict[Line, list[dict[str, Any]]]:
        names = {key for part in parts for group in part.batch.groups for key in group.keys}
        key_rows = self._find_keys(names)
        lines: dict[Line, list[Points]] = {}
        for part, (journal, shift) in zip(parts, clocks, strict=True):
            for (child, key, sampled), points in _by_key(part.batch, shift).items():
                line = Line(self.run_rows[child or self.place.run], key_rows[key], journal, sampled)
                lines.setdefault(line, []).append(points)
        joined = {line: join(stretches) for line, stretches in lines.items()}
        return chunk_rows.append(self.connection, joined, self.old_runs)

    def _find_keys(self, names: set[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for some in in_groups(names):
            query = select(keys.c.key, keys.c.pk).where(keys.c.key.in_(some))
            found.update({row.key: row.pk for row in self.connection.execute(query)})
        missing = sorted(names - found.keys())
        if missing:
            start = (self.connection.scalar(select(keys.c.pk).order_by(keys.c.pk.desc()).limit(1)) or 0) + 1
            rows = [{"pk": start + place, "key": key} for place, key in enumerate(missing)]
            self.connection.execute(keys.insert(), rows)
            found.update({str(row["key"]): int(str(row["pk"])) for row in rows})
        return found


_BLANK: dict[str, Any] = {
    "shown": False,
    "name": "",
    "status": "running",
    "notes": "",
    "tags": "[]",
    "archived": False,
    "created": 0,
    "duration": 0.0,
    "attempts": 1,
    "last_wall": 0,
    "config": b"{}",
}


def journal_facts(header: dict[str, Any], part: Part) -> dict[str, Any]:
    """The columns of a journal from its header; what a damaged header does not say stays unknown."""

    def whole(name: str) -> int | None:
        value = header.get(name)
        return value if isinstance(value, int) and -(2**63) <= value < 2**63 else None

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


def _by_key(batch: Batch, shift: int) -> dict[tuple[str | None, str, bool], Points]:
    """The batch's points by child run and key, in the order of the lines."""
    found: dict[tuple[str | None, str, bool], list[tuple[Ints, Points]]] = {}
    for group in batch.groups:
        times = (group.monos + shift) // 1000
        columns = np.ascontiguousarray(group.values.T)
        for column, key in zip(columns, group.keys, strict=True):
            points = Points(group.seqs, group.steps, times, column)
            found.setdefault((group.child, key, group.steps is None), []).append((group.places, points))
    series = {}
    for name, stretches in found.items():
        points = join([stretch for _, stretch in stretches])
        if len(stretches) > 1:
            points = points.take(
                np.argsort(np.concatenate([places for places, _ in stretches]), kind="stable")
            )
        series[name] = points
    return series


def _bounded(wall: int) -> int:
    return max(-(2**63), min(wall, 2**63 - 1))


def _inserted(connection: Connection, table: Any, row: dict[str, Any]) -> int:
    result = connection.execute(table.insert().values(row))
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])
