"""`autotrack ls`: the runs of a store, newest first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotrack.cli.columns import Meaning, names, ordering, resolve, value
from autotrack.cli.context import note, note_fallback, opened, say, store_path
from autotrack.cli.nothing import say_nothing_found
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
from autotrack.cli.parameters import Columns, Everything, Group, Project, Sort, Where
from autotrack.cli.records import brief, interesting_metrics
from autotrack.cli.screen import STATUS_STYLES, Screen
from autotrack.cli.table import Column

if TYPE_CHECKING:
    from autotrack.index import Index, RunList, RunRecord

TABLE_LIMIT = 25
DIGITS = 4


@dataclass(frozen=True)
class _Choice:
    """Which runs are asked for."""

    project: str | None
    group: str | None
    where: str | None
    archived: bool
    everything: bool

    @property
    def filter(self) -> str | None:
        """The filter for the index."""
        if not self.archived:
            return self.where
        # The user's filter stands on a line of its own, so that a comment in it ends there.
        return f"archived and (\n{self.where}\n)" if self.where else "archived"

    def runs(self, index: "Index", order: str | None, limit: int | None) -> "RunList":
        """The runs, in the order that was asked for."""
        if self.archived and self.where:
            index.count(where=self.where)  # a mistake in it is explained in the user's own words
        hidden = self.archived or self.everything
        return index.runs(self.project, self.filter, order, limit, hidden, self.everything, self.group)

    def count(self, index: "Index") -> int:
        """How many runs there are."""
        hidden = self.archived or self.everything
        return index.count(self.project, self.filter, hidden, self.everything, self.group)


def command(
    ctx: typer.Context,
    project: Project = None,
    group: Group = None,
    where: Where = None,
    sort: Sort = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            metavar="N",
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
    choice = _Choice(project, group, where, archived, everything)
    with opened(ctx) as index:
        by, order = ordering(index, sort) if sort else (None, None)
        runs = choice.runs(index, order, limit or None)
        chosen = {name: resolve(index, name, runs, "--columns") for name in names(columns)} if runs else {}
        if as_json:
            say(json_text([_plain(run, chosen) for run in runs]))
        elif runs:
            _show(runs, chosen, by)
            if len(runs) == limit and (total := choice.count(index)) > limit:
                note(f"{limit:,} of {count_text(total, 'run')}; --limit 0 shows all.")
        if not runs:
            say_nothing_found(index, project, group, where, archived or everything)
        if not as_json and (unread := index.problems()):
            note(f"{count_text(len(unread), 'journal')} cannot be read; autotrack doctor names them.")
    if not as_json:
        note_fallback(store_path(ctx))


def _plain(run: "RunRecord", chosen: Mapping[str, Meaning]) -> dict[str, Any]:
    return {name: value(run, meaning) for name, meaning in chosen.items()} if chosen else brief(run)


def _show(runs: Sequence["RunRecord"], chosen: Mapping[str, Meaning], by: Meaning | None) -> None:
    screen = Screen()
    pairs = list(chosen.items()) or _default_columns(runs, by)
    table = [_column(title, meaning, runs, bool(chosen) or meaning == by) for title, meaning in pairs]
    values = [column for column, (_, meaning) in zip(table, pairs, strict=True) if meaning.kind != "field"]
    for place, column in enumerate(one for one in values if not one.keep):
        column.goes = min(place, 1) * 3
    left_out = screen.table(table)
    missing = [title for title, meaning in pairs if meaning.kind != "field" and _empty(runs, meaning)]
    if missing:
        note(f"No run here has: {', '.join(map(clean, missing))}.")
    if left_out:
        note(f"No room for: {', '.join(left_out)}. A wider terminal or --columns shows them.")


def _empty(runs: Sequence["RunRecord"], meaning: Meaning) -> bool:
    return all(value(run, meaning) is None for run in runs)


def _default_columns(runs: Sequence["RunRecord"], by: Meaning | None) -> list[tuple[str, Meaning]]:
    """Of each run what tells most, and what they are sorted by."""
    fields = ["id", "name", "status"]
    if len({run.project for run in runs}) > 1:
        fields.append("project")
    fields += ["created", "duration"]
    shown = [Meaning("field", name) for name in fields]
    shown += [Meaning("metrics", key, "last") for key in interesting_metrics(runs)]
    if any(run.tags for run in runs):
        shown.append(Meaning("field", "tags"))
    if by is not None and by not in shown:
        shown.insert(len(fields), by)
    return [(meaning.title, meaning) for meaning in shown]


def _column(title: str, meaning: Meaning, runs: Sequence["RunRecord"], keep: bool) -> Column:
    name = meaning.key if meaning.kind == "field" else ""
    values = [value(run, meaning) for run in runs]
    numeric = any(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
    column = Column(
        title=clean(title),
        right=numeric or name == "duration",
        keep=keep or name in ("id", "name", "status"),
        goes={"tags": 3, "duration": 2, "project": 1}.get(name, 0),
        narrowest={"name": 20, "project": 7}.get(name, 6),
        whole=numeric or name in ("id", "status", "created", "finished", "duration"),
        middle=meaning.kind != "field" or name == "name",
    )
    for run, one in zip(runs, values, strict=True):
        text = _name(run) if name == "name" else _cell(name, one)
        column.add(text, STATUS_STYLES.get(run.status, "") if name == "status" else "")
    return column


def _name(run: "RunRecord") -> str:
    return f"{run.name} (+{run.child_count})" if run.child_count else run.name


def _cell(name: str, given: Any) -> str:
    if given is None or given == [] or given == "":
        return "-"
    if name == "created":
        return age_text(given)
    if name == "finished":
        return time_text(given)
    if name == "duration":
        return duration_text(given)
    if name == "tags":
        return ", ".join(given)
    if name == "error":
        return f"{given.get('type')}: {given.get('message')}"
    if isinstance(given, int | float) and not isinstance(given, bool):
        return number_text(given, DIGITS)
    return value_text(given)
