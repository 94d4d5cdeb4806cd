"""`autotrack compare`: runs side by side, what differs first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotrack.cli.context import complete_runs, opened, say
from autotrack.cli.output import (
    count_text,
    duration_text,
    flatten,
    json_text,
    number_text,
    time_text,
    value_text,
)
from autotrack.cli.records import STATISTICS, best_places, better, brief, differences
from autotrack.cli.screen import GAP, STATUS_STYLES, Column, Screen

if TYPE_CHECKING:
    from autotrack.index import RunRecord

ROWS = 40
_MISSING = "-"
_FACTS = ("command", "git", "python")


def command(
    ctx: typer.Context,
    run: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN...", help="Two or more ids or unique prefixes.", autocompletion=complete_runs
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
            raise typer.BadParameter("give two different runs or more", param_hint="RUN RUN...")
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
        self.configs = [flatten(run.config) for run in runs]
        self.facts = [flatten({name: run.environment.get(name) for name in _FACTS}) for run in runs]

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
        keys = dict.fromkeys(key for run in self.runs for key in run.metrics)
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
        """Print the sections, in blocks of as many runs as fit the width."""
        self._section(screen, "", self._head_rows())
        differing, same = differences(self.configs)
        if differing or same:
            remark = f"{len(differing)} differ, {len(same)} agree"
            keys = differing + (same if self.everything else [])
            self._section(
                screen, "Config", [(key, self._config_cells(key, self.configs)) for key in keys], remark
            )
        facts = differences(self.facts)[0]
        if facts:
            self._section(
                screen,
                "Environment",
                [(key, self._config_cells(key, self.facts)) for key in facts],
                "what differs",
            )
        keys = self._metric_keys()
        if keys:
            marked = any(best_places(self._values(key), self._direction(key)) for key in keys)
            remark = f"{self.statistic}{', * is the best' if marked else ''}"
            self._section(
                screen, "Metrics", [(key, self._metric_cells(key)) for key in keys], remark, right=True
            )

    def _head_rows(self) -> list[tuple[str, list[tuple[str, str]]]]:
        runs = self.runs
        rows = [
            ("run", [(run.id, "bold") for run in runs]),
            ("name", [(run.name, "") for run in runs]),
            ("status", [(run.status, STATUS_STYLES.get(run.status, "")) for run in runs]),
            ("created", [(time_text(run.created), "") for run in runs]),
            ("duration", [(duration_text(run.duration), "") for run in runs]),
        ]
        if len({run.project for run in runs}) > 1:
            rows.insert(2, ("project", [(run.project, "") for run in runs]))
        return rows

    def _config_cells(self, key: str, rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
        return [(value_text(row[key]), "") if row.get(key) is not None else (_MISSING, "dim") for row in rows]

    def _metric_cells(self, key: str) -> list[tuple[str, str]]:
        values = self._values(key)
        best = best_places(values, self._direction(key))
        return [
            (number_text(value) + " *", "bold green") if place in best else (number_text(value) + "  ", "")
            for place, value in enumerate(values)
        ]

    def _section(
        self,
        screen: Screen,
        title: str,
        rows: Sequence[tuple[str, list[tuple[str, str]]]],
        remark: str = "",
        right: bool = False,
    ) -> None:
        if title:
            screen.heading(title, remark)
        shown = rows if self.everything or not title else rows[:ROWS]
        for start, end in self._blocks(screen):
            if title and len(self.runs) > end - start:
                screen.line("  ", (" ".join(run.id for run in self.runs[start:end]), "dim"))
            names = Column("", keep=True, middle=True, narrowest=8)
            columns = [Column("", keep=True, right=right, narrowest=10) for _ in range(start, end)]
            for name, cells in shown:
                names.add(name, "dim")
                for column, (text, style) in zip(columns, cells[start:end], strict=True):
                    column.add(text, style)
            if shown:
                screen.table([names, *columns], indent=2, header=False)
        if len(shown) < len(rows):
            screen.line(
                (f"  {screen.mark} {count_text(len(rows) - len(shown), 'more row')}; --all shows them", "dim")
            )

    def _blocks(self, screen: Screen) -> list[tuple[int, int]]:
        """Which runs stand beside each other: as many as find 14 cells each beside the names."""
        at_once = max((screen.width - 20) // (14 + GAP), 1)
        return [(start, min(start + at_once, len(self.runs))) for start in range(0, len(self.runs), at_once)]
