"""`autotrack`: the commands and the global options."""

from typing import Annotated

import typer

from autotrack.cli import compare, diff, doctor, edit, export, launch, ls, show, tail, verify, who
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
