"""From lines to checked JSON arrays: all of a block at once, and what a damaged line still holds."""

import re
import zlib
from itertools import chain, pairwise
from typing import Any

import orjson

from autotrack.journal.format import check

Row = list[Any]

_AT_ONCE = 512
_START = re.compile(rb'(?<![\[,:])\["')
_INNER = re.compile(rb'[\[,:](\[")')
_MOST_INNER = 64
_END = re.compile(rb",(\d{1,10})\]")


def split(block: bytes) -> list[bytes]:
    """The lines of a block without the empty ones, which torn lines leave behind."""
    return [line for line in block.split(b"\n") if line]


def may_hold_rows(block: bytes) -> bool:
    """Whether anything in a block looks like the end of a line: a quick look at what may be none of ours."""
    return _END.search(block) is not None


def rows_of(lines: list[bytes]) -> tuple[list[Row], int]:
    """The arrays of the lines, and how many lines are damaged."""
    rows = sound_rows(lines)
    if rows is not None:
        return rows, 0
    if len(lines) > _AT_ONCE:
        parts = [rows_of(lines[place : place + _AT_ONCE]) for place in range(0, len(lines), _AT_ONCE)]
        return list(chain.from_iterable(part for part, _ in parts)), sum(damaged for _, damaged in parts)
    found: list[Row] = []
    damaged = 0
    for line in lines:
        row = sound_row(line)
        if row is not None:
            found.append(row)
        else:
            damaged += 1
            found += rescued_rows(line)
    return found, damaged


def sound_rows(lines: list[bytes]) -> list[Row] | None:
    """The arrays of lines that are all whole, None if one is not."""
    crc32 = zlib.crc32
    try:
        rows: list[Row] = orjson.loads(b"[%b]" % b",".join(lines))
        if [row[-1] for row in rows] != [crc32(line[: line.rfind(b",") + 1]) for line in lines]:
            return None
        return rows if not rows or min(map(len, rows)) >= 5 else None
    except (orjson.JSONDecodeError, TypeError, IndexError, KeyError):
        return None


def sound_row(line: bytes) -> Row | None:
    """The array of one line, None if the line is damaged."""
    if not check(line):
        return None
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, list) and len(row) >= 5 else None


def rescued_rows(line: bytes) -> list[Row]:
    """Whole lines inside a damaged one: where the newline between two was hit, both are still there.

    An array inside another one's body is no line, whatever it says: before it there is a bracket, a comma or a colon. Only
    where it is the whole rest of the line, it was joined to a line that was torn at such a place.
    """
    starts = [found.start() for found in _START.finditer(line)]
    found = []
    for start, end in pairwise([*starts, len(line)]):
        row = _first_row(line, start, end)
        if row is not None:
            found.append(row)
    joined = _joined_row(line)
    return found if joined is None or joined in found else [*found, joined]


def _joined_row(line: bytes) -> Row | None:
    places = [place.start(1) for place in _INNER.finditer(line)]
    rows = (sound_row(line[place:]) for place in reversed(places[-_MOST_INNER:]))
    return next((row for row in rows if row is not None), None)


def _first_row(line: bytes, start: int, end: int) -> Row | None:
    crc, done = 0, start
    for number in _END.finditer(line, start, end):
        crc, done = zlib.crc32(line[done : number.start() + 1], crc), number.start() + 1
        if crc == int(number[1]):
            return sound_row(line[start : number.end()])
    return None
