"""`autotrack audit verify`: is every decision of the registry there as it was made?"""

from typing import TYPE_CHECKING, Annotated

import typer

from autotrack.cli.context import MISTAKE, catalog_of, say
from autotrack.cli.output import count_text, json_text
from autotrack.cli.screen import Screen

if TYPE_CHECKING:
    from autotrack.registry.chain import ChainReport


def verify(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Read every decision: is each the one that the next names, and the one that the runs saw? Exit code 1 where not.

    The heads that are printed are worth keeping elsewhere, in a commit or a mail: who can write to the store can write
    all of it anew, and a head that was kept elsewhere tells.
    """
    from autotrack.catalog.checking import check_decisions

    with catalog_of(ctx) as catalog:
        report = check_decisions(catalog)
    if as_json:
        say(
            json_text(
                {
                    "whole": report.whole,
                    **report._asdict(),
                    "faults": [one._asdict() for one in report.faults],
                }
            )
        )
    else:
        _show(Screen(), report)
    if not report.whole:
        raise typer.Exit(MISTAKE)


def _show(screen: Screen, report: "ChainReport") -> None:
    for fault in report.faults:
        screen.wrapped([(f"{fault.model}, decision {fault.number}: ", "bold red")], fault.text, hang=2)
    for model, (number, digest) in report.heads.items():
        screen.wrapped([("  ", ""), (f"{model} ", ""), (f"decision {number} ", "dim")], digest, hang=4)
    looked = (
        f"{count_text(report.models, 'model')}, {count_text(report.decisions, 'decision')}, "
        f"{count_text(report.compared, 'head')} that runs have noted"
    )
    screen.text(f"Checked: {looked}.", "dim")
    if report.whole:
        screen.text("Every decision is as it was made.", "green")
    else:
        screen.text("Decisions were changed or removed. All others are as they were made.", "bold red")
