"""Every row of the index ends with a check of what stands in it: a value that the disk has changed is never shown. Whoever finds
a row changed raises Broken, and the index is built again from the journals.
"""

import marshal
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from zlib import crc32

from autotrack.index.schema import Broken, runs

_OF_A_RUN = len(runs.columns) - 1
"""The columns of a run up to its check; its status, behind that, has none."""
_PLAIN = 2
"""The version of `marshal` that makes the same bytes of equal values, however they came about."""


def check_of(row: Iterable[Any]) -> int:
    """A signed CRC-32 of plain values: numbers, texts, bytes, None. No -0.0, which SQLite gives back as 0.0."""
    return crc32(marshal.dumps(tuple(row), _PLAIN)) - 2**31


def with_check(row: Sequence[Any]) -> tuple[Any, ...]:
    """A row, and its check behind it."""
    return (*row, check_of(row))


def checked(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    """Rows without the check that each of them ends with; Broken for one that has changed."""
    for row in rows:
        yield verified(row)


def verified(row: Sequence[Any]) -> tuple[Any, ...]:
    """A row without the check that it ends with; Broken if it has changed."""
    *values, check = row
    told = tuple(values)
    if check_of(told) != check:
        raise Broken("a row of the index is damaged")
    return told


def verified_run(row: Any) -> Any:
    """A row that begins with the columns of `runs`, as it is; Broken if it has changed."""
    verified(row[:_OF_A_RUN])
    return row
