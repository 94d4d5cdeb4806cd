"""`autotrack export`: runs, or the history of runs, as CSV, JSON or Parquet."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotrack.cli.context import note, opened
from autotrack.cli.files import Row, Table, need_pyarrow, write
from autotrack.cli.nothing import say_nothing_found
from autotrack.cli.output import count_text, flatten, matches, size_text
from autotrack.cli.parameters import Everything, Format, Group, HistoryRuns, Project, Where
from autotrack.cli.progress import Tell, progress
from autotrack.cli.records import brief, complete
from autotrack.errors import AutotrackError

if TYPE_CHECKING:
    from autotrack.index import RunRecord

FORMATS = ("csv", "json", "parquet")
POINT = ("run", "key", "step", "time", "value")
POINT_TYPES = ("string", "string", "int64", "float64", "float64")


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
    group: Group = None,
    where: Where = None,
    everything: Everything = False,
) -> None:
    """Export metrics of runs (run, key, step, time, value), or a table of runs (config, last values).

    In CSV a text that a spreadsheet would take for a formula gets a ' in front.
    """
    form = _form(form, output)
    _check_target(output, form, force)
    if form == "parquet":
        need_pyarrow()
    with opened(ctx) as index:
        if run:
            records: Sequence[RunRecord] = list({one.id: one for one in map(index.get, run)}.values())
        else:
            records = index.runs(project, where, archived=everything, children=everything, group=group)
        if not records:
            say_nothing_found(index, project, group, where, everything)
        with progress("Exporting") as tell:
            counted = _counted(records, tell)
            if run or history:
                table = _histories(counted, key or [], attempts, nested=form == "json")
            else:
                table = _runs(counted, nested=form == "json")
            _send(table, form, output)
    if output is not None:
        note(f"{output}: {count_text(len(records), 'run')}, {size_text(os.path.getsize(output))}")


def _counted(records: Sequence["RunRecord"], tell: Tell) -> "Iterator[RunRecord]":
    for number, record in enumerate(records):
        yield record
        tell(number + 1, len(records))


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
    if output.is_dir():
        raise AutotrackError(f"{output} is a folder. Name a file in it: --output {output / f'runs.{form}'}")
    if output.exists() and not force:
        raise AutotrackError(
            f"{output} is there already, and was left alone. Choose another name, or replace it with --force."
        )
    if not output.absolute().parent.is_dir():
        raise AutotrackError(f"The folder {output.absolute().parent} does not exist; nothing was exported.")


def _histories(
    records: Iterable["RunRecord"], patterns: Sequence[str], attempts: bool, nested: bool
) -> Table:
    """The points of runs, run by run: never more than one run's are in memory."""
    found = ((record, _series(record, patterns, attempts)) for record in records)
    if nested:
        rows = ([{"run": record.id, "name": record.name, "series": one}] for record, one in found)
        return Table(("run", "name", "series"), rows)
    return Table(POINT, ([*_points(record.id, one)] for record, one in found), POINT_TYPES)


def _series(record: "RunRecord", patterns: Sequence[str], attempts: bool) -> dict[str, dict[str, list[Any]]]:
    keys = [
        key
        for key in record.metrics
        if matches(key, patterns) and (patterns or not key.startswith("system/"))
    ]
    history = record.history(keys=keys, attempts=attempts) if keys else {}
    return {
        key: {"steps": one.steps.tolist(), "times": one.times.tolist(), "values": one.values.tolist()}
        for key, one in history.items()
    }


def _points(run: str, series: dict[str, dict[str, list[Any]]]) -> Iterator[Row]:
    for key, one in series.items():
        for step, time, value in zip(one["steps"], one["times"], one["values"], strict=True):
            yield {"run": run, "key": key, "step": step, "time": time, "value": value}


def _runs(records: Iterable["RunRecord"], nested: bool) -> Table:
    if nested:
        return Table((), ([complete(record)] for record in records))
    rows = [_flat(record) for record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    order = sorted(names, key=lambda name: (name.startswith("summary."), name.startswith("config.")))
    return Table(order, [rows])


def _flat(record: "RunRecord") -> Row:
    row = brief(record)
    config, summary, error = row.pop("config"), row.pop("summary"), row.pop("error")
    row["error"] = f"{error.get('type')}: {error.get('message')}" if error else None
    row["tags"] = ", ".join(row["tags"])
    row |= {f"config.{key}": value for key, value in flatten(config).items()}
    return row | {f"summary.{key}": value for key, value in summary.items()}


def _send(table: Table, form: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.flush()
        write(table, form, sys.stdout.buffer, sys.stdout.isatty())
        sys.stdout.buffer.flush()
        return
    partial = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with open(partial, "xb") as file:
            write(table, form, file, False)
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
