"""Arguments and options that several commands share."""

from typing import Annotated, Any

import typer

from autotrack.cli.context import complete_projects, complete_runs

Project = Annotated[
    str | None,
    typer.Option(
        "--project", "-p", metavar="NAME", help="Only this project.", autocompletion=complete_projects
    ),
]
Group = Annotated[str | None, typer.Option("--group", "-g", metavar="NAME", help="Only this group.")]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        "-w",
        metavar="FILTER",
        help="Only runs for which this is true: 'config.lr < 0.01 and metrics[\"loss\"].min < 0.3'.",
    ),
]
Everything = Annotated[bool, typer.Option("--all", "-a", help="Archived runs and child runs too.")]
Sort = Annotated[
    str | None,
    typer.Option(
        "--sort",
        "-s",
        metavar="COLUMN",
        help="Sort by a column, smallest first; -COLUMN is largest first (default: -created).",
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        "-c",
        metavar="A,B,…",
        help="The columns, named as in a filter: id, tags, config.lr, metrics.loss.min, or the key alone: loss.",
    ),
]
HistoryRuns = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN",
        help="Export the history of these runs; without any, the runs themselves.",
        autocompletion=complete_runs,
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        metavar="FORMAT",
        help="csv, json or parquet (default: by the file's name, else csv).",
    ),
]


def optional_run(default: str) -> Any:
    """The argument [RUN]; `default` says which run it is without one."""
    return typer.Argument(
        metavar="RUN", help=f"Id or unique prefix (default: {default}).", autocompletion=complete_runs
    )
