"""Sealed journals: zstd frames of a few thousand bytes each, cut at line ends, so that damage costs one frame.

Files of one long frame are read as well. Whatever a damaged frame still gives is given; the rest of it is one
line of NUL bytes, so that what lies behind keeps its offset.
"""

from collections.abc import Iterator
from typing import NamedTuple

import zstandard

FRAME = 8 * 1024
_LEVEL = 6
_MATCH = 6
"""Shorter matches, found among the digits of numbers, cost more bytes than they save: 7 to 11 % of a file of metrics."""
_MAGIC = b"\x28\xb5\x2f\xfd"
_BLOCK_MOST = 128 * 1024
_PIECE = 1024 * 1024
_SMALL = 64


class Frame(NamedTuple):
    """One frame: where it lies in the file, and how many bytes of lines it holds (None: it does not say)."""

    start: int
    end: int
    size: int | None


class Piece(NamedTuple):
    """What a frame holds, and what was wrong with it, if anything."""

    data: bytes
    frame: Frame
    trouble: str | None


def compress(content: bytes) -> Iterator[bytes]:
    """Frames with checksums, of at most FRAME bytes of whole lines each; a longer line is alone in one."""
    options = {"source_size": FRAME, "min_match": _MATCH, "write_checksum": True}
    parameters = zstandard.ZstdCompressionParameters.from_level(_LEVEL, **options)
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    start = 0
    while start < len(content):
        end = content.rfind(b"\n", start, start + FRAME) + 1
        if not end:
            end = content.find(b"\n", start) + 1 or len(content)
        yield compressor.compress(content[start:end])
        start = end


def frames(data: bytes) -> list[Frame]:
    """The frames of a file; where one is damaged so that its end is not found, it ends where the next whole one begins."""
    found = []
    start = 0
    while start < len(data):
        frame = _walk(data, start)
        if frame is None:
            frame = Frame(start, _next_start(data, start + 1), None)
        elif not (_begins(data, frame.end) or _followed(data, frame.end) or _is_whole(data, frame)):
            frame = Frame(start, _next_start(data, start + 1), frame.size)
        found.append(frame)
        start = frame.end
    return found


def pieces(data: bytes, found: list[Frame] | None = None) -> Iterator[Piece]:
    """What the frames hold, in order; a long frame comes in several pieces."""
    decompressor = zstandard.ZstdDecompressor()
    for frame in frames(data) if found is None else found:
        if frame.size is not None and frame.size <= _PIECE:
            try:
                yield Piece(_decompressed(decompressor, data, frame), frame, None)
                continue
            except zstandard.ZstdError as error:
                trouble = str(error)
            yield Piece(_filled(_rescued(data, frame), frame.size), frame, trouble)
        else:
            yield from _long(data, frame)


def content_size(data: bytes) -> int:
    """How many bytes `pieces` gives."""
    return sum(
        sum(len(piece.data) for piece in pieces(data, [frame])) if frame.size is None else frame.size
        for frame in frames(data)
    )


def _decompressed(decompressor: zstandard.ZstdDecompressor, data: bytes, frame: Frame) -> bytes:
    content = decompressor.decompress(memoryview(data)[frame.start : frame.end], max_output_size=_PIECE)
    if len(content) != frame.size:
        raise zstandard.ZstdError("the frame holds another number of bytes than it says")
    return content


def _long(data: bytes, frame: Frame) -> Iterator[Piece]:
    """A frame that is long, or does not say how long it is."""
    taken = 0
    reader = zstandard.ZstdDecompressor().stream_reader(memoryview(data)[frame.start : frame.end])
    try:
        while piece := reader.read(_PIECE if frame.size is None else min(_PIECE, frame.size - taken)):
            taken += len(piece)
            yield Piece(piece, frame, None)
        if taken == frame.size or (frame.size is None and _walk(data, frame.start) == frame):
            return
        trouble = "the frame breaks off"
    except zstandard.ZstdError as error:
        trouble = str(error)
    rest = b"".join(_drained(data, frame, taken))
    if frame.size is not None:
        rest = _filled(rest, frame.size - taken)
    else:
        rest += b"\x00\n"
    yield Piece(rest, frame, trouble)


def _rescued(data: bytes, frame: Frame) -> bytes:
    return b"".join(_drained(data, frame, 0))


def _drained(data: bytes, frame: Frame, skip: int) -> Iterator[bytes]:
    """What a damaged frame gives before it breaks off. Its lines have checksums of their own, so its own is not asked for."""
    head = bytes([data[frame.start + 4] & ~4]) if frame.end - frame.start > 4 else b""
    content = _MAGIC + head + data[frame.start + 5 : frame.end]
    reader = zstandard.ZstdDecompressor().stream_reader(content)
    try:
        while piece := reader.read(_SMALL):
            if skip < len(piece):
                yield piece[skip:]
            skip = max(skip - len(piece), 0)
    except (zstandard.ZstdError, MemoryError):
        return


def _filled(content: bytes, size: int) -> bytes:
    """A damaged frame's content at the length that it says, closed as a line."""
    return (content[: size - 1].ljust(size - 1, b"\x00") + b"\n") if size else b""


def _begins(data: bytes, place: int) -> bool:
    """Whether a frame begins at a place, or the file ends there."""
    return place == len(data) or data[place : place + 4] == _MAGIC


def _followed(data: bytes, place: int) -> bool:
    """Whether there is a frame at a place whose first bytes are damaged: it ends where the next one begins."""
    frame = _walk(data, place)
    return frame is not None and _begins(data, frame.end)


def _is_whole(data: bytes, frame: Frame) -> bool:
    """Whether all that a frame says to hold lies before its end: then what follows is another one, whose beginning is damaged.

    Its checksum, which stands last, may be hit as well.
    """
    return frame.size == sum(map(len, _drained(data, frame, 0)))


def _next_start(data: bytes, place: int) -> int:
    """Where the next whole frame begins, or the file ends."""
    while (place := data.find(_MAGIC, place)) >= 0:
        frame = _walk(data, place)
        if frame is not None and (_begins(data, frame.end) or _followed(data, frame.end)):
            return place
        place += 1
    return len(data)


def _walk(data: bytes, start: int) -> Frame | None:
    """The frame at a place by its header and the headers of its blocks; None where that cannot be one (RFC 8878, section 3)."""
    if len(data) < start + 6 or data[start + 4] & 0x08:
        return None
    flags = data[start + 4]
    single = flags >> 5 & 1
    place = start + 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    width = (1 if single else 0, 2, 4, 8)[flags >> 6]
    size = (
        int.from_bytes(data[place : place + width], "little") + (256 if width == 2 else 0) if width else None
    )
    place += width
    blocks, last = 0, False
    while not last:
        head = int.from_bytes(data[place : place + 3], "little")
        last, kind, length = bool(head & 1), head >> 1 & 3, head >> 3
        place += 3 + (1 if kind == 1 else length)
        blocks += 1
        if kind == 3 or length > _BLOCK_MOST or place > len(data):
            return None
    place += 4 if flags & 4 else 0
    if place > len(data) or (size is not None and size > blocks * _BLOCK_MOST):
        return None
    return Frame(start, place, size)
