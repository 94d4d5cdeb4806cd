"""Arrays of a series: how they become bytes, what a chunk of them amounts to, how many are shown."""

import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from autotrack.index.blocks import Axis, Late
from autotrack.index.schema import Broken
from autotrack.journal.reader import Floats, Ints

CHUNK = 4096
_SMALL = 64
LONGEST_PLAIN = 1 + 8 * _SMALL
"""Bytes of what is not compressed, at most."""
_RAW, _PACKED, _EVEN, _SINGLE, _CHANGES = b"r", b"z", b"e", b"s", b"d"
_local = threading.local()


class Points(Axis):
    """Points of one key from one journal."""

    def __init__(self, seqs: Ints, steps: Ints | None, times: Ints | Late[Ints], values: Floats) -> None:
        super().__init__(seqs, steps, times)
        self.values = values

    def take(self, places: npt.NDArray[Any] | slice) -> "Points":
        """The points at some places, or where a mask is true."""
        steps = None if self.steps is None else self.steps[places]
        times = self.late_times
        return Points(self.seqs[places], steps, Late(lambda: times()[places]), self.values[places])


def join(parts: list[Points]) -> Points:
    """Several stretches of points as one."""
    if len(parts) == 1:
        return parts[0]
    steps = [part.steps for part in parts if part.steps is not None]
    times = [part.late_times for part in parts]
    return Points(
        np.concatenate([part.seqs for part in parts]),
        np.concatenate(steps) if len(steps) == len(parts) else None,
        Late(lambda: np.concatenate([part() for part in times])),
        np.concatenate([part.values for part in parts]),
    )


def ordered(points: Points) -> Points:
    """Points of one journal by sequence number."""
    if len(points) < 2 or bool(np.all(points.seqs[1:] > points.seqs[:-1])):
        return points
    return points.take(np.argsort(points.seqs, kind="stable"))


def pack_ints(array: Ints) -> bytes:
    """64-bit integers as bytes: evenly spaced ones as first, distance and count; few as they are; others as differences
    to the one before, byte-shuffled, zstd.
    """
    count = len(array)
    distances = array[1:] - array[:-1]
    if count > 2 and bool((distances == distances[0]).all()):
        return _EVEN + np.array([array[0], distances[0], count], "<i8").tobytes()
    if count <= _SMALL:
        return _RAW + array.astype("<i8", copy=False).tobytes()
    return _PACKED + _shuffled(np.concatenate([array[:1], distances]).astype("<i8", copy=False))


def unpack_ints(data: bytes) -> Ints:
    """The inverse of `pack_ints`."""
    return unpack_ints_late(data)()


def unpack_ints_late(data: bytes) -> Late[Ints]:
    """What gives the integers; that the bytes are sound is found out now."""
    kind = data[:1]
    if kind == _PACKED:
        planes = _planes(data)
        return Late(lambda: np.cumsum(_in_a_row(planes).view("<i8"), dtype=np.int64))
    if kind not in (_EVEN, _RAW) or len(data) % 8 != 1 or (kind == _EVEN and len(data) != 25):
        raise Broken("a row of the index is damaged")
    return Late(lambda: _few_ints(kind, data))


def _few_ints(kind: bytes, data: bytes) -> Ints:
    if kind == _EVEN:
        first, distance, count = np.frombuffer(data, "<i8", offset=1).tolist()
        if distance == 1 and abs(first) < 2**62:
            return np.arange(first, first + count, dtype=np.int64)
        even: Ints = np.arange(count, dtype=np.int64) * distance + first
        return even
    return np.frombuffer(data, "<i8", offset=1).astype(np.int64)


def pack_floats(array: Floats) -> bytes:
    """64-bit floats as bytes, each of them exact: few as they are; those that single precision holds in that; others as they
    are or as the changes of their bits, whichever takes less; all but few byte-shuffled, zstd.
    """
    doubles = array.astype("<f8", copy=False)
    if len(array) <= _SMALL:
        return _RAW + doubles.tobytes()
    bits = np.ascontiguousarray(doubles).view("<i8")
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        singles = doubles.astype("<f4")
    if bool((singles.astype("<f8").view("<i8") == bits).all()):
        return _SINGLE + _shuffled(singles)
    changes = np.concatenate([bits[:1], bits[1:] - bits[:-1]])
    return min(_PACKED + _shuffled(bits), _CHANGES + _shuffled(changes), key=len)


def pack_rows(values: Floats) -> list[bytes]:
    """Each row of a matrix as `pack_floats` gives it."""
    if values.shape[1] > _SMALL:
        return [pack_floats(row) for row in values]
    data, width = values.astype("<f8", copy=False).tobytes(), 8 * values.shape[1]
    return [_RAW + data[start : start + width] for start in range(0, len(data), width)]


def unpack_floats(data: bytes) -> Floats:
    """The inverse of `pack_floats`."""
    kind = data[:1]
    if kind == _RAW:
        return np.frombuffer(data, "<f8", offset=1).astype(np.float64)
    if kind == _SINGLE:
        return _unshuffled(data, 4).view("<f4").astype(np.float64)
    if kind == _CHANGES:
        bits = np.cumsum(_unshuffled(data).view("<i8"), dtype="<i8")
        return bits.view("<f8").astype(np.float64, copy=False)
    return _unshuffled(data).view("<f8").astype(np.float64, copy=False)


def compress(data: Any) -> bytes:
    """One zstd frame, with a checksum; zstd's contexts are made once a thread."""
    if not hasattr(_local, "compressor"):
        _local.compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
    return bytes(_local.compressor.compress(data))


def decompress(data: Any) -> bytes:
    """The inverse of `compress`; Broken when it is damaged."""
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    try:
        return bytes(_local.decompressor.decompress(data))
    except zstandard.ZstdError as error:
        raise Broken(f"a row of the index is damaged: {error}") from error


def _shuffled(array: npt.NDArray[Any]) -> bytes:
    bytes_of_each = np.ascontiguousarray(array).view(np.uint8).reshape(-1, array.itemsize)
    return compress(np.ascontiguousarray(bytes_of_each.T).data)


def _unshuffled(data: bytes, width: int = 8) -> npt.NDArray[np.uint8]:
    return _in_a_row(_planes(data, width))


def _planes(data: bytes, width: int = 8) -> npt.NDArray[np.uint8]:
    return np.frombuffer(decompress(memoryview(data)[1:]), np.uint8).reshape(width, -1)


def _in_a_row(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    width = len(planes)
    plain = np.empty((planes.shape[1], width), np.uint8)
    for place, plane in enumerate(planes):  # twice as fast as a copy of the transposed matrix
        plain[:, place] = plane
    return plain.reshape(-1)


def stretches_of(limit: int, missing: bool) -> int:
    """How many stretches keep their lowest and highest (and, with `missing`, one NaN) within a limit on the points."""
    return (limit - 2) // (3 if missing else 2)


def thin_out(values: Floats, limit: int) -> npt.NDArray[np.int64]:
    """Places of at most `limit` points that keep the first, the last, and the lowest and highest of each
    stretch.

    NaN keeps a place of its own in each stretch that has one, so that it does not vanish from a picture.
    """
    count = len(values)
    check_limit(limit)
    if count <= limit:
        return np.arange(count)
    if limit < 3:
        return np.array([count - 1] if limit == 1 else [0, count - 1], np.int64)
    missing = np.isnan(values)
    some_missing = bool(missing.any())
    stretches = stretches_of(limit, some_missing)
    keep = [np.array([0, count - 1], np.int64)]
    if stretches == 0:
        keep.append(_odd_one(values, missing, some_missing))
    else:
        keep.append(
            _by_stretch(np.where(missing, np.inf, values) if some_missing else values, np.argmin, stretches)
        )
        keep.append(
            _by_stretch(np.where(missing, -np.inf, values) if some_missing else values, np.argmax, stretches)
        )
        if some_missing:
            found = _by_stretch(missing, np.argmax, stretches)
            keep.append(found[missing[found]])
    return np.unique(np.concatenate(keep))


def thinned(points: Points, limit: int) -> Points:
    """The points at those places, with their steps: without any, what counts is the place in the whole series."""
    places = thin_out(points.values, limit)
    steps = np.arange(len(points), dtype=np.int64) if points.steps is None else points.steps
    return Points(points.seqs[places], steps[places], points.times[places], points.values[places])


def check_limit(limit: int) -> None:
    """ValueError for a number of points that is none."""
    if limit < 1:
        raise ValueError(f"max_points is {limit}, and must be at least 1.")


def _odd_one(values: Floats, missing: npt.NDArray[Any], some_missing: bool) -> npt.NDArray[np.int64]:
    """The one place between the ends that is worth showing."""
    place = int(np.argmax(missing)) if some_missing else 1 + int(np.argmax(np.abs(values[1:-1])))
    return np.array([place], np.int64)


def _by_stretch(values: npt.NDArray[Any], choose: Any, stretches: int) -> npt.NDArray[np.int64]:
    """The chosen place of each stretch of what lies between the ends; the first stretches are one longer where it does
    not divide.
    """
    inner = values[1:-1]
    width, longer = divmod(len(inner), stretches)
    edge = longer * (width + 1)
    found = []
    for start, part, size in ((0, inner[:edge], width + 1), (edge, inner[edge:], width)):
        if len(part):
            rows = part.reshape(-1, size)
            found.append(1 + start + np.arange(len(rows)) * size + choose(rows, axis=1))
    return np.concatenate(found).astype(np.int64)
