"""Rows as CSV, JSON or Parquet, written as they come."""

import csv
import io
from collections.abc import Iterable, Sequence
from textwrap import indent
from typing import Any, NamedTuple

from autotrack.cli.output import clean, json_text, plain_json, value_text
from autotrack.errors import MissingExtra

Row = dict[str, Any]
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class Table(NamedTuple):
    """Rows in portions, their columns, and the columns' Parquet types where these are known before the rows."""

    columns: Sequence[str]
    portions: Iterable[list[Row]]
    types: Sequence[str] | None = None


def write(table: Table, form: str, stream: Any, terminal: bool) -> None:
    """Write a table to a binary stream; on a terminal, control characters in CSV become visible escapes."""
    if form == "json":
        _write_json(table, stream)
    elif form == "csv":
        _write_csv(table, stream, terminal)
    else:
        _write_parquet(table, stream)


def _write_json(table: Table, stream: Any) -> None:
    mark = "["
    for portion in table.portions:
        for row in portion:
            stream.write(f"{mark}\n{indent(json_text(row), '  ')}".encode("ascii"))
            mark = ","
    stream.write(b"[]\n" if mark == "[" else b"\n]\n")


def _write_csv(table: Table, stream: Any, terminal: bool) -> None:
    text = io.TextIOWrapper(stream, "utf-8", errors="backslashreplace", newline="", write_through=True)
    try:
        writer = csv.writer(text, lineterminator="\n")
        if table.columns:
            writer.writerow([csv_cell(column, terminal) for column in table.columns])
        for portion in table.portions:
            writer.writerows(
                [csv_cell(row.get(column), terminal) for column in table.columns] for row in portion
            )
    finally:
        text.detach()


def csv_cell(value: Any, terminal: bool = False) -> Any:
    """A value as it stands in CSV: numbers as they are, texts that begin like a formula with a ' in front."""
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return value
    text = plain_json(value)
    text = text if isinstance(text, str) else value_text(text)
    if terminal:
        text = clean(text)
    return "'" + text if text.startswith(_FORMULA) else text


def _write_parquet(table: Table, stream: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if table.types is None:
        rows = [row for portion in table.portions for row in portion]
        columns = {name: pa.array(_one_type([row.get(name) for row in rows])) for name in table.columns}
        pq.write_table(pa.table(columns), stream)
        return
    names = zip(table.columns, table.types, strict=True)
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in names])
    with pq.ParquetWriter(stream, schema) as writer:
        for portion in table.portions:
            if portion:
                writer.write_table(pa.Table.from_pylist(portion, schema))


def need_pyarrow() -> None:
    """MissingExtra where Parquet cannot be written."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtra(
            f"Parquet needs pyarrow ({error}). Install it: pip install 'autotrack-ml[parquet]'"
        ) from error
    del parquet


def _one_type(values: list[Any]) -> list[Any]:
    """Values that one Parquet column can hold: numbers, times, booleans; anything mixed becomes text."""
    present = [value for value in values if value is not None]
    for kinds in ((bool,), (int, float), (str,)):
        if all(
            isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)) for value in present
        ):
            large = any(isinstance(value, int) and abs(value) >= 2**63 for value in present)
            mixed = any(isinstance(value, float) for value in present)
            return [float(value) if value is not None and (mixed or large) else value for value in values]
    if all(hasattr(value, "isoformat") for value in present):
        return values
    return [None if value is None else value_text(plain_json(value)) for value in values]
