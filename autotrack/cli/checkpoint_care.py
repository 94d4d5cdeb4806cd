"""`autotrack checkpoint verify, gc`: whether what is kept is whole, and what of it could be freed."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotrack.cli.checkpoint import SPEC, AsJson
from autotrack.cli.context import MISTAKE, catalog_of, note, say
from autotrack.cli.output import count_text, json_text, size_text
from autotrack.cli.progress import added, progress
from autotrack.cli.screen import Screen
from autotrack.cli.table import Column

if TYPE_CHECKING:
    from autotrack.catalog.checking import KeptReport
    from autotrack.catalog.collect import Collection
    from autotrack.objects.budget import Budget


def verify(
    ctx: typer.Context,
    checkpoint: Annotated[
        str | None, typer.Argument(metavar="CHECKPOINT", help=f"{SPEC} (default: all that are kept)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read kept checkpoints again, and name every tensor that is not what was kept; exit code 1 where one is damaged."""
    from autotrack.catalog.checking import check_kept, kept_bytes

    with catalog_of(ctx) as catalog, progress("Checking", size=True, quiet=as_json) as tell:
        report = check_kept(catalog, checkpoint, added(tell, kept_bytes(catalog, checkpoint)))
    if as_json:
        damages = {name: [one._asdict() for one in found] for name, found in report.damages.items()}
        say(
            json_text(
                {
                    "whole": not damages,
                    "checkpoints": report.checkpoints,
                    "bytes": report.bytes,
                    "damages": damages,
                }
            )
        )
    else:
        _show_report(Screen(), report)
    if report.damages:
        raise typer.Exit(MISTAKE)


def _show_report(screen: Screen, report: "KeptReport") -> None:
    for name, damages in report.damages.items():
        screen.line((name, "bold red"))
        for damage in damages:
            screen.wrapped([("  - ", "dim")], str(damage), hang=4)
    looked = f"{count_text(report.checkpoints, 'kept checkpoint')}, {size_text(report.bytes)} when rebuilt"
    screen.text(f"Checked: {looked}.", "dim")
    if report.damages:
        others = " The others are as they were kept." if len(report.damages) < report.checkpoints else ""
        screen.text(
            f"{count_text(len(report.damages), 'checkpoint is', 'checkpoints are')} damaged.{others}",
            "bold red",
        )
    else:
        screen.text("Every one is as it was kept.", "green")


def gc(
    ctx: typer.Context,
    last: Annotated[
        int | None, typer.Option("--last", min=0, help="Of each run keep so many of the last ones.")
    ] = None,
    best: Annotated[
        int | None, typer.Option("--best", min=0, help="Of each run and metric keep so many of the best.")
    ] = None,
    every: Annotated[
        int | None, typer.Option("--every", min=1, help="Of each run keep those of every so many steps.")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Free it. Without this it is only told.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what of the store's checkpoints could be freed, and what each rule keeps; with --apply free it.

    Without --last, --best or --every all that the runs keep stays, and only what nothing refers to is freed. Pinned and
    registered ones, those of runs that go on, and those that an aliased version came from always stay.
    """
    from autotrack.catalog.collect import Rules, collect
    from autotrack.objects.budget import Budget

    with catalog_of(ctx) as catalog:
        found = collect(catalog, Rules(last, best, every), dry=not apply)
        budget = Budget(catalog.layout.objects)
        if as_json:
            say(json_text(_plain(found, budget)))
        else:
            _show(Screen(), found, budget)
    if found.problems:
        raise typer.Exit(MISTAKE)


def _plain(found: "Collection", budget: "Budget") -> dict[str, Any]:
    kept = {
        rule: {
            "checkpoints": sorted(":".join(key) for key in keys),
            "bytes_only_by_it": found.bytes_kept_only_by(rule),
        }
        for rule, keys in found.kept.items()
    }
    return {
        "dry": found.dry,
        "kept": kept,
        "freed": found.freed,
        "dropped": [":".join(key) for key in found.dropped],
        "problems": found.problems,
        "used": budget.used,
        "budget": budget.limit,
    }


def _show(screen: Screen, found: "Collection", budget: "Budget") -> None:
    rules = {rule: keys for rule, keys in found.kept.items() if keys}
    if rules:
        screen.heading("Kept")
        table = [
            Column("rule", keep=True),
            Column("checkpoints", right=True, whole=True),
            Column("only by this rule", right=True, whole=True),
        ]
        for rule, keys in rules.items():
            for column, text in zip(
                table, (rule, f"{len(keys):,}", size_text(found.bytes_kept_only_by(rule))), strict=True
            ):
                column.add(text)
        screen.table(table, indent=2)
    screen.heading("Would be freed" if found.dry else "Freed")
    table = [Column("what", keep=True), Column("bytes", right=True, whole=True)]
    for what, size in found.freed.items():
        table[0].add(f"{what} ({len(found.dropped):,})" if what.startswith("checkpoints") else what)
        table[1].add(size_text(size))
    screen.table(table, indent=2)
    screen.line()
    limit = "no AUTOTRACK_BUDGET is set" if budget.limit is None else f"of {size_text(budget.limit)}"
    screen.text(f"Kept checkpoints take {size_text(budget.used)} on the disk ({limit}).", "dim")
    for problem in found.problems:
        screen.text(problem, "bold red")
    if found.dry and found.bytes:
        note("Nothing was freed: --apply does that.")
