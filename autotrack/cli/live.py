"""The live table of `autotrack tail` in a terminal."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from autotrack.cli.context import refreshed
from autotrack.cli.output import count_text, curve_points, duration_text, matches, number_text, sparkline
from autotrack.cli.screen import STATUS_STYLES, Screen, terminal_size
from autotrack.cli.table import Column
from autotrack.cli.words import interest

if TYPE_CHECKING:
    from rich.text import Text

    from autotrack.index import Index, RunRecord

_CURVE = 24


def follow_on_screen(
    index: "Index", record: "RunRecord", screen: Screen, patterns: Sequence[str], interval: float
) -> "RunRecord":
    """Show the run's metrics and keep them up to date until it ends; interval 0 shows them once."""
    if not interval:
        picture(record, screen, patterns)
        return record
    from rich.live import Live

    with Live(
        _frame(record, screen, patterns), console=screen.console, auto_refresh=False, transient=False
    ) as live:
        while record.status == "running":
            time.sleep(interval)
            record = refreshed(index, record)
            live.update(_frame(record, screen, patterns), refresh=True)
    return record


def _frame(record: "RunRecord", screen: Screen, patterns: Sequence[str]) -> "Text":
    from rich.text import Text

    screen.width, height = terminal_size(screen.stream)
    with screen.kept() as lines:
        picture(record, screen, patterns, rows=max(height - 6, 1))
    return Text("\n").join(Text.assemble(*line, no_wrap=True) for line in lines)


def picture(record: "RunRecord", screen: Screen, patterns: Sequence[str], rows: int | None = None) -> None:
    """The run's state now: a head line, and a table of its metrics."""
    state = (record.status, STATUS_STYLES.get(record.status, ""))
    length = f"  {duration_text(record.duration)}"
    screen.titled(record.name, "  ", (record.id, "dim"), "  ", state, length)
    keys = [
        key
        for key in record.metrics
        if matches(key, patterns) and (patterns or not key.startswith("system/"))
    ]
    keys.sort(key=interest)
    if not keys:
        screen.line(("  no metrics yet", "dim"))
        return
    shown = keys[:rows]
    history = record.history(keys=shown, max_points=curve_points(_CURVE))
    name, last, curve = (
        Column("key", keep=True, middle=True, narrowest=24),
        Column("last", right=True, whole=True, keep=True),
        Column("curve", narrowest=8),
    )
    low, high, step = (
        Column("min", right=True, whole=True),
        Column("max", right=True, whole=True),
        Column("step", right=True, whole=True),
    )
    for key in shown:
        metric = record.metrics[key]
        name.add(key)
        last.add(number_text(metric.last))
        course = history[key]
        curve.add(sparkline(course.values.tolist(), _CURVE, screen.unicode, course.steps.tolist()), "cyan")
        low.add(number_text(metric.min))
        high.add(number_text(metric.max))
        step.add(number_text(metric.last_step))
    screen.table([name, last, curve, low, high, step], indent=2)
    if len(keys) > len(shown):
        screen.line(
            (f"  {screen.mark} {count_text(len(keys) - len(shown), 'more metric')}; --key chooses", "dim")
        )
