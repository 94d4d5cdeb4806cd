"""What of a run's folder is not in the index yet."""

from collections.abc import Iterator
from typing import NamedTuple

from autotrack.index.known import FolderState, Place
from autotrack.journal.reader import Batch, read
from autotrack.journal.source import Segment, content_size, find_segments, left_out


class Part(NamedTuple):
    """A batch of a segment, the offset that it was read from, and how much of the folder has been looked at with it, up to 1."""

    segment: Segment
    start: int
    batch: Batch
    share: float


class Overtaken(Exception):
    """Another process has brought the same lines in meanwhile."""


class Shrunk(Exception):
    """A journal is shorter than what was read of it: it was replaced."""


def new_parts(place: Place, state: FolderState | None) -> Iterator[Part]:
    """The batches of a folder that the index, as `state` says, does not hold; not what is written while they are read, so that
    a look at a run that is written as fast as it is read comes to an end.
    """
    known = {} if state is None else state.segments
    found, foreign = find_segments(place.path)
    strangers = [Segment(f"{name}.0", place.path / name, None) for name in foreign]
    there = {(segment.stem, segment.number) for segment in [*found, *strangers]}
    if known.keys() - there:
        raise Shrunk
    for segment in strangers:
        if (segment.stem, 0) not in known:
            batch = Batch(0, problem=f"{segment.stem} {left_out(place.path / segment.stem)}")
            yield Part(segment, 0, batch, 0.0)
    for number, segment in enumerate(found):
        before = known.get((segment.stem, segment.number))
        offset, last_seq, problem = (
            (before.offset, before.last_seq, before.problem) if before else (0, -1, None)
        )
        size = _size(segment)
        if size < offset:
            raise Shrunk
        if size == offset and before:
            continue
        end = 2**62 if segment.plain is None else size
        for start, batch in _new_batches(segment, offset, end, last_seq, problem):
            share = (number + min(batch.end / max(size, 1), 1.0)) / len(found)
            yield Part(segment, start, batch, share)


def _new_batches(
    segment: Segment, offset: int, end: int, last_seq: int, problem: str | None
) -> Iterator[tuple[int, Batch]]:
    """The batches from an offset on, each with its own, as far as to the one in which `end` lies."""
    try:
        for batch in read(segment, offset, last_seq):
            if batch.problem is None or batch.problem != problem or batch.end != offset:
                yield offset, batch
            offset = batch.end
            if offset >= end:
                return
    except FileNotFoundError:
        # Sealed by another process between the listing and the opening: looked at again next time.
        raise Overtaken from None
    except OSError as error:
        text = f"{segment.path.name} cannot be read: {error.strerror}"
        if text != problem:
            yield offset, Batch(offset, problem=text, last_seq=last_seq)


def _size(segment: Segment) -> int:
    try:
        return content_size(segment)
    except FileNotFoundError:
        raise Overtaken from None
    except OSError:
        return 2**62
