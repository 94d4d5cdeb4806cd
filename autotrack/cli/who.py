"""`autotrack who`: whose model is this?"""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotrack.cli.context import MISTAKE, note, opened, say
from autotrack.cli.output import age_text, json_text, number_text, size_text
from autotrack.cli.screen import Screen
from autotrack.cli.table import Column

if TYPE_CHECKING:
    from autotrack.index import Index, RunRecord
    from autotrack.index.uses import Known, Use

ROWS = 20
_SAME = {True: "same bytes", False: "other bytes", None: "same path"}


def command(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file or folder, wherever it lies now.")],
    everything: Annotated[
        bool, typer.Option("--all", "-a", help=f"Every run that has to do with it (default: {ROWS}).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Tell which runs saved, kept or read a file: by its content wherever it lies, and by its path.

    Exit code 1 when no run is known to have to do with it.
    """
    with opened(ctx) as index:
        known = index.uses(os.path.abspath(os.path.expanduser(file)))
        runs = {use.run: index.get(use.run) for use in known.uses}
        if as_json:
            say(json_text(_plain(known, runs)))
        else:
            _show(index, known, runs, everything)
    if not known.uses:
        raise typer.Exit(MISTAKE)


def _plain(known: "Known", runs: "dict[str, RunRecord]") -> dict[str, Any]:
    uses = [use._asdict() | _owner(runs[use.run]) for use in known.uses]
    return {"path": known.path, "size": known.size, "digest": known.digest, "uses": uses}


def _owner(run: "RunRecord") -> dict[str, Any]:
    host = run.environment.get("host") or {}
    return {
        "name": run.name,
        "project": run.project,
        "status": run.status,
        "user": host.get("user"),
        "host": host.get("name"),
    }


def _show(index: "Index", known: "Known", runs: "dict[str, RunRecord]", everything: bool) -> None:
    screen = Screen()
    screen.wrapped([], known.path, hang=2)
    if known.digest is not None:
        screen.text(f"{size_text(known.size)}, sha256 {known.digest}", "dim")
    if not known.uses:
        what = "no run saved, kept or read it under this path"
        more = (
            "and none has the same bytes" if known.digest else "and nothing that can be read lies there now"
        )
        note(f"Nobody knows: {what}, {more} ({index.layout.root}).")
        return
    uses = known.uses if everything else known.uses[:ROWS]
    screen.line()
    screen.table(_columns(uses, runs))
    if len(uses) < len(known.uses):
        screen.line((f"{screen.mark} {len(known.uses) - len(uses)} more; --all shows them", "dim"))


def _columns(uses: "list[Use]", runs: "dict[str, RunRecord]") -> list[Column]:
    table = {
        "what": Column("what", whole=True),
        "by": Column("it is", whole=True),
        "run": Column("run", whole=True, keep=True),
        "name": Column("name", narrowest=8),
        "project": Column("project", goes=1),
        "user": Column("user", goes=2),
        "step": Column("step", right=True, whole=True, goes=3),
        "score": Column("score", right=True, whole=True, goes=4),
        "when": Column("when", whole=True, goes=5),
        "path": Column("path", middle=True, narrowest=10, goes=6),
    }
    for use in uses:
        run, owner = runs[use.run], _owner(runs[use.run])
        user = f"{owner['user']}@{owner['host']}" if owner["user"] and owner["host"] else owner["user"] or "-"
        cells = {
            "what": use.what if use.role in (None, "data") else f"{use.what} as {use.role}",
            "by": _SAME[use.same],
            "run": use.run,
            "name": run.name,
            "project": run.project,
            "user": user,
            "step": number_text(use.step),
            "score": "-" if use.score is None else f"{use.monitor or 'score'} {number_text(use.score)}",
            "when": age_text(use.when),
            "path": use.path,
        }
        for key, text in cells.items():
            table[key].add(text, "yellow" if key == "by" and not use.same else "")
    return list(table.values())
