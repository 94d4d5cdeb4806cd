"""New metric lines of a run, read from its journals by byte offset."""

from pathlib import Path
from typing import NamedTuple

from autotrack.journal.reader import Batch, Group, read
from autotrack.journal.source import Segment, find_segments


class Line(NamedTuple):
    """One metric line: `wall` in Unix seconds."""

    wall: float
    seq: int
    step: int
    values: dict[str, float]


class _Place(NamedTuple):
    offset: int
    seq: int
    wall: int
    mono: int


class Feed:
    """Reads what was added to a run's journals since the last call."""

    def __init__(self, folder: Path, run: str) -> None:
        self.folder = folder
        self.child = None if folder.name == run else run
        self._places: dict[str, _Place] = {}

    def read(self, keep: int | None = None) -> list[Line]:
        """The new lines in the order of the clock; `keep`: at most about so many, the last ones."""
        lines: list[Line] = []
        for segment in find_segments(self.folder)[0]:
            lines += self._segment(segment, keep)
        lines.sort(key=lambda line: (line.wall, line.seq))
        return lines if keep is None else lines[len(lines) - min(keep, len(lines)) :]

    def _segment(self, segment: Segment, keep: int | None) -> list[Line]:
        place = self._places.get(segment.name, _Place(0, -1, 0, 0))
        lines: list[Line] = []
        for batch in read(segment, place.offset, place.seq):
            if batch.problem:
                break
            place = _after(place, batch)
            for group in batch.groups:
                if group.child == self.child and group.steps is not None:
                    lines += _lines(group, place, keep)
            if keep is not None:
                lines = sorted(lines, key=lambda line: line.seq)[-keep or len(lines) :]
        self._places[segment.name] = place
        return lines


def _after(place: _Place, batch: Batch) -> _Place:
    wall, mono = place.wall, place.mono
    if batch.header is not None and not wall:
        wall, mono = int(batch.header.get("wall") or 0), int(batch.header.get("mono") or 0)
    return _Place(batch.end, batch.last_seq, wall, mono)


def _lines(group: Group, place: _Place, keep: int | None) -> list[Line]:
    start = 0 if keep is None else max(len(group.seqs) - keep, 0)
    steps = group.steps
    if steps is None:
        return []
    walls = (place.wall + (group.monos[start:] - place.mono)) / 1e9
    return [
        Line(wall, seq, step, dict(zip(group.keys, row, strict=True)))
        for wall, seq, step, row in zip(
            walls.tolist(),
            group.seqs[start:].tolist(),
            steps[start:].tolist(),
            group.values[start:].tolist(),
            strict=True,
        )
    ]
