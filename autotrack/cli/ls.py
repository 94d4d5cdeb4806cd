"""`autotrack ls`: the runs of a store, newest first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotrack.cli.context import note, note_fallback, opened, say, store_path
from autotrack.cli.output import (
    age_text,
    clean,
    count_text,
    duration_text,
    json_text,
    number_text,
    time_text,
    value_text,
)
from autotrack.cli.parameters import Columns, Everything, Project, Sort, Where
from autotrack.cli.records import FIELDS, brief, column_value, interesting_metrics, sort_key
from autotrack.cli.screen import STATUS_STYLES, Screen
from autotrack.cli.table import Column

if TYPE_CHECKING:
    from autotrack.index import RunRecord

TABLE_LIMIT = 25


def command(
    ctx: typer.Context,
    project: Project = None,
    where: Where = None,
    sort: Sort = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=0,
            help=f"At most so many; 0 is all (default: {TABLE_LIMIT}, with --json all).",
        ),
    ] = None,
    columns: Columns = None,
    archived: Annotated[bool, typer.Option("--archived", help="Only archived runs.")] = False,
    everything: Everything = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False,
) -> None:
    """List runs, newest first."""
    if limit is None:
        limit = 0 if as_json else TABLE_LIMIT
    note_fallback(store_path(ctx))
    with opened(ctx) as index:
        more = limit + 1 if limit and not archived else None
        runs: Sequence[RunRecord] = index.runs(
            project=project,
            where=where,
            order_by=sort_key(sort) if sort else None,
            limit=more,
            archived=archived or everything,
            children=everything,
        )
        if archived:
            runs = [run for run in runs if run.archived]
        shown = runs[:limit] if limit else runs
        if as_json:
            names = _names(columns)
            say(
                json_text(
                    [
                        {name: column_value(run, name) for name in names} if names else brief(run)
                        for run in shown
                    ]
                )
            )
        elif not shown:
            _say_nothing_found(project, where, archived)
        else:
            _show(shown, columns)
            if len(runs) > len(shown):
                note(f"Only {len(shown)} runs are shown; --limit 0 shows all.")
        if not as_json and (unread := index.problems()):
            note(f"{count_text(len(unread), 'journal')} cannot be read; autotrack doctor names them.")


def _say_nothing_found(project: str | None, where: str | None, archived: bool) -> None:
    if project or where or archived:
        note("No run matches. Archived runs and child runs are shown with --all.")
    else:
        note("No runs yet. Record one with: autotrack run train.py")


def _show(runs: Sequence["RunRecord"], spec: str | None) -> None:
    screen = Screen()
    chosen = _names(spec) or _default_columns(runs)
    table = [_column(name, runs, keep=spec is not None) for name in chosen]
    for place, column in enumerate(column for column in table if column.title not in FIELDS):
        column.goes = min(place, 1) * 3
    left_out = screen.table(table)
    missing = [
        name for name in chosen if name not in FIELDS and all(column_value(run, name) is None for run in runs)
    ]
    if missing:
        note(f"No run here has: {', '.join(map(clean, missing))}.")
    if left_out:
        note(f"No room for: {', '.join(left_out)}. A wider terminal or --columns shows them.")


def _names(spec: str | None) -> list[str]:
    return [part.strip() for part in (spec or "").split(",") if part.strip()]


def _default_columns(runs: Sequence["RunRecord"]) -> list[str]:
    columns = ["id", "name", "status"]
    if len({run.project for run in runs}) > 1:
        columns.append("project")
    columns += ["created", "duration", *interesting_metrics(runs)]
    if any(run.tags for run in runs):
        columns.append("tags")
    return columns


def _column(name: str, runs: Sequence["RunRecord"], keep: bool) -> Column:
    values = [column_value(run, name) for run in runs]
    numeric = any(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    column = Column(
        title=clean(name),
        right=numeric or name == "duration",
        keep=keep or name in ("id", "name", "status"),
        goes={"tags": 3, "duration": 2, "project": 1}.get(name, 0),
        narrowest={"name": 16, "project": 7}.get(name, 6),
        whole=numeric or name in ("id", "status", "created", "finished", "duration"),
        middle=name not in FIELDS,
    )
    for run, value in zip(runs, values, strict=True):
        text = _name(run) if name == "name" else _cell(name, value)
        column.add(text, STATUS_STYLES.get(run.status, "") if name == "status" else "")
    return column


def _name(run: "RunRecord") -> str:
    children = len(run.children)
    return f"{run.name} (+{children})" if children else run.name


def _cell(name: str, value: Any) -> str:
    if value is None or value == [] or value == "":
        return "-"
    if name == "created":
        return age_text(value)
    if name == "finished":
        return time_text(value)
    if name == "duration":
        return duration_text(value)
    if name == "tags":
        return ", ".join(value)
    if name == "error":
        return f"{value.get('type')}: {value.get('message')}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number_text(value)
    return value_text(value)
