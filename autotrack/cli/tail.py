"""`autotrack tail`: follows the metrics of a run while it writes them."""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from autotrack.cli.context import newest, note, opened, refreshed
from autotrack.cli.output import clean, duration_text, json_text, matches, number_text, text_width
from autotrack.cli.parameters import optional_run
from autotrack.cli.screen import Screen

if TYPE_CHECKING:
    from autotrack.cli.follow import Line
    from autotrack.index import Index, RunRecord

LINES = 10


def command(
    ctx: typer.Context,
    run: Annotated[str | None, optional_run("the newest running run")] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key", "-k", metavar="PATTERN", help="Only metrics like this: 'val*'. May be repeated."
        ),
    ] = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="N", min=0, help="How many lines of before to start with.")
    ] = LINES,
    interval: Annotated[
        float,
        typer.Option("--interval", "-i", metavar="SECONDS", min=0.05, help="Seconds between two looks."),
    ] = 0.5,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="A line for each step, in a terminal too (a pipe always gets lines)."),
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Show what is there now, and leave.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON Lines: {step, time, values}.")] = False,
) -> None:
    """Follow a run's metrics until it ends."""
    screen = Screen()
    with opened(ctx) as index:
        record = index.get(run) if run else _running(index)
        if (screen.color or once) and screen.terminal and not plain and not as_json:
            from autotrack.cli.live import follow_on_screen

            follow_on_screen(index, record, screen, key or [], 0 if once else interval)
        else:
            choice = _Choice(key or [], lines, 0 if once else interval, as_json)
            record = _follow_lines(index, record, screen, choice)
            if record.status != "running":
                note(f"{record.id} {record.name}: {record.status} after {duration_text(record.duration)}")


class _Choice(NamedTuple):
    """How lines are chosen and written."""

    patterns: Sequence[str]
    lines: int
    interval: float
    as_json: bool


def _running(index: "Index") -> "RunRecord":
    found = index.runs(where='status == "running"', limit=1, children=False)
    return found[0] if found else newest(index)


def _follow_lines(index: "Index", record: "RunRecord", screen: Screen, choice: _Choice) -> "RunRecord":
    from autotrack.cli.follow import Feed

    feed = Feed(Path(record.dir), record.id, choice.patterns)
    is_there = any(matches(key, choice.patterns) for key in record.metrics)
    _write(feed.last(choice.lines if is_there else 0), screen, choice.as_json)
    while choice.interval and record.status == "running":
        time.sleep(choice.interval)
        record = refreshed(index, record)
        _write(feed.new(), screen, choice.as_json)
    return record


def _write(lines: Iterable["Line"], screen: Screen, as_json: bool) -> None:
    for line in lines:
        if as_json:
            moment = datetime.fromtimestamp(line.wall, UTC)
            screen.stream.write(
                json_text({"step": line.step, "time": moment, "values": line.values}, indent=None) + "\n"
            )
            continue
        parts: list[tuple[str, str] | str] = [
            (datetime.fromtimestamp(line.wall, UTC).astimezone().strftime("%H:%M:%S"), "dim"),
            f"  step {line.step}",
        ]
        room = screen.width - sum(text_width(part if isinstance(part, str) else part[0]) for part in parts)
        for key, value in line.values.items():
            name, number = f"{clean(key)}=", number_text(value)
            room -= text_width(name) + len(number) + 2
            if room < 2:
                parts.append(f" {screen.mark}")  # a number without its end would be another number
                break
            parts += ["  ", (name, "dim"), number]
        screen.line(*parts)
    screen.stream.flush()
