"""`autotrack compare`: runs side by side, what differs first."""

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotrack.cli.columns import STATISTICS
from autotrack.cli.context import complete_runs, opened, say
from autotrack.cli.output import (
    age_text,
    duration_text,
    fitted,
    flatten,
    json_text,
    number_text,
)
from autotrack.cli.records import best_places, brief, differences
from autotrack.cli.screen import STATUS_STYLES, Screen
from autotrack.cli.table import GAP, Cell, Column
from autotrack.cli.words import better, interest

if TYPE_CHECKING:
    from autotrack.index import RunRecord

Row = tuple[str, list[Cell]]
Section = tuple[str, str, list[Row]]
ROWS = 40
_NAMES = 16
_RUN = 12
_FACTS = ("command.command", "command.folder", "git.", "python.version", "packages.digest")


def command(
    ctx: typer.Context,
    run: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN", help="Two or more ids or unique prefixes.", autocompletion=complete_runs
        ),
    ],
    statistic: Annotated[
        str,
        typer.Option(
            "--stat", metavar="STAT", help="Which number of each metric: last, first, min, max, mean, count."
        ),
    ] = "last",
    smaller: Annotated[
        list[str] | None,
        typer.Option("--minimize", metavar="KEY", help="The smaller value of this metric is the better one."),
    ] = None,
    larger: Annotated[
        list[str] | None,
        typer.Option("--maximize", metavar="KEY", help="The larger value of this metric is the better one."),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", "-a", help=f"What is equal, and system counters too (default: {ROWS} rows a section)."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Compare runs: config differences, then metrics.

    * marks the best value where the metric's name, --minimize or --maximize says what is better.
    """
    if statistic not in STATISTICS:
        raise typer.BadParameter(f"{statistic!r} is none of {', '.join(STATISTICS)}", param_hint="--stat")
    directions = dict.fromkeys(smaller or (), "min") | dict.fromkeys(larger or (), "max")
    with opened(ctx) as index:
        records = list({record.id: record for record in map(index.get, run)}.values())
        if len(records) < 2:
            raise typer.BadParameter("give two different runs or more", param_hint="RUN")
        table = _Comparison(records, statistic, directions, everything)
        if as_json:
            say(json_text(table.plain()))
        else:
            table.show(Screen())


class _Comparison:
    """Several runs, row by row."""

    def __init__(
        self, runs: Sequence["RunRecord"], statistic: str, directions: dict[str, str], everything: bool
    ) -> None:
        self.runs = runs
        self.statistic = statistic
        self.directions = directions
        self.everything = everything
        self.room = sys.maxsize
        self.configs = [flatten(run.config) for run in runs]
        self.facts = [_facts(run) for run in runs]

    def plain(self) -> dict[str, Any]:
        """The comparison for JSON."""
        differing, same = differences(self.configs)
        return {
            "runs": [
                {key: value for key, value in brief(run).items() if key != "config"} for run in self.runs
            ],
            "config": {
                "differing": {key: [row.get(key) for row in self.configs] for key in differing},
                "same": {key: self.configs[0][key] for key in same},
            },
            "environment": {key: [row.get(key) for row in self.facts] for key in differences(self.facts)[0]},
            "metrics": {key: self._metric_row(key) for key in self._metric_keys()},
        }

    def _metric_row(self, key: str) -> dict[str, Any]:
        values = self._values(key)
        direction = self._direction(key)
        best = sorted(best_places(values, direction))
        return {
            "values": values,
            "better": direction or None,
            "best": [self.runs[place].id for place in best],
        }

    def _metric_keys(self) -> list[str]:
        runs = Counter(key for run in self.runs for key in run.metrics)
        keys = sorted(runs, key=lambda key: (-runs[key], interest(key)))
        return [key for key in keys if self.everything or not key.startswith("system/")]

    def _values(self, key: str) -> list[Any]:
        return [
            getattr(run.metrics[key], self.statistic) if key in run.metrics else None for run in self.runs
        ]

    def _direction(self, key: str) -> str:
        if key in self.directions:
            return self.directions[key]
        return better(key) if self.statistic in ("last", "first", "min", "max", "mean") else ""

    def show(self, screen: Screen) -> None:
        """Print the sections, in blocks of as many runs as find a place beside each other."""
        self.room = _RUN if screen.terminal else sys.maxsize
        rows: list[Row] = self._head_rows()
        sections: dict[int, tuple[str, str]] = {}
        for title, remark, more in (self._config_rows(), self._fact_rows(), self._metric_rows()):
            if more or remark:
                sections[len(rows)] = (title, remark)
                rows += more or [("", [("", "")] * len(self.runs))]
        at_once = max((screen.width - 2 - _NAMES) // (_RUN + GAP), 1)
        for start in range(0, len(self.runs), at_once):
            if start:
                screen.line("")
                screen.line((f"{screen.mark} and the next runs", "dim"))
            names = Column("", keep=True, middle=True, narrowest=_NAMES)
            columns = [
                Column("", keep=True, narrowest=_RUN, middle=True) for _ in self.runs[start : start + at_once]
            ]
            for name, cells in rows:
                names.add(name, "dim")
                for column, (text, style) in zip(columns, cells[start:], strict=False):
                    column.add(text, style)
            screen.table([names, *columns], indent=2, header=False, sections=sections)

    def _head_rows(self) -> list[Row]:
        runs = self.runs
        rows = [
            ("run", [(run.id, "bold") for run in runs]),
            ("name", [(run.name, "") for run in runs]),
            ("status", [(run.status, STATUS_STYLES.get(run.status, "")) for run in runs]),
            ("created", [(age_text(run.created), "") for run in runs]),
            ("duration", [(duration_text(run.duration), "") for run in runs]),
        ]
        if len({run.project for run in runs}) > 1:
            rows.insert(2, ("project", [(run.project, "") for run in runs]))
        return rows

    def _config_rows(self) -> Section:
        differing, same = differences(self.configs)
        remark = (
            f"{len(differing)} differ{'s' if len(differing) == 1 else ''}, {len(same)} agree"
            if differing or same
            else ""
        )
        differing.sort(key=lambda key: -sum(key in row for row in self.configs))
        keys = differing + (same if self.everything else [])
        return "Config", *self._limited(remark, [(key, self._cells(key, self.configs)) for key in keys])

    def _fact_rows(self) -> Section:
        keys = differences(self.facts)[0]
        rows = [(key, self._cells(key, self.facts)) for key in keys]
        return "Environment", *self._limited("what differs" if keys else "", rows)

    def _metric_rows(self) -> Section:
        keys = self._metric_keys()
        marked = any(best_places(self._values(key), self._direction(key)) for key in keys)
        remark = f"{self.statistic}{', * is the best' if marked else ''}" if keys else ""
        return "Metrics", *self._limited(remark, [(key, self._metric_cells(key)) for key in keys])

    def _limited(self, remark: str, rows: list[Row]) -> tuple[str, list[Row]]:
        if self.everything or len(rows) <= ROWS:
            return remark, rows
        return f"{remark}; {len(rows) - ROWS} more rows with --all", rows[:ROWS]

    def _cells(self, key: str, rows: Sequence[dict[str, Any]]) -> list[Cell]:
        return [(fitted(row[key], self.room), "") if key in row else ("-", "dim") for row in rows]

    def _metric_cells(self, key: str) -> list[Cell]:
        values = self._values(key)
        best = best_places(values, self._direction(key))
        return [
            (number_text(value) + " *", "bold green") if place in best else (number_text(value), "")
            for place, value in enumerate(values)
        ]


def _facts(run: "RunRecord") -> dict[str, Any]:
    """What surrounded a run, as far as it bears on its results."""
    return {key: value for key, value in flatten(run.environment).items() if key.startswith(_FACTS)}
