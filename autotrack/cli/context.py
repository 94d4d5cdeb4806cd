"""What every command needs: the store, its index, runs by prefix, completion, and errors as sentences."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from autotrack.errors import AutotrackError, FilterError, RunNotFound
from autotrack.layout import STORE, Layout, check_store, decode_project, fallback_store, find_store

if TYPE_CHECKING:
    from autotrack.catalog.find import Catalog
    from autotrack.index import Index, RunRecord

MISTAKE = 1
WRONG_USAGE = 2
INTERRUPTED = 130


class Command(TyperCommand):
    """A command whose help does not call a switch `<bool>` and an argument `<str>`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters and `--help`."""
        return _plain_switches(super().get_params(ctx))


class Group(TyperGroup):
    """The top command: errors become one sentence on stderr, Ctrl-C is 130, a closed pipe is silent."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters and `--help`."""
        return _plain_switches(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was chosen."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except FilterError as error:
            fail(str(error), WRONG_USAGE)
        except AutotrackError as error:
            fail(str(error))
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            silence(sys.stdout)
            raise typer.Exit(0) from None
        except OSError as error:
            fail(" ".join(filter(None, (error.strerror or str(error), str(error.filename or "")))))
        return result


def _plain_switches(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
        elif parameter.param_type_name == "argument":
            parameter.display_type_rich = _no_type
    return parameters


def _no_type(ctx: Any) -> None:
    """What the help says of an argument's type: nothing, as they are all words."""


def fail(message: str, code: int = MISTAKE) -> None:
    """Print `error: …` to stderr and leave."""
    from autotrack.cli.screen import Screen

    with suppress(OSError):
        screen = Screen(sys.stderr)
        first, *rest = message.split("\n")
        screen.wrapped([("error: ", "bold red")], first, hang=0)
        for line in rest:
            screen.text(line)
    raise typer.Exit(code)


def say(text: str) -> None:
    """A line of the answer, on standard output."""
    sys.stdout.write(text + "\n")


def note(message: str) -> None:
    """A remark for the person, on stderr, so that a pipe gets only the answer."""
    from autotrack.cli.screen import Screen

    Screen(sys.stderr).text(message, "dim")


def silence(stream: Any) -> None:
    """Point a stream whose reader has gone at nothing, so that Python's exit does not complain."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def store_path(ctx: typer.Context) -> Path:
    """The store: `--store` (an `.autotrack`, or the folder of one), else what `find_store` says."""
    given = ctx.find_root().params.get("store")
    if not given:
        return find_store()
    root = Path(os.path.abspath(os.path.expanduser(given)))
    below = root / STORE
    return below if root.name != STORE and not (root / "runs").is_dir() and below.is_dir() else root


def existing_store(ctx: typer.Context) -> Layout:
    """The store's layout; StoreError when there is none."""
    root = store_path(ctx)
    check_store(root)
    return Layout(root)


def note_fallback(root: Path) -> None:
    """Say so when runs lie in the fallback store, because a store refused them."""
    from autotrack.cli.output import count_text

    place = fallback_store()
    runs = place / "runs"
    if runs.is_dir() and place != root and (number := sum(1 for _ in runs.glob("*/*"))):
        note(
            f"{count_text(number, 'more run')} in {place}, where runs go when a store refuses them: "
            f"autotrack --store {place} ls"
        )


@contextmanager
def opened(ctx: typer.Context) -> Iterator["Index"]:
    """The index of the store, brought up to date, and closed at the end."""
    import logging

    from autotrack.cli.progress import progress
    from autotrack.index import open_index

    layout = existing_store(ctx)
    # Ctrl-C while a connection is given back ends the command; SQLAlchemy would print its traceback as well.
    logging.getLogger("sqlalchemy.pool").addHandler(logging.NullHandler())
    index = open_index(layout.root)
    try:
        with progress("Reading runs", quiet=bool(ctx.params.get("as_json"))) as tell:
            index.sync(tell)
        yield index
    finally:
        index.close()


@contextmanager
def catalog_of(ctx: typer.Context) -> Iterator["Catalog"]:
    """The checkpoints of the store."""
    from autotrack.catalog.find import Catalog

    with opened(ctx) as index:
        yield Catalog(index)


def refreshed(index: "Index", run: "RunRecord") -> "RunRecord":
    """The run as it is now; nothing else of the store is looked at."""
    index.sync(only=Path(run.dir))
    return index.get(run.id)


def newest(index: "Index") -> "RunRecord":
    """The run that was opened last."""
    runs = index.runs(limit=1, children=False)
    if not runs:
        raise RunNotFound("The store has no runs yet. Record one first: autotrack run train.py")
    return runs[0]


def chosen(index: "Index", run: str | None) -> "RunRecord":
    """The run with this id or unique prefix; without one the newest."""
    return newest(index) if run is None else index.get(run)


def complete_runs(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Run ids that begin so, each with its name, for the shell."""
    from autotrack.cli.output import clean

    with suppress(AutotrackError, OSError, typer.Exit), opened(ctx) as index:
        runs = index.runs(archived=True, limit=None if incomplete else 50)
        return [(run.id, clean(run.name)) for run in runs if run.id.startswith(incomplete)][:50]
    return []


def complete_projects(ctx: typer.Context, incomplete: str) -> list[str]:
    """Project names that begin so, for the shell."""
    with suppress(AutotrackError, OSError, typer.Exit):
        folders = sorted(entry.name for entry in existing_store(ctx).runs.iterdir() if entry.is_dir())
        return [
            name
            for name in map(decode_project, folders)
            if name.startswith(incomplete) and name.isprintable()
        ]
    return []
