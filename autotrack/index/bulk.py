"""Many rows at once: tuples and one compiled statement, without the cost of building a statement for each."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Dialect, Table, and_, bindparam, func, select

T = TypeVar("T")


def in_groups(items: Iterable[T], size: int = 500) -> Iterator[list[T]]:
    """Items in lists short enough for one statement."""
    rest = list(items)
    for place in range(0, len(rest), size):
        yield rest[place : place + size]


def ranges_of(column: ColumnElement[int], numbers: Iterable[int]) -> Iterator[ColumnElement[bool]]:
    """Conditions that together hold for all rows with these numbers, and for others if nearly all of a range are wanted: a
    statement with hundreds of numbers takes longer to build than to run.
    """
    wanted = sorted(numbers)
    if wanted and wanted[-1] - wanted[0] < 2 * len(wanted):
        yield column.between(wanted[0], wanted[-1])
    else:
        yield from (column.in_(some) for some in in_groups(wanted))


def names_of(table: Table, *left_out: str) -> tuple[str, ...]:
    """The columns of a table in their order, but for some."""
    return tuple(column.name for column in table.columns if column.name not in left_out)


def insert_rows(connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Any]) -> None:
    """Insert rows, each a tuple of the named columns; the names stand in the order of the table."""
    if rows:
        connection.exec_driver_sql(_insert(table, tuple(names), connection.dialect), list(rows))


def update_rows(
    connection: Connection,
    table: Table,
    names: Sequence[str],
    rows: Sequence[Any],
    by: Sequence[str] = ("pk",),
) -> None:
    """Set the named columns (in the order of the table); each row is their values and then those of `by`."""
    if rows:
        statement = _update(table, tuple(names), tuple(by), connection.dialect)
        connection.exec_driver_sql(statement, list(rows))


def next_pk(connection: Connection, table: Table) -> int:
    """The first free row number; nobody else takes it before the transaction of a writer ends."""
    return int(connection.scalar(select(func.max(table.c.pk))) or 0) + 1


@lru_cache(64)
def _insert(table: Table, names: tuple[str, ...], dialect: Dialect) -> str:
    _check_order(table, names)
    return str(table.insert().compile(dialect=dialect, column_keys=list(names)))


@lru_cache(64)
def _update(table: Table, names: tuple[str, ...], by: tuple[str, ...], dialect: Dialect) -> str:
    _check_order(table, names)
    where = and_(*[table.c[name] == bindparam(f"by_{name}") for name in by])
    statement = table.update().where(where).values({name: bindparam(f"new_{name}") for name in names})
    return str(statement.compile(dialect=dialect))


def _check_order(table: Table, names: tuple[str, ...]) -> None:
    """The compiled statement has the columns in the table's order, so the rows must have it too."""
    assert names == tuple(name for name in names_of(table) if name in names), names
