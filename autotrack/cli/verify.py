"""`autotrack verify`: is every line, object and file of the store what was written?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotrack.cli.context import MISTAKE, complete_runs, existing_store, say
from autotrack.cli.output import count_text, json_text, size_text
from autotrack.cli.progress import progress
from autotrack.cli.screen import Screen

if TYPE_CHECKING:
    from autotrack.verify import Report
    from autotrack.verify_run import Finding

SHOWN = 20


def command(
    ctx: typer.Context,
    run: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Ids or unique prefixes (default: the whole store).",
            autocompletion=complete_runs,
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help=f"Every finding and note (default: {SHOWN} of each).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Check every recorded line, object and file; exit code 1 when something is damaged or lost.

    Reads all of it again, names what was hit, and changes nothing. A note is worth knowing; nothing is lost by it.
    """
    from autotrack.verify import verify

    root = existing_store(ctx).root
    with progress("Checking", size=True, quiet=as_json) as tell:
        report = verify(root, run or (), tell)
    if as_json:
        say(json_text(plain(report)))
    else:
        _show(report, Screen(), everything)
    if not report.whole:
        raise typer.Exit(MISTAKE)


def plain(report: "Report") -> dict[str, Any]:
    """The report for JSON."""
    counts = {
        name: getattr(report, name) for name in ("runs", "files", "lines", "objects", "checkpoints", "bytes")
    }
    findings = [finding._asdict() for finding in report.findings]
    return {"whole": report.whole, "store": str(report.store), **counts, "findings": findings}


def _show(report: "Report", screen: Screen, everything: bool) -> None:
    damage = [finding for finding in report.findings if finding.state == "damage"]
    notes = [finding for finding in report.findings if finding.state == "note"]
    for title, found, style in (("Damaged or lost", damage, "bold red"), ("Notes", notes, "yellow")):
        if not found:
            continue
        screen.line((title, style))
        shown = found if everything else found[:SHOWN]
        for file in dict.fromkeys(finding.file for finding in shown):
            _file(screen, file, [finding for finding in shown if finding.file == file], report.store)
        if len(found) > len(shown):
            screen.line((f"  {screen.mark} {len(found) - len(shown)} more; --all shows them", "dim"))
        screen.line()
    looked = (
        f"{count_text(report.runs, 'run')}, {count_text(report.files, 'journal file')} with "
        f"{count_text(report.lines, 'whole line')}, {count_text(report.objects, 'object')}, "
        f"{count_text(report.checkpoints, 'kept checkpoint')}, {size_text(report.bytes)}"
    )
    screen.text(f"Checked: {looked}.", "dim")
    verdict = "Everything is whole." if report.whole else _verdict(damage)
    screen.text(verdict, "green" if report.whole else "bold red")


def _file(screen: Screen, file: str, found: "list[Finding]", store: Path) -> None:
    """A file's place, then what is amiss with it. The place is wrapped, not cut: somebody will want to look there."""
    screen.wrapped([("  ", "")], str(store / file) if found[0].run is None else file, hang=2)
    for finding in found:
        screen.wrapped([("    ", ""), ("- ", "dim")], finding.text, hang=6)


def _verdict(damage: "list[Finding]") -> str:
    files = len({finding.file for finding in damage})
    runs = len({finding.run for finding in damage if finding.run})
    lost = sum(last - first + 1 for finding in damage for first, last in finding.lost)
    events = f"; {count_text(lost, 'event')} {'is' if lost == 1 else 'are'} lost" if lost else ""
    if any(finding.open_end for finding in damage):
        events += ", perhaps more behind them" if lost else "; what stood at the end of a file is lost"
    where = f"{count_text(files, 'file')}" + (f" of {count_text(runs, 'run')}" if runs else "")
    return f"Damage in {where}{events}. All the rest is read as it was written."
