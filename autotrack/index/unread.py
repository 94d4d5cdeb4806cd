"""What of a run's folder is not in the index yet."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, select

from autotrack.index.database import Database
from autotrack.index.schema import folders, journals, segments
from autotrack.journal.reader import Batch, read
from autotrack.journal.source import Segment, content_size, find_segments

BATCH_BYTES = 8 * 1024 * 1024


class Place(NamedTuple):
    """A run's folder."""

    path: Path
    project: str
    run: str


class Part(NamedTuple):
    """A batch of a segment, and the offset that it was read from."""

    segment: Segment
    start: int
    batch: Batch


class Overtaken(Exception):
    """Another process has brought the same lines in meanwhile."""


class Shrunk(Exception):
    """A journal is shorter than what was read of it: it was replaced."""


def new_parts(database: Database, place: Place) -> Iterator[Part]:
    with database.reading() as connection:
        known = _known_segments(connection, place)
    found, foreign = find_segments(place.path)
    if known.keys() - {(segment.stem, segment.number) for segment in found}:
        raise Shrunk
    for name in foreign:
        segment = Segment(f"{name}.0", place.path / name, None)
        if (segment.stem, 0) not in known:
            yield Part(segment, 0, Batch(0, problem=f"{name} is not named like a journal"))
    for segment in found:
        offset, last_seq, problem = known.get((segment.stem, segment.number), (0, -1, None))
        size = _size(segment)
        if size < offset:
            raise Shrunk
        if size == offset and (segment.stem, segment.number) in known:
            continue
        try:
            for batch in read(segment, offset, last_seq):
                if batch.problem is None or batch.problem != problem or batch.end != offset:
                    yield Part(segment, offset, batch)
                offset = batch.end
        except FileNotFoundError:
            # Sealed by another process between the listing and the opening: looked at again next time.
            raise Overtaken from None
        except OSError as error:
            yield Part(
                segment,
                offset,
                Batch(offset, problem=f"{segment.path.name} cannot be read: {error.strerror}"),
            )


def _size(segment: Segment) -> int:
    try:
        return content_size(segment)
    except FileNotFoundError:
        raise Overtaken from None
    except OSError:
        return 2**62


def _known_segments(
    connection: Connection, place: Place
) -> dict[tuple[str, int], tuple[int, int, str | None]]:
    query = (
        select(journals.c.stem, segments.c.number, segments.c.offset, segments.c.last_seq, segments.c.problem)
        .join(journals, journals.c.pk == segments.c.journal)
        .join(folders, folders.c.pk == journals.c.folder)
        .where(folders.c.project == place.project, folders.c.run == place.run)
    )
    rows = connection.execute(query)
    return {(row.stem, row.number): (row.offset, row.last_seq, row.problem) for row in rows}


def in_bundles(parts: Iterator[Part]) -> Iterator[list[Part]]:
    """Parts for one transaction each: all of a small run together, big ones in pieces."""
    bundle: list[Part] = []
    size = 0
    for part in parts:
        bundle.append(part)
        size += part.batch.end - part.start
        if size >= BATCH_BYTES:
            yield bundle
            bundle, size = [], 0
    if bundle:
        yield bundle


def folder_mtime(path: Path) -> int:
    """When a folder last gained or lost a file, in nanoseconds; 0 for the last two seconds, whose clock is
    too coarse.
    """
    mtime = os.stat(path).st_mtime_ns
    return 0 if abs(time.time_ns() - mtime) < 2_000_000_000 else mtime
