"""`autotrack checkpoint ls, show, get, resume, load`: what was saved, and getting it back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotrack.cli.context import catalog_of, complete_runs, note, say
from autotrack.cli.output import age_text, clean, count_text, json_text, number_text, size_text, time_text
from autotrack.cli.progress import added, progress
from autotrack.cli.screen import Screen
from autotrack.cli.table import Column

if TYPE_CHECKING:
    from autotrack.catalog.find import Catalog, Target
    from autotrack.index.saves import Checkpoint
    from autotrack.registry.models import Model, Version

ROWS = 20
SPEC = "MODEL, MODEL@ALIAS, MODEL@v3, RUN, RUN:best, RUN:last, RUN:step=100, RUN:METRIC, or the id of a save."
Spec = Annotated[str, typer.Argument(metavar="CHECKPOINT", help=SPEC)]
AsJson = Annotated[bool, typer.Option("--json", help="JSON.")]


def ls(
    ctx: typer.Context,
    run: Annotated[
        str | None, typer.Option("--run", "-r", help="Those of one run.", autocompletion=complete_runs)
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help=f"Also those that are gone, and more than {ROWS}.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List models, and the checkpoints of runs, newest first."""
    with catalog_of(ctx) as catalog:
        models, problems = ([], []) if run is not None else catalog.readable()
        for problem in problems:
            note(problem)
        saves = _saves(catalog, run)
        names = _names(models)
        if as_json:
            say(
                json_text(
                    {
                        "models": [plain_model(one) for one in models],
                        "checkpoints": [plain_save(one, names) for one in saves],
                    }
                )
            )
            return
        screen = Screen()
        _list_models(screen, models)
        _list_saves(screen, saves, names, everything)
        if not models and not saves:
            note("No run of this store has saved a checkpoint yet.")


def _saves(catalog: "Catalog", run: str | None) -> "list[Checkpoint]":
    if run is not None:
        return list(reversed(catalog.index.get(run).checkpoints))
    found = [one for saves in catalog.index.checkpoints().values() for one in saves]
    return sorted(found, key=lambda one: one.saved, reverse=True)


def _names(models: "list[Model]") -> dict[tuple[str, str], list[str]]:
    """By the save that it is: the names of a version and of its aliases."""
    found: dict[tuple[str, str], list[str]] = {}
    for model in models:
        for version in model.versions:
            names = [str(version), *(f"{model.name}@{alias}" for alias in model.aliases_of(version.number))]
            found.setdefault(version.kept, []).extend(names)
    return found


def _list_models(screen: Screen, models: "list[Model]") -> None:
    if not models:
        return
    screen.heading("Models")
    table = [
        Column("model", keep=True),
        Column("versions", right=True, whole=True),
        Column("aliases", narrowest=12),
        Column("newest", whole=True, goes=1),
        Column("by", goes=2),
    ]
    for model in models:
        aliases = ", ".join(f"{alias} v{number}" for alias, number in sorted(model.aliases.items()))
        newest = model.versions[-1] if model.versions else None
        cells = (
            model.name,
            str(len(model.versions)),
            aliases or "-",
            age_text(newest.registered if newest else None),
            newest.by if newest else "-",
        )
        for column, text in zip(table, cells, strict=True):
            column.add(text)
    screen.table(table, indent=2)


def _list_saves(
    screen: Screen, saves: "list[Checkpoint]", names: dict[tuple[str, str], list[str]], everything: bool
) -> None:
    there = saves if everything else [one for one in saves if one.is_there]
    shown = there if everything else there[:ROWS]
    if shown:
        screen.heading("Checkpoints")
        screen.table(save_table(shown, names), indent=2)
    if len(saves) > len(shown):
        gone = len(saves) - len(there)
        more = count_text(len(there) - len(shown), "more") if len(there) > len(shown) else ""
        words = ", ".join(part for part in (more, f"{gone:,} gone" if gone else "") if part)
        screen.line((f"  {screen.mark} {words}; --all shows them", "dim"))


def save_table(saves: "list[Checkpoint]", names: dict[tuple[str, str], list[str]]) -> list[Column]:
    """The rows of saves."""
    table = {
        "id": Column("save", whole=True, keep=True),
        "run": Column("run", whole=True, keep=True),
        "step": Column("step", right=True, whole=True, goes=1),
        "score": Column("score", right=True, whole=True, goes=2),
        "size": Column("size", right=True, whole=True, goes=4),
        "state": Column("state", whole=True, goes=1),
        "when": Column("when", whole=True, goes=5),
        "name": Column("named", goes=3),
        "path": Column("path", middle=True, narrowest=12, goes=6),
    }
    for one in saves:
        cells = {
            "id": one.id or "-",
            "run": one.run,
            "step": number_text(one.step),
            "score": "-" if one.score is None else f"{one.monitor or 'score'} {number_text(one.score)}",
            "size": size_text(one.size),
            "state": " ".join((one.state, *one.marks)),
            "when": age_text(one.saved),
            "name": ", ".join(reversed(names.get((one.run, one.id or ""), []))) or "-",
            "path": one.path,
        }
        for key, text in cells.items():
            table[key].add(text, _style(one) if key == "state" else "")
    if all(text == "-" for text, _ in table["name"].cells):
        del table["name"]
    return list(table.values())


def _style(save: "Checkpoint") -> str:
    return {"damaged": "red", "stored": "green"}.get(save.state, "" if save.is_there else "dim")


def plain_save(save: "Checkpoint", names: dict[tuple[str, str], list[str]]) -> dict[str, Any]:
    """A save for JSON."""
    return save.__dict__ | {"names": names.get((save.run, save.id or ""), [])}


def plain_model(model: "Model") -> dict[str, Any]:
    """A model for JSON."""
    decisions = [{"digest": one.digest} | one.body for one in model.decisions]
    return {
        "name": model.name,
        "aliases": model.aliases,
        "versions": [one.__dict__ for one in model.versions],
        "decisions": decisions,
    }


def get(
    ctx: typer.Context,
    checkpoint: Spec,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", "-o", metavar="PATH", help="Put a copy there (a folder takes it under its name)."
        ),
    ] = None,
) -> None:
    """Print a path at which a checkpoint lies, byte for byte as it was saved.

    That is where the training put it, while it is still there and the same; else it is rebuilt from the store.
    """
    from autotrack.catalog.fetch import fetch

    with catalog_of(ctx) as catalog:
        target = catalog.find(checkpoint)
        with progress("Getting", size=True) as tell:
            place = None if to is None else to.expanduser().absolute()
            say(str(fetch(catalog, target, place, added(tell, target.size or 0))))


def resume(
    ctx: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Id or unique prefix.", autocompletion=complete_runs)
    ],
) -> None:
    """Print a path of the newest checkpoint of a run that is whole and still to be had.

    What its framework's own checkpointing has saved goes before what your code has saved, which may be the weights alone.
    """
    from autotrack.catalog.fetch import newest

    with catalog_of(ctx) as catalog:
        say(str(newest(catalog, run)))


def load(
    ctx: typer.Context,
    checkpoint: Spec,
    pickle: Annotated[
        bool,
        typer.Option("--pickle", help="Allow what runs code from the file; only if you trust its maker."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Load a checkpoint with its framework, safely, and tell what is in it."""
    from autotrack.catalog.fetch import fetch
    from autotrack.catalog.loading import contents, load_file

    with catalog_of(ctx) as catalog:
        path = fetch(catalog, catalog.find(checkpoint))
    rows = contents(load_file(path, pickle))
    if as_json:
        say(json_text([{"name": name, "what": what} for name, what in rows]))
        return
    screen = Screen()
    table = [Column("name", keep=True, middle=True, narrowest=16), Column("what", narrowest=16)]
    for name, what in rows:
        table[0].add(name or "(itself)")
        table[1].add(what)
    screen.table(table)


def show(ctx: typer.Context, checkpoint: Spec, as_json: AsJson = False) -> None:
    """Show a model with every decision about it, or a checkpoint and what it came from."""
    from autotrack.catalog.trace import lineage
    from autotrack.registry.decisions import models_in

    with catalog_of(ctx) as catalog:
        if checkpoint in models_in(catalog.layout.registry):
            model = catalog.model(checkpoint)
            say(json_text(plain_model(model))) if as_json else _show_model(Screen(), model)
            return
        target = catalog.measured(catalog.find(checkpoint))
        steps = lineage(catalog, target)
        names = _names(catalog.readable()[0]).get(target.kept, [])
        kept = catalog.kept.has(*target.kept)
        if as_json:
            facts = target.save.__dict__ if target.save is not None else target.version.__dict__
            say(json_text(facts | {"names": names, "kept": kept, "lineage": steps}))
            return
        _show_target(Screen(), target, names, kept, steps)


def _show_model(screen: Screen, model: "Model") -> None:
    screen.titled(model.name)
    screen.heading("Versions")
    table = [
        Column("version", whole=True, keep=True),
        Column("aliases", narrowest=10),
        Column("score", whole=True, right=True),
        Column("size", whole=True, right=True, goes=2),
        Column("run", whole=True, goes=1),
        Column("registered", whole=True, goes=3),
        Column("by", goes=4),
        Column("path", middle=True, narrowest=12, goes=5),
    ]
    for one in reversed(model.versions):
        for column, text in zip(table, _version_cells(model, one), strict=True):
            column.add(text, "dim" if one.withdrawn else "")
    screen.table(table, indent=2)
    screen.heading("Decisions")
    for decision in reversed(model.decisions):
        body = decision.body
        screen.wrapped(
            [
                (f"  {decision.number:>3}  {time_text(_when(body))}  ", "dim"),
                (clean(f"{body.get('who')}@{body.get('host')}  "), ""),
            ],
            _decision_text(body),
            hang=7,
        )


def _version_cells(model: "Model", one: "Version") -> tuple[str, ...]:
    marks = ", ".join(model.aliases_of(one.number)) or ("withdrawn" if one.withdrawn else "-")
    score = "-" if one.score is None else f"{one.monitor or 'score'} {number_text(one.score)}"
    return (
        f"v{one.number}",
        marks,
        score,
        size_text(one.size),
        one.run or "elsewhere",
        age_text(one.registered),
        one.by,
        one.path,
    )


def _when(body: dict[str, Any]) -> Any:
    from autotrack.times import moment

    return moment(int(body.get("when", 0)))


def _decision_text(body: dict[str, Any]) -> str:
    """A decision as a sentence."""
    action, why = body.get("action"), f": {body['why']}" if body.get("why") else ""
    if action == "register":
        return f"registered {body.get('path')}{f' ({note})' if (note := body.get('note')) else ''}"
    if action in ("alias", "promote"):
        before = "" if body.get("from") is None else f" (was v{body['from']})"
        words = _compared(body.get("before_metrics") or {}, body.get("after_metrics") or {})
        return f"{body.get('alias')} = v{body.get('to')}{before}{why}{f'; {words}' if words else ''}"
    if action == "unalias":
        return f"{body.get('alias')} removed (was v{body.get('from')}){why}"
    return f"v{body.get('version')} withdrawn{why}"


def _compared(before: dict[str, Any], after: dict[str, Any]) -> str:
    shown = [key for key in after if key != "size"][:6]
    return ", ".join(
        f"{key} {number_text(before[key])} to {number_text(after[key])}"
        if key in before
        else f"{key} {number_text(after[key])}"
        for key in shown
    )


def _show_target(
    screen: Screen, target: "Target", names: list[str], kept: bool, steps: list[dict[str, Any]]
) -> None:
    save = target.save
    screen.titled(str(target))
    rows = [("path", target.path), ("named", ", ".join(names) or "-"), ("size", size_text(target.size))]
    rows += [
        ("format", target.format or "-"),
        ("sha256", target.digest or "-"),
        ("in the store", "yes" if kept else "no"),
    ]
    if save is not None:
        rows += [
            ("state", " ".join((save.state, *save.marks))),
            ("saved", f"{time_text(save.saved)} by {save.by}"),
        ]
        rows += [("step", number_text(save.step)), ("epoch", number_text(save.epoch))]
        rows += [] if save.score is None else [(save.monitor or "score", number_text(save.score))]
        rows += [("problem", save.problem)] if save.problem else []
        rows += [("not stored", save.unstored)] if save.unstored else []
    for name, text in rows:
        screen.wrapped([("  ", ""), (f"{clean(name):<13} ", "dim")], text, hang=16)
    if save is not None and save.metrics:
        screen.heading("Metrics when it was saved")
        wide = max(13, *(len(clean(name)) for name in save.metrics))
        for name, value in save.metrics.items():
            screen.wrapped(
                [("  ", ""), (f"{clean(name):<{wide}} ", "dim")], number_text(value), hang=wide + 3
            )
    screen.heading("Comes from")
    for step in steps:
        _show_step(screen, step)


def _show_step(screen: Screen, step: dict[str, Any]) -> None:
    if step["run"] is None:
        screen.wrapped([("  ", "")], f"{step['checkpoint']}: made elsewhere ({step['path']})", hang=4)
        return
    code = step["code"]
    commit = (
        f"{str(code['commit'])[:12]}{' with changes' if code['dirty'] else ''}"
        if code["commit"]
        else "not in git"
    )
    at = "" if step["step"] is None else f" at step {step['step']}"
    screen.wrapped(
        [("  ", "")],
        f"{step['name']} ({step['run']}){at}, code {commit}, by {step['user'] or 'unknown'}",
        hang=4,
    )
    for one in step["data"]:
        screen.wrapped(
            [("    ", ""), (f"{clean(one['role'])} ", "dim")],
            f"{one['path']} {(one['digest'] or '')[:12]}",
            hang=6,
        )
    if step["from"] is not None:
        screen.wrapped([("  ", ""), (f"{step['from']['how']} from ", "dim")], step["from"]["path"], hang=4)
