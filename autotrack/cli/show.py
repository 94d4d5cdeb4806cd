"""`autotrack show`: everything that the record of one run has."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotrack.cli.context import chosen, opened, say
from autotrack.cli.output import (
    age_text,
    clean,
    count_text,
    curve_points,
    duration_text,
    flatten,
    json_text,
    nanoseconds_text,
    number_text,
    reading_text,
    size_text,
    sparkline,
    text_width,
    time_text,
    value_text,
)
from autotrack.cli.parameters import optional_run
from autotrack.cli.records import best_places, complete, differences, interesting_metrics
from autotrack.cli.screen import STATUS_STYLES, Screen
from autotrack.cli.settings import parts_of, why_ended
from autotrack.cli.surroundings import show_environment
from autotrack.cli.table import Column
from autotrack.cli.words import better, interest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autotrack.index import Input, RunRecord

ROWS = 40
_CURVE = 16


def command(
    ctx: typer.Context,
    run: Annotated[str | None, optional_run("the newest run")] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", "-a", help=f"Every row, system counters too (default: {ROWS} rows a section)."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show one run: status, command, code, config, metrics, artifacts, and what was captured."""
    with opened(ctx) as index:
        record = chosen(index, run)
        if as_json:
            say(json_text(complete(record)))
        else:
            Page(record, Screen(), everything).show()


class Page:
    """The sections of one run on the terminal."""

    def __init__(self, run: "RunRecord", screen: Screen, everything: bool) -> None:
        self.run = run
        self.screen = screen
        self.everything = everything

    def show(self) -> None:
        """Print every section that has something to say."""
        self._head()
        self._error()
        self._metrics()
        self._config()
        self._artifacts()
        self._checkpoints()
        self._inputs()
        self._changes()
        self._children()
        show_environment(self.screen, self.run.environment, self.everything)
        self._capture()
        self._own_time()
        self._trouble()

    def _head(self) -> None:
        run, screen = self.run, self.screen
        screen.titled(run.name, "  ", (run.id, "dim"), "  ", (run.status, STATUS_STYLES.get(run.status, "")))
        rows = [("project", run.project)]
        named = (("group", run.group), ("parent", run.parent), ("framework", run.framework))
        rows += [(name, value) for name, value in named if value]
        rows.append(("created", f"{time_text(run.created)}  ({age_text(run.created)})"))
        rows.append(self._end())
        if why := why_ended(run):
            rows.append(("stopped", why))
        if run.attempts > 1:
            rows.append(("attempts", str(run.attempts)))
        if run.tags:
            rows.append(("tags", ", ".join(run.tags)))
        if run.archived:
            rows.append(("archived", "yes"))
        rows.append(("folder", str(run.dir)))
        screen.pairs(rows)
        if run.notes:
            screen.heading("Notes")
            screen.text(run.notes, indent=2)

    def _end(self) -> tuple[str, str]:
        run, length = self.run, duration_text(self.run.duration)
        if run.finished:
            return "finished", f"{time_text(run.finished)}  (after {length})"
        if run.status == "running":
            return "so far", length
        return "last seen", f"{time_text(run.last_seen)}  (after {length})"

    def _error(self) -> None:
        error = self.run.error
        if not error:
            return
        self.screen.heading("Error")
        message = f"{error.get('type') or 'error'}: {error.get('message') or ''}".rstrip(": ")
        self.screen.text(message, "red", indent=2)
        traceback = str(error.get("traceback") or "").rstrip("\n")
        if traceback.endswith(message):  # which stands there with the module of its type
            traceback = traceback.removesuffix(message).rpartition("\n")[0]
        lines = traceback.rstrip("\n").split("\n")
        if lines == [""]:
            return
        most = len(lines) if self.everything else 12
        if len(lines) > most:
            self.screen.line(f"  … {len(lines) - most} more lines above; --all shows them", cut_to_width=True)
        self.screen.text("\n".join(lines[-most:]), "dim", indent=2)

    def _config(self) -> None:
        parts = parts_of(self.run.config, None if self.everything else ROWS)
        rows: list[tuple[str, str]] = []
        for part in parts:
            rows += [(key, value_text(value)) for key, value in part.rows.items()]
            if part.name and part.rows and part.more:
                rows.append((f"{part.name}.{self.screen.mark}", f"{part.more} more"))
        if rows:
            hidden = sum(part.more for part in parts)
            self.screen.heading("Config", count_text(sum(len(part.rows) for part in parts) + hidden, "value"))
            self.screen.pairs(rows)
            self._more(hidden)

    def _metrics(self) -> None:
        metrics = self.run.metrics
        keys = [key for key in metrics if self.everything or not key.startswith("system/")]
        keys.sort(key=lambda key: (key.startswith("system/"), interest(key)))
        hidden = len(metrics) - len(keys)
        if not metrics:
            return
        self.screen.heading(
            "Metrics", f"and {count_text(hidden, 'system counter')} (--all)" if hidden else ""
        )
        if keys:
            self._metric_table(self._first(keys))
        self._more(len(keys) - len(self._first(keys)))

    def _metric_table(self, keys: list[str]) -> None:
        history = self.run.history(keys=keys, max_points=curve_points(_CURVE))
        wide = 12 if self.screen.width < 80 else _CURVE
        name = Column("key", keep=True, middle=True, narrowest=24)
        curve = Column("curve", narrowest=wide)
        numbers = {
            title: Column(title, right=True, whole=True)
            for title in ("last", "min", "max", "mean", "points", "not finite", "steps")
        }
        for key in keys:
            metric = self.run.metrics[key]
            name.add(key)
            course = history[key]
            values, steps = course.values.tolist(), course.steps.tolist()
            curve.add(sparkline(values, wide, self.screen.unicode, steps) if len(values) > 1 else "", "cyan")
            for title in ("last", "min", "max", "mean"):
                numbers[title].add(reading_text(key, getattr(metric, title)))
            numbers["points"].add(metric.count)
            numbers["not finite"].add(metric.nonfinite or "-", "yellow" if metric.nonfinite else "")
            first, last = metric.first_step, metric.last_step
            numbers["steps"].add(number_text(first) if first == last else f"{first}-{last}")
        numbers["last"].keep = True
        titles = ["min", "max", "mean", "points", "steps"]
        if any(self.run.metrics[key].nonfinite for key in keys):
            titles.insert(2, "not finite")
        self.screen.table([name, numbers["last"], curve, *(numbers[title] for title in titles)], indent=2)

    def _artifacts(self) -> None:
        rows = list({(one.name, one.type, one.step, one.digest): one for one in self.run.artifacts}.values())
        if not rows:
            return
        self.screen.heading("Artifacts")
        columns = [
            Column("name", keep=True, middle=True),
            Column("type", whole=True),
            Column("size", right=True, whole=True),
            Column("step", right=True, whole=True),
            Column("sha256", whole=True),
        ]
        for one in self._first(rows):
            cells = (one.name, one.type, size_text(one.size), number_text(one.step), (one.digest or "-")[:12])
            for column, text in zip(columns, cells, strict=True):
                column.add(text)
        self.screen.table(columns, indent=2)
        self._more(len(rows) - len(self._first(rows)))

    def _checkpoints(self) -> None:
        rows = self.run.checkpoints
        if not rows:
            return
        self.screen.heading("Checkpoints")
        columns = [
            Column("path", keep=True, middle=True, narrowest=12),
            Column("step", right=True, whole=True),
            Column("score", right=True, whole=True),
            Column("size", right=True, whole=True),
            Column("state", whole=True),
            Column("sha256", whole=True, goes=1),
        ]
        shown = rows if self.everything else [one for one in rows if one.is_there][-ROWS:]
        for one in shown:
            score = "-" if one.score is None else f"{one.monitor or 'score'} {number_text(one.score)}"
            why = f"({one.why})" if one.state == "removed" and one.why else ""
            size, state = size_text(one.size), " ".join(filter(None, (one.state, why, *one.marks)))
            cells = (one.path, number_text(one.step), score, size, state, (one.digest or "-")[:12])
            for column, text in zip(columns, cells, strict=True):
                column.add(text)
        self.screen.table(columns, indent=2)
        self._more(len(rows) - len(shown))

    def _inputs(self) -> None:
        rows = self.run.inputs
        if not rows:
            return
        self.screen.heading("Inputs")
        columns = [
            Column("path", keep=True, middle=True, narrowest=12),
            Column("role"),
            Column("size", right=True, whole=True),
            Column("sha256", whole=True),
        ]
        for one in self._first(rows):
            for column, text in zip(
                columns, (one.path, _role(one), size_text(one.size), (one.digest or "-")[:12]), strict=True
            ):
                column.add(text)
        self.screen.table(columns, indent=2)
        self._more(len(rows) - len(self._first(rows)))

    def _changes(self) -> None:
        rows = self.run.changes
        if not rows:
            return
        self.screen.heading("Changed when it was resumed")
        names = ("attempt", "what", "key", "before", "after")
        columns = [Column(name, keep=name == "key", right=name == "attempt") for name in names]
        for one in self._first(rows):
            for column, value in zip(columns, one, strict=True):
                column.add("-" if value is None else value_text(value))
        self.screen.table(columns, indent=2)
        self._more(len(rows) - len(self._first(rows)))

    def _children(self) -> None:
        rows = self.run.children
        if not rows:
            return
        self.screen.heading("Children", count_text(len(rows), "run"))
        columns = [
            Column("id", keep=True, whole=True),
            Column("name", keep=True, narrowest=12, middle=True),
            Column("status", keep=True, whole=True),
            Column("duration", right=True, whole=True, goes=2),
        ]
        shown = self._first(rows)
        for child in shown:
            columns[0].add(child.id)
            columns[1].add(child.name)
            columns[2].add(child.status, STATUS_STYLES.get(child.status, ""))
            columns[3].add(duration_text(child.duration))
        self.screen.table([*columns, *_telling(shown)], indent=2)
        self._more(len(rows) - len(self._first(rows)))

    def _capture(self) -> None:
        rows = list({row.get("what"): row for row in self.run.capture_report}.values())
        if not rows:
            return
        seen = 0 if self.everything else sum(row.get("status") == "captured" for row in rows)
        if seen:
            rows = [row for row in rows if row.get("status") != "captured"]
        self.screen.heading("Capture report", f"and {seen} captured (--all)" if seen and rows else "")
        if not rows:
            self.screen.line(f"  all {seen} parts captured (--all)")
            return
        styles = {"captured": "green", "skipped": "yellow", "failed": "red"}
        wide = max(text_width(clean(row.get("what", "-"))) for row in rows)
        for row in rows:
            what, status, took = clean(row.get("what", "-")), clean(row.get("status", "-")), row.get("ms")
            head = [
                ("  " + what + " " * (wide - text_width(what) + 2), ""),
                (status.ljust(10), styles.get(status, "")),
                (("-" if took is None else nanoseconds_text(took * 1e6)).rjust(8) + "  ", "dim"),
            ]
            self.screen.wrapped(head, row.get("why") or "", hang=wide + 4)

    def _own_time(self) -> None:
        own = self.run.own_ns
        if not own:
            return
        self.screen.heading("autotrack's own time", "on the training's threads")
        rows = [
            (name, str(amount) if name == "calls" else nanoseconds_text(amount))
            for name, amount in own.items()
        ]
        self.screen.pairs(rows)

    def _trouble(self) -> None:
        run = self.run
        lines = [
            f"{warning.get('slug', 'warning')}: {warning.get('message', '')}" for warning in run.warnings
        ]
        lines += [
            f"gap: {gap.get('dropped', '?')} lines were dropped ({gap.get('reason') or 'no reason recorded'})"
            for gap in run.gaps
        ]
        if run.damaged:
            lines.append(
                f"damaged: {count_text(run.damaged, 'line')} of the journal cannot be read and is left out"
            )
        if not lines:
            return
        self.screen.heading("Warnings and gaps")
        for line in lines:
            self.screen.text(line, "yellow", indent=2)

    def _first(self, rows: list[Any]) -> list[Any]:
        return rows if self.everything else rows[:ROWS]

    def _more(self, number: int) -> None:
        if number > 0:
            self.screen.line((f"  {self.screen.mark} {number} more; --all shows them", "dim"))


def _role(one: "Input") -> str:
    """What an input was for; of a checkpoint also the run that wrote it."""
    at = "" if one.step is None else f" step {one.step}"
    return one.role if one.run is None else f"{one.role} of {one.run}{at}"


def _telling(runs: "Sequence[RunRecord]") -> list[Column]:
    """The metrics and the config values that tell runs apart."""
    columns = []
    for key in interesting_metrics(runs, 2):
        column = Column(key, right=True, whole=True, middle=True)
        values = [run.metrics[key].last if key in run.metrics else None for run in runs]
        best = best_places(values, better(key))
        for place, value in enumerate(values):
            column.add(number_text(value), "bold green" if place in best else "")
        columns.append(column)
    configs = [flatten(run.config) for run in runs]
    for key in differences(configs)[0][:3]:
        column = Column(key, middle=True, narrowest=12, goes=1)
        for config in configs:
            column.add(value_text(config[key]) if key in config else "-")
        columns.append(column)
    return columns
