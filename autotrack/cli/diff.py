"""`autotrack diff`: what differs between two runs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from autotrack.cli.context import complete_runs, opened, say
from autotrack.cli.output import (
    age_text,
    count_text,
    duration_text,
    fitted,
    flatten,
    json_text,
    number_text,
    value_text,
)
from autotrack.cli.screen import STATUS_STYLES, Screen
from autotrack.cli.table import GAP, Column
from autotrack.cli.words import better

if TYPE_CHECKING:
    from pathlib import Path

    from autotrack.index import RunRecord

ROWS = 40
_STYLES = {"changed": ("~", "yellow"), "added": ("+", "green"), "removed": ("-", "red"), "same": ("", "dim")}
_SUBJECTS = {"git": "code", "packages": "packages", "command": "command"}
_TITLES = {"run": "Run", "config": "Config", "code": "Code", "packages": "Packages", "command": "Command"}
_PASSING = frozenset(
    {
        "host.pid",
        "hardware.disk_free",
        "command.argv",
        "packages.cached",
        "packages.fingerprint",
        "packages.size",
    }
)
"""Facts that differ between any two runs, or say again what another one says: with --all only."""
_KEY = 24
_LEAST = 12


class Change(NamedTuple):
    """One value in both runs. `kind`: changed, added (only the second run has it), removed (only the first), same."""

    key: str
    kind: str
    values: tuple[Any, Any]


def command(
    ctx: typer.Context,
    first: Annotated[
        str, typer.Argument(metavar="RUN", help="Id or unique prefix.", autocompletion=complete_runs)
    ],
    second: Annotated[
        str, typer.Argument(metavar="RUN", help="The run to compare it with.", autocompletion=complete_runs)
    ],
    everything: Annotated[
        bool,
        typer.Option(
            "--all", "-a", help=f"What is equal, and system counters too (default: {ROWS} rows a part)."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show what differs between two runs: config, code, packages, command, machine, inputs, metrics.

    ~ changed, + only in the second run, - only in the first. `compare` puts more than two runs side by side.
    """
    with opened(ctx) as index:
        runs = index.get(first), index.get(second)
        if runs[0].id == runs[1].id:
            raise typer.BadParameter("give two different runs", param_hint="RUN RUN")
        parts = differences(*runs, index.layout.objects, everything)
        metrics = metric_changes(*runs, everything)
        if as_json:
            say(json_text(plain(runs, parts, metrics)))
        else:
            _Page(Screen(), runs, everything).show(parts, metrics)


def differences(
    a: "RunRecord", b: "RunRecord", objects: "Path", everything: bool = False
) -> dict[str, list[Change]]:
    """What differs, by part; `everything`: what is the same as well."""
    facts = [_facts(run, objects) for run in (a, b)]
    parts = {"run": _changes(_head(a), _head(b)), "config": _changes(flatten(a.config), flatten(b.config))}
    for part in ("code", "packages", "command", "environment"):
        parts[part] = _changes(facts[0].get(part, {}), facts[1].get(part, {}))
    parts["inputs"] = _changes(_inputs(a), _inputs(b))
    if everything:
        return parts
    return {
        part: [change for change in changes if change.kind != "same" and change.key not in _PASSING]
        for part, changes in parts.items()
    }


def metric_changes(a: "RunRecord", b: "RunRecord", everything: bool = False) -> list[dict[str, Any]]:
    """For each metric that differs: `key`, `change`, and of `last` and `min` both values and their difference."""
    found = []
    rows = a.metrics, b.metrics
    for key in dict.fromkeys([*rows[0], *rows[1]]):
        if key.startswith("system/") and not everything:
            continue
        values = [
            (row[key].last, row[key].min, row[key].count) if key in row else (None, None, None)
            for row in rows
        ]
        kind = _kind(key, *rows) or ("same" if all(map(_alike, *values)) else "changed")
        if kind == "same" and not everything:
            continue
        entry: dict[str, Any] = {"key": key, "change": kind}
        for place, name in enumerate(("last", "min", "count")):
            one, other = values[0][place], values[1][place]
            entry[name] = [one, other]
            entry[f"{name}_difference"] = None if one is None or other is None else other - one
        found.append(entry)
    return found


def plain(
    runs: tuple["RunRecord", "RunRecord"], parts: Mapping[str, list[Change]], metrics: list[dict[str, Any]]
) -> dict[str, Any]:
    """The differences for JSON."""
    named = {
        part: {change.key: {"change": change.kind, "values": list(change.values)} for change in changes}
        for part, changes in parts.items()
    }
    return {
        "runs": [run.id for run in runs],
        **named,
        "metrics": {
            entry["key"]: {name: value for name, value in entry.items() if name != "key"} for entry in metrics
        },
    }


def _changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Change]:
    return [
        Change(
            key,
            _kind(key, a, b) or ("same" if _alike(a[key], b[key]) else "changed"),
            (a.get(key), b.get(key)),
        )
        for key in dict.fromkeys([*a, *b])
    ]


def _kind(key: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """Whether a key was added or removed; empty where both have it."""
    return "added" if key not in a else "removed" if key not in b else ""


def _alike(a: Any, b: Any) -> bool:
    """Whether two values are the same; NaN is the same as NaN, and 1 is not the same as True."""
    if isinstance(a, bool) is not isinstance(b, bool):
        return False
    return bool(a == b or (a != a and b != b))


def _head(run: "RunRecord") -> dict[str, Any]:
    error = run.error or {}
    facts = {
        "name": run.name,
        "project": run.project,
        "status": run.status,
        "error": f"{error.get('type')}: {error.get('message')}" if error else None,
        "duration": round(run.duration, 3),
        "framework": run.framework,
        "group": run.group,
        "parent": run.parent,
        "tags": list(run.tags) or None,
        "notes": run.notes or None,
        "attempts": run.attempts,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _facts(run: "RunRecord", objects: "Path") -> dict[str, dict[str, Any]]:
    """What surrounded a run, by part."""
    from autotrack.index.changes import packages_of

    found: dict[str, dict[str, Any]] = {}
    for what, facts in run.environment.items():
        if what == "packages":
            found["packages"] = packages_of(facts, objects)
            continue
        part = _SUBJECTS.get(what, "environment")
        flat = flatten({what: facts})
        found.setdefault(part, {}).update(
            {key: value for key, value in flat.items() if value not in (None, "", [], {})}
        )
    return found


def _inputs(run: "RunRecord") -> dict[str, Any]:
    return {one.path: one.digest or f"{one.size} bytes" for one in run.inputs}


class _Page:
    """The differences on the terminal."""

    def __init__(self, screen: Screen, runs: tuple["RunRecord", "RunRecord"], everything: bool) -> None:
        self.screen = screen
        self.runs = runs
        self.everything = everything
        self.room = max((screen.width - _KEY - 4 - 3 * GAP) // 2, _LEAST)

    def show(self, parts: Mapping[str, list[Change]], metrics: list[dict[str, Any]]) -> None:
        """Both runs, then every part that differs."""
        for run, (mark, style) in zip(self.runs, (("-", "red"), ("+", "green")), strict=True):
            facts = f"{age_text(run.created)}, {duration_text(run.duration)}"
            status = (run.status, STATUS_STYLES.get(run.status, ""))
            self.screen.line(
                (mark, style), " ", (run.id, "bold"), "  ", run.name, "  ", status, "  ", (facts, "dim")
            )
        self._values(parts)
        if metrics:
            self._metrics(metrics)
        if not metrics and not any(parts.values()):
            self.screen.line()
            self.screen.text("The two runs do not differ in anything that was recorded of both.", "green")

    def _values(self, parts: Mapping[str, list[Change]]) -> None:
        columns = [Column("", keep=True, whole=True), Column("", keep=True, middle=True, narrowest=_LEAST)]
        columns += [Column("", keep=True, narrowest=_LEAST) for _ in self.runs]
        sections: dict[int, tuple[str, str]] = {}
        number = 0
        for part, changes in parts.items():
            if not changes:
                continue
            shown = changes if self.everything else changes[:ROWS]
            more = f"; {len(changes) - len(shown)} more with --all" if len(shown) < len(changes) else ""
            sections[number] = (_TITLES.get(part, part.capitalize()), _remark(changes) + more)
            number += len(shown)
            for change in shown:
                self._row(columns, part, change)
        if number:
            self.screen.table(columns, indent=2, header=False, sections=sections)

    def _row(self, columns: list[Column], part: str, change: Change) -> None:
        mark, style = _STYLES[change.kind]
        columns[0].add(mark, style)
        columns[1].add(change.key, "" if change.kind != "same" else "dim")
        texts = [_text(part, change.key, value) for value in change.values]
        if change.key == "git.commit" and not self.everything:
            texts = [text[:12] for text in texts]
        if self.screen.terminal and max(map(len, texts)) > self.room:
            if all(isinstance(value, float) for value in change.values):
                texts = [fitted(value, self.room) for value in change.values]
            else:
                texts = _from_difference(texts[0], texts[1], self.room, self.screen.mark)
        there = [change.kind != "added", change.kind != "removed"]
        for column, text, has, color in zip(columns[2:], texts, there, ("red", "green"), strict=True):
            column.add(text if has else "-", color if has and change.kind != "same" else "dim")

    def _metrics(self, metrics: list[dict[str, Any]]) -> None:
        counts = [Change(entry["key"], entry["change"], (None, None)) for entry in metrics]
        shown = metrics if self.everything else metrics[:ROWS]
        more = f"; {len(metrics) - len(shown)} more with --all" if len(shown) < len(metrics) else ""
        self.screen.heading("Metrics", _remark(counts) + more)
        mark = Column("", keep=True, whole=True)
        name = Column("", keep=True, middle=True, narrowest=_LEAST)
        numbers = {
            f"{statistic}{of}": Column(title, right=True, whole=True, goes=2 if statistic == "min" else 1)
            for statistic in ("last", "min")
            for of, title in (("-", f"{statistic} -"), ("+", f"{statistic} +"), ("", "change"))
        }
        numbers["last-"].keep = numbers["last+"].keep = True
        for entry in shown:
            mark.add(*_STYLES[entry["change"]])
            name.add(entry["key"])
            for statistic in ("last", "min"):
                one, other = entry[statistic]
                numbers[f"{statistic}-"].add(number_text(one), "dim" if one is None else "red")
                numbers[f"{statistic}+"].add(number_text(other), "dim" if other is None else "green")
                difference = entry[f"{statistic}_difference"]
                numbers[statistic].add(_difference_text(difference, one), _verdict(entry["key"], difference))
        if self.screen.table([mark, name, *numbers.values()], indent=2):
            self.screen.line((f"  {self.screen.mark} a wider terminal, or a pipe, shows more columns", "dim"))


def _remark(changes: list[Change]) -> str:
    """`2 changed, 1 added`."""
    kinds = {kind: sum(change.kind == kind for change in changes) for kind in _STYLES}
    return ", ".join(f"{number} {kind}" for kind, number in kinds.items() if number)


def _text(part: str, key: str, value: Any) -> str:
    if value is None:
        return "None"
    if part == "run" and key == "duration":
        return duration_text(value)
    if part == "inputs":
        return str(value)[:12] if " " not in str(value) else str(value)
    if isinstance(value, list) and len(value) > 8:
        return count_text(len(value), "entry", "entries") + ": " + value_text(value)
    return value_text(value)


def _from_difference(a: str, b: str, room: int, mark: str) -> list[str]:
    """Two long texts, each from shortly before the place where they begin to differ."""
    same = next(
        (place for place, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]),
        min(len(a), len(b)),
    )
    start = max(min(same - room // 3, max(len(a), len(b)) - room), 0)
    return [a, b] if start == 0 else [mark + text[start + len(mark) :] for text in (a, b)]


def _difference_text(difference: float | None, one: float | None) -> str:
    if difference is None or difference != difference:
        return "-"
    text = number_text(difference)
    text = text if text.startswith("-") else f"+{text}"
    if not one or difference in (float("inf"), float("-inf")) or abs(one) == float("inf"):
        return text
    return f"{text} ({difference / abs(one):+.1%})"


def _verdict(key: str, difference: float | None) -> str:
    """Green where the second run is the better one by the metric's name, red where it is not."""
    direction = better(key)
    if not direction or not difference or difference != difference:
        return ""
    return "green" if (difference < 0) is (direction == "min") else "red"
