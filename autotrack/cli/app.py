"""`autotrack`: the commands and the global options."""

from typing import Annotated

import typer

from autotrack.cli import (
    audit,
    checkpoint,
    checkpoint_care,
    checkpoint_names,
    compare,
    diff,
    doctor,
    edit,
    export,
    launch,
    ls,
    show,
    tail,
    verify,
    who,
)
from autotrack.cli.context import Command, Group, say

app = typer.Typer(
    name="autotrack",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Records training runs, and shows what was recorded.",
    epilog="Exit codes: 0 good, 1 a mistake or an unhealthy store, 2 wrong usage, 130 Ctrl-C. "
    "JSON output spells NaN and the infinities as strings.",
)


def print_version(wanted: bool) -> None:
    """`--version`: print and leave."""
    if wanted:
        from autotrack import __version__

        say(f"autotrack {__version__}")
        raise typer.Exit


@app.callback()
def options(
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="DIR",
            help="The store to use (default: AUTOTRACK_DIR, else the nearest .autotrack).",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Record training runs, and show what was recorded."""


app.command("run", cls=launch.RunCommand, context_settings=launch.SETTINGS)(launch.command)
app.command("ls", cls=Command)(ls.command)
app.command("show", cls=Command)(show.command)
app.command("diff", cls=Command)(diff.command)
app.command("compare", cls=Command)(compare.command)
app.command("tail", cls=Command)(tail.command)
app.command("export", cls=Command)(export.command)
app.command("tag", cls=Command)(edit.tag)
app.command("note", cls=Command)(edit.note)
app.command("rename", cls=Command)(edit.rename)
app.command("archive", cls=Command)(edit.archive)
app.command("rm", cls=Command)(edit.remove)
app.command("who", cls=Command)(who.command)
app.command("verify", cls=Command)(verify.command)
app.command("doctor", cls=Command)(doctor.command)

checkpoints = typer.Typer(
    name="checkpoint",
    cls=Group,
    no_args_is_help=True,
    help="The checkpoints that were saved, and the models that were made of them.",
    epilog=f"A checkpoint is named as {checkpoint.SPEC}",
)
checkpoints.command("ls", cls=Command)(checkpoint.ls)
checkpoints.command("show", cls=Command)(checkpoint.show)
checkpoints.command("get", cls=Command)(checkpoint.get)
checkpoints.command("load", cls=Command)(checkpoint.load)
checkpoints.command("export", cls=Command)(checkpoint_names.export)
checkpoints.command("resume", cls=Command)(checkpoint.resume)
checkpoints.command("register", cls=Command)(checkpoint_names.register)
checkpoints.command("alias", cls=Command)(checkpoint_names.alias)
checkpoints.command("promote", cls=Command)(checkpoint_names.promote)
checkpoints.command("unalias", cls=Command)(checkpoint_names.unalias)
checkpoints.command("withdraw", cls=Command)(checkpoint_names.withdraw)
checkpoints.command("pin", cls=Command)(checkpoint_names.pin)
checkpoints.command("unpin", cls=Command)(checkpoint_names.unpin)
checkpoints.command("verify", cls=Command)(checkpoint_care.verify)
checkpoints.command("gc", cls=Command)(checkpoint_care.gc)
app.add_typer(checkpoints)

audits = typer.Typer(
    name="audit",
    cls=Group,
    no_args_is_help=True,
    help="The proof that decisions about models are as they were made.",
)


@audits.callback()
def audit_options() -> None:
    """The proof that decisions about models are as they were made."""


audits.command("verify", cls=Command)(audit.verify)
app.add_typer(audits)
