"""`autotrack`: the commands and the global options."""

from typing import Annotated

import typer

from autotrack.cli import compare, doctor, edit, export, launch, ls, show, tail
from autotrack.cli.context import Group, say

app = typer.Typer(
    name="autotrack",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Records training runs, and shows what was recorded.",
    epilog="Exit codes: 0 good, 1 a mistake or an unhealthy store, 2 wrong usage, 130 Ctrl-C. "
    "JSON output spells NaN and infinity as the strings nan, inf and -inf.",
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
app.command("ls")(ls.command)
app.command("show")(show.command)
app.command("compare")(compare.command)
app.command("tail")(tail.command)
app.command("export")(export.command)
app.command("tag")(edit.tag)
app.command("note")(edit.note)
app.command("rename")(edit.rename)
app.command("archive")(edit.archive)
app.command("rm")(edit.remove)
app.command("doctor")(doctor.command)
