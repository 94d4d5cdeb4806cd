"""`autotrack checkpoint register, alias, promote, unalias, withdraw, pin, unpin, export`: what becomes of a checkpoint."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotrack.cli.checkpoint import SPEC, Spec
from autotrack.cli.context import catalog_of, say
from autotrack.cli.progress import added, paced, progress
from autotrack.digests import look_at
from autotrack.errors import AutotrackError

if TYPE_CHECKING:
    from autotrack.catalog.find import Catalog

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]
Alias = Annotated[str, typer.Argument(metavar="ALIAS", help="Such as production or candidate.")]
Version = Annotated[
    str | None,
    typer.Option("--version", "-v", metavar="V", help="v3, or another alias (default: the newest)."),
]
Expect = Annotated[
    str | None,
    typer.Option(
        "--expect", metavar="V", help="Only if the alias stands for this version now (0: for none)."
    ),
]


def register(
    ctx: typer.Context,
    model: Model,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=f"{SPEC} Or a path, or a URI.")],
    note: Annotated[str | None, typer.Option("--note", "-m", help="A word on it.")] = None,
) -> None:
    """Make a checkpoint the next version of a model, and keep its bytes in the store."""
    from autotrack.catalog import publish

    with catalog_of(ctx) as catalog, progress("Storing", size=True) as tell:
        version = publish.register(catalog, model, source, note, paced(tell, _size(catalog, source)))
    say(f"{version}")


def alias(
    ctx: typer.Context, model: Model, alias: Alias, version: Version = None, expect: Expect = None
) -> None:
    """Let an alias of a model stand for a version."""
    from autotrack.catalog import publish

    with catalog_of(ctx) as catalog:
        decision = publish.promote(catalog, model, alias, version, None, required=False, expect=expect)
    say(f"{model}@{alias} is v{decision.body['to']}")


def promote(
    ctx: typer.Context,
    model: Model,
    alias: Alias,
    why: Annotated[str, typer.Option("--why", "-w", help="The reason, which is recorded.")],
    version: Version = None,
    expect: Expect = None,
) -> None:
    """Let an alias stand for a version, and record why, by whom, and what both versions reach."""
    from autotrack.catalog import publish

    with catalog_of(ctx) as catalog:
        decision = publish.promote(catalog, model, alias, version, why, required=True, expect=expect)
    before = decision.body.get("from")
    say(f"{model}@{alias} is v{decision.body['to']}{'' if before is None else f' (was v{before})'}")


def unalias(
    ctx: typer.Context,
    model: Model,
    alias: Alias,
    why: Annotated[str | None, typer.Option("--why", "-w", help="The reason, which is recorded.")] = None,
) -> None:
    """Let an alias stand for nothing any more."""
    from autotrack.registry.models import drop_alias

    with catalog_of(ctx) as catalog:
        decision = drop_alias(catalog.layout.registry, model, alias, why)
    say(f"{model}@{alias} stands for nothing (was v{decision.body['from']})")


def withdraw(
    ctx: typer.Context,
    model: Model,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Such as v3.")],
    why: Annotated[str, typer.Option("--why", "-w", help="The reason, which is recorded.")],
) -> None:
    """Say that a version is not to be used any more; gc may free its bytes then."""
    from autotrack.catalog import publish

    with catalog_of(ctx) as catalog:
        decision = publish.withdraw_version(catalog, model, version, why)
    say(f"{model}@v{decision.body['version']} is withdrawn")


def pin(ctx: typer.Context, checkpoint: Spec) -> None:
    """Keep a checkpoint in the store, whatever the rules of its run or of gc say."""
    from autotrack.catalog import publish

    with catalog_of(ctx) as catalog, progress("Storing", size=True) as tell:
        target = catalog.find(checkpoint)
        publish.keep(catalog, target, paced(tell, target.size or 0))
    say(f"{target} is pinned")


def unpin(ctx: typer.Context, checkpoint: Spec) -> None:
    """Take a pin away; what a model has as a version stays all the same."""
    from autotrack.catalog import publish

    with catalog_of(ctx) as catalog:
        target = catalog.find(checkpoint)
        publish.unkeep(catalog, target)
    say(f"{target} is not pinned")


def export(
    ctx: typer.Context,
    checkpoint: Spec,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where nothing lies yet.")],
    kind: Annotated[
        str, typer.Option("--as", metavar="KIND", help="files (as it was saved), mlflow, or safetensors.")
    ] = "files",
    pickle: Annotated[
        bool,
        typer.Option("--pickle", help="Allow what runs code from the file; only if you trust its maker."),
    ] = False,
) -> None:
    """Make a folder with a checkpoint and its card in it."""
    from autotrack.catalog.export import export as write

    with catalog_of(ctx) as catalog, progress("Exporting", size=True) as tell:
        target = catalog.find(checkpoint)
        more = added(tell, target.size or 0)
        say(str(write(catalog, target, folder.expanduser().absolute(), kind, pickle, more)))


def _size(catalog: "Catalog", source: str) -> int:
    """About how many bytes there are to read; a mistake in the name is for the registration to tell."""
    with suppress(AutotrackError, OSError):
        return look_at(source).size if os.path.lexists(source) else catalog.find(source).size or 0
    return 0
