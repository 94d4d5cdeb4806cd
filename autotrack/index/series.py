"""Arrays of a series: how they become bytes, in which order points stand, what a chunk amounts to, how many
are shown.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from autotrack.index.schema import Broken
from autotrack.journal.reader import Floats, Ints

CHUNK = 4096
_SMALL = 64
_RAW, _PACKED = b"r", b"z"


@dataclass
class Points:
    """Points of one key from one journal: `steps` is None for system samples, `times` are Unix microseconds."""

    seqs: Ints
    steps: Ints | None
    times: Ints
    values: Floats

    def __len__(self) -> int:
        return len(self.values)

    def cut(self, start: int, end: int) -> "Points":
        """The points from one place to another, in the order they stand in."""
        steps = None if self.steps is None else self.steps[start:end]
        return Points(self.seqs[start:end], steps, self.times[start:end], self.values[start:end])

    def take(self, places: npt.NDArray[Any]) -> "Points":
        """The points at some places, or where a mask is true."""
        steps = None if self.steps is None else self.steps[places]
        return Points(self.seqs[places], steps, self.times[places], self.values[places])


def join(parts: list[Points]) -> Points:
    """Several stretches of points as one."""
    if len(parts) == 1:
        return parts[0]
    steps = [part.steps for part in parts if part.steps is not None]
    return Points(
        np.concatenate([part.seqs for part in parts]),
        np.concatenate(steps) if len(steps) == len(parts) else None,
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


@cache
def _compressor() -> Any:
    return zstandard.ZstdCompressor(level=3, write_checksum=True)


def pack_ints(array: Ints) -> bytes:
    """64-bit integers as bytes: differences to the one before, byte-shuffled, zstd; few of them as they are."""
    if len(array) <= _SMALL:
        return _RAW + array.astype("<i8").tobytes()
    steps = np.empty_like(array)
    steps[0] = array[0]
    np.subtract(array[1:], array[:-1], out=steps[1:])
    return _PACKED + _shuffled(steps.astype("<i8", copy=False))


def unpack_ints(data: bytes) -> Ints:
    """The inverse of `pack_ints`."""
    if data[:1] == _RAW:
        return np.frombuffer(data, "<i8", offset=1).astype(np.int64)
    return np.cumsum(_unshuffled(data).view("<i8"), dtype=np.int64)


def pack_floats(array: Floats) -> bytes:
    """64-bit floats as bytes: byte-shuffled, zstd; few of them as they are."""
    if len(array) <= _SMALL:
        return _RAW + array.astype("<f8").tobytes()
    return _PACKED + _shuffled(array.astype("<f8", copy=False))


def unpack_floats(data: bytes) -> Floats:
    """The inverse of `pack_floats`."""
    if data[:1] == _RAW:
        return np.frombuffer(data, "<f8", offset=1).astype(np.float64)
    return _unshuffled(data).view("<f8").astype(np.float64)


def _shuffled(array: npt.NDArray[Any]) -> bytes:
    planes = np.ascontiguousarray(np.ascontiguousarray(array).view(np.uint8).reshape(-1, 8).T)
    return bytes(_compressor().compress(planes.data))


def _unshuffled(data: bytes) -> npt.NDArray[np.uint8]:
    try:
        plain = zstandard.ZstdDecompressor().decompress(memoryview(data)[1:])
    except zstandard.ZstdError as error:
        raise Broken(f"a chunk of a series is damaged: {error}") from error
    return np.ascontiguousarray(np.frombuffer(plain, np.uint8).reshape(8, -1).T).reshape(-1)


def chunk_facts(points: Points) -> dict[str, Any]:
    """The summary columns of one chunk; first and last are those of the lowest and highest sequence number."""
    values, seqs = points.values, points.seqs
    ordered = bool(seqs[-1] - seqs[0] == len(seqs) - 1) or bool(np.all(seqs[1:] > seqs[:-1]))
    first, last = (0, len(seqs) - 1) if ordered else (int(seqs.argmin()), int(seqs.argmax()))
    finite = np.isfinite(values)
    whole = bool(finite.all())
    good = values if whole else values[finite]
    facts: dict[str, Any] = {
        "count": len(values),
        "nonfinite": len(values) - len(good),
        "sum": float(good.sum()) if len(good) else 0.0,
        "first_seq": int(seqs[first]),
        "last_seq": int(seqs[last]),
        "first_time": int(points.times[first]),
        "last_time": int(points.times.max()),
        "first": _number(values[first]),
        "last": _number(values[last]),
        "first_step": _step(points, first),
        "last_step": _step(points, last),
        "min": None,
        "min_step": None,
        "max": None,
        "max_step": None,
    }
    if len(good):
        low = int((values if whole else np.where(finite, values, np.inf)).argmin())
        high = int((values if whole else np.where(finite, values, -np.inf)).argmax())
        facts |= {"min": float(values[low]), "min_step": _step(points, low)}
        facts |= {"max": float(values[high]), "max_step": _step(points, high)}
    return facts


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _step(points: Points, place: int) -> int | None:
    return None if points.steps is None else int(points.steps[place])


def ordered(points: Points) -> Points:
    """Points of one journal by sequence number."""
    if len(points) < 2 or bool(np.all(points.seqs[1:] > points.seqs[:-1])):
        return points
    return points.take(np.argsort(points.seqs, kind="stable"))


def thin_out(values: Floats, limit: int) -> npt.NDArray[np.int64]:
    """Places of at most `limit` points that keep the first, the last, and the lowest and highest of each
    stretch.

    NaN keeps a place of its own in each stretch that has one, so that it does not vanish from a picture.
    """
    count = len(values)
    if limit < 1:
        raise ValueError(f"max_points is {limit}, and must be at least 1.")
    if count <= limit:
        return np.arange(count)
    if limit < 3:
        return np.array([count - 1] if limit == 1 else [0, count - 1], np.int64)
    missing = np.isnan(values)
    some_missing = bool(missing.any())
    stretches = (limit - 2) // (3 if some_missing else 2)
    keep = {0, count - 1}
    if stretches == 0:
        keep.add(int(np.argmax(missing)) if some_missing else 1 + int(np.argmax(np.abs(values[1:-1]))))
    edges = np.linspace(1, count - 1, stretches + 1).astype(np.int64) if stretches else np.zeros(0, np.int64)
    low = np.where(missing, np.inf, values) if some_missing else values
    high = np.where(missing, -np.inf, values) if some_missing else values
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if end > start:
            keep.add(start + int(low[start:end].argmin()))
            keep.add(start + int(high[start:end].argmax()))
            if some_missing and missing[start:end].any():
                keep.add(start + int(missing[start:end].argmax()))
    return np.array(sorted(keep), np.int64)
