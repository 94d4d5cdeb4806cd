"""`autotrack export`: runs, or the history of runs, as CSV, JSON or Parquet."""

import csv
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotrack.cli.context import note, opened
from autotrack.cli.output import clean, count_text, flatten, json_text, matches, plain_json, value_text
from autotrack.cli.parameters import Everything, Format, HistoryRuns, Project, Where
from autotrack.cli.records import brief, complete
from autotrack.errors import AutotrackError, MissingExtra

if TYPE_CHECKING:
    from autotrack.index import RunRecord

Row = dict[str, Any]
FORMATS = ("csv", "json", "parquet")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def command(
    ctx: typer.Context,
    run: HistoryRuns = None,
    form: Format = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to (default: standard output)."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    history: Annotated[
        bool, typer.Option("--history", help="The history of all chosen runs, not the runs.")
    ] = False,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key",
            "-k",
            metavar="PATTERN",
            help="Only metrics like this; system counters only when asked for: 'system/*'.",
        ),
    ] = None,
    attempts: Annotated[
        bool, typer.Option("--attempts", help="Points of earlier attempts too (after a resume).")
    ] = False,
    project: Project = None,
    where: Where = None,
    everything: Everything = False,
) -> None:
    """Export metrics of runs (run, key, step, time, value), or a table of runs (config, last values).

    In CSV a text that a spreadsheet would take for a formula gets a ' in front.
    """
    form = _form(form, output)
    _check_target(output, form, force)
    if form == "parquet":
        _need_pyarrow()
    with opened(ctx) as index:
        if run:
            records = list({record.id: record for record in map(index.get, run)}.values())
        else:
            records = list(index.runs(project=project, where=where, archived=everything, children=everything))
        if run or history:
            rows = _histories(records, key or [], attempts, nested=form == "json")
        else:
            rows = (
                [complete(record) for record in records]
                if form == "json"
                else [_flat(record) for record in records]
            )
        _send(rows, form, output)
    if output is not None:
        note(f"{output}: {count_text(len(records), 'run')}, {os.path.getsize(output)} bytes")


def _form(form: str | None, output: Path | None) -> str:
    given = form or (output.suffix.lstrip(".").lower() if output else "") or "csv"
    if given in FORMATS:
        return given
    if form is None:
        raise typer.BadParameter(f"{output} does not say the format; give --format", param_hint="--output")
    raise typer.BadParameter(f"{form!r} is none of {', '.join(FORMATS)}", param_hint="--format")


def _check_target(output: Path | None, form: str, force: bool) -> None:
    if output is None:
        if form == "parquet" and sys.stdout.isatty():
            raise AutotrackError(
                "Parquet is binary and not for a terminal. Name a file: --output runs.parquet"
            )
        return
    if output.is_dir() or (output.exists() and not force):
        raise AutotrackError(
            f"{output} is there already, and was left alone. Choose another name, or replace it with --force."
        )
    if not output.absolute().parent.is_dir():
        raise AutotrackError(f"The folder {output.absolute().parent} does not exist; nothing was exported.")


def _histories(
    records: Sequence["RunRecord"], patterns: Sequence[str], attempts: bool, nested: bool
) -> list[Row]:
    rows: list[Row] = []
    for record in records:
        keys = [
            key
            for key in record.metrics
            if matches(key, patterns) and (patterns or not key.startswith("system/"))
        ]
        history = record.history(keys=keys, attempts=attempts) if keys else {}
        series = {
            key: {"steps": one.steps.tolist(), "times": one.times.tolist(), "values": one.values.tolist()}
            for key, one in history.items()
        }
        if nested:
            rows.append({"run": record.id, "name": record.name, "series": series})
        else:
            rows += _points(record.id, series)
    return rows


def _points(run: str, series: dict[str, dict[str, list[Any]]]) -> Iterator[Row]:
    for key, one in series.items():
        for step, time, value in zip(one["steps"], one["times"], one["values"], strict=True):
            yield {"run": run, "key": key, "step": step, "time": time, "value": value}


def _flat(record: "RunRecord") -> Row:
    row = brief(record)
    config, summary, error = row.pop("config"), row.pop("summary"), row.pop("error")
    row["error"] = f"{error.get('type')}: {error.get('message')}" if error else None
    row["tags"] = ", ".join(row["tags"])
    row |= {f"config.{key}": value for key, value in flatten(config).items()}
    return row | {f"summary.{key}": value for key, value in summary.items()}


def _send(rows: list[Row], form: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.flush()
        _write(rows, form, sys.stdout.buffer, sys.stdout.isatty())
        sys.stdout.buffer.flush()
        return
    partial = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with open(partial, "xb") as file:
            _write(rows, form, file, False)
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)


def _write(rows: list[Row], form: str, stream: Any, terminal: bool) -> None:
    if form == "json":
        stream.write((json_text(rows) + "\n").encode("ascii"))
    elif form == "csv":
        _write_csv(rows, stream, terminal)
    else:
        _write_parquet(rows, stream)


def _write_csv(rows: list[Row], stream: Any, terminal: bool) -> None:
    text = io.TextIOWrapper(stream, "utf-8", errors="backslashreplace", newline="", write_through=True)
    try:
        writer = csv.writer(text, lineterminator="\n")
        columns = _columns(rows)
        writer.writerow([csv_cell(column, terminal) for column in columns])
        for row in rows:
            writer.writerow([csv_cell(row.get(column), terminal) for column in columns])
    finally:
        text.detach()


def _columns(rows: list[Row]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row)
    return sorted(names, key=lambda name: (name.startswith("summary."), name.startswith("config.")))


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


def _write_parquet(rows: list[Row], stream: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: pa.array(_one_type([row.get(name) for row in rows])) for name in _columns(rows)}
    pq.write_table(pa.table(columns), stream)


def _need_pyarrow() -> None:
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
