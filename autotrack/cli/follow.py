"""New metric lines of a run, read from its journals by byte offset."""

import heapq
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from autotrack.cli.output import matches
from autotrack.journal.format import SEALED_SUFFIX
from autotrack.journal.reader import Batch, Group, read
from autotrack.journal.source import Segment, find_segments

_HEAD = 64 * 1024
_WINDOW = 64 * 1024
_WIDER = 8


class Line(NamedTuple):
    """One metric line: `wall` in Unix seconds."""

    wall: float
    seq: int
    step: int
    values: dict[str, float]


class _Place(NamedTuple):
    offset: int = 0
    seq: int = -1
    wall: int = 0
    mono: int = 0


class Feed:
    """The metric lines of a run, in the order of the clock: the last ones that are there, then those that are added.

    `patterns`: only values whose keys are like one of these, and lines that have any.
    """

    def __init__(self, folder: Path, run: str, patterns: Sequence[str] = ()) -> None:
        self.folder = folder
        self.child = None if folder.name == run else run
        self.patterns = patterns
        self._places: dict[str, _Place] = {}
        self._sealed: set[str] = set()

    def last(self, count: int) -> list[Line]:
        """The last lines that are there, at most so many; journals are read from their ends, as far as that takes."""
        lines: list[Line] = []
        for segments in self._journals():
            found: list[Line] = []
            for segment in reversed(segments):
                found = self._end_of(segment, count - len(found)) + found
            lines += found
        lines.sort(key=_clock)
        return lines[len(lines) - min(count, len(lines)) :]

    def new(self) -> Iterator[Line]:
        """The lines that were added since; those of one block of each journal are in memory at a time."""
        return heapq.merge(*map(self._added, self._journals()), key=_clock)

    def _journals(self) -> list[list[Segment]]:
        """The segments that may hold anything new, of each journal in order."""
        found: dict[str, list[Segment]] = {}
        for segment in find_segments(self.folder)[0]:
            if segment.name not in self._sealed:
                found.setdefault(segment.stem, []).append(segment)
        return list(found.values())

    def _added(self, segments: Iterable[Segment]) -> Iterator[Line]:
        for segment in segments:
            place = self._places.get(segment.name, _Place())
            for batch in self._read(segment, place):
                place = self._places[segment.name] = _after(place, batch)
                yield from self._lines(batch, place)

    def _read(self, segment: Segment, place: _Place) -> Iterator[Batch]:
        """The whole lines behind a place."""
        if segment.plain is not None and not segment.plain.exists():  # sealed since the folder was listed
            segment = Segment(segment.name, None, self.folder / f"{segment.name}{SEALED_SUFFIX}")
        for batch in read(segment, place.offset, place.seq):
            if batch.problem:
                return
            yield batch
        if segment.sealed is not None:
            self._sealed.add(segment.name)

    def _end_of(self, segment: Segment, count: int) -> list[Line]:
        """The last lines of a segment; what is added to it later is new."""
        if segment.plain is None and not count:
            self._sealed.add(segment.name)
            return []
        if segment.plain is None or segment.sealed is not None:
            return self._last_behind(segment, _Place(), count)
        head = next(read(segment, size=_HEAD), None)
        if head is None or head.problem:
            return []
        begin = _after(_Place(), head)
        size, window = os.stat(segment.plain).st_size, _WINDOW
        while size - window > begin.offset:
            # It begins within a line, which is left out.
            lines = self._last_behind(segment, begin._replace(offset=size - window), count)
            if len(lines) >= count and segment.name in self._places:
                return lines
            window *= _WIDER
        return self._last_behind(segment, _Place(), count)

    def _last_behind(self, segment: Segment, place: _Place, count: int) -> list[Line]:
        lines = deque[Line](maxlen=count)
        for batch in self._read(segment, place):
            place = self._places[segment.name] = _after(place, batch)
            lines.extend(self._lines(batch, place, count))
        return list(lines)

    def _lines(self, batch: Batch, place: _Place, most: int | None = None) -> list[Line]:
        """The lines of a batch; of those with the same keys only the last `most`."""
        lines: list[Line] = []
        for group in batch.groups:
            columns = [number for number, key in enumerate(group.keys) if matches(key, self.patterns)]
            if group.child == self.child and columns:
                lines += _lines(group, columns, place, most)
        return sorted(lines, key=_clock)


def _clock(line: Line) -> tuple[float, int]:
    return line.wall, line.seq


def _after(place: _Place, batch: Batch) -> _Place:
    wall, mono = place.wall, place.mono
    if batch.header is not None and not wall:
        wall, mono = int(batch.header.get("wall") or 0), int(batch.header.get("mono") or 0)
    return _Place(batch.end, batch.last_seq, wall, mono)


def _lines(group: Group, columns: list[int], place: _Place, most: int | None) -> list[Line]:
    if group.steps is None:
        return []
    start = 0 if most is None else max(len(group.seqs) - most, 0)
    keys = [group.keys[column] for column in columns]
    walls = (place.wall + (group.monos[start:] - place.mono)) / 1e9
    return [
        Line(wall, seq, step, dict(zip(keys, row, strict=True)))
        for wall, seq, step, row in zip(
            walls.tolist(),
            group.seqs[start:].tolist(),
            group.steps[start:].tolist(),
            group.values[start:, columns].tolist(),
            strict=True,
        )
    ]
