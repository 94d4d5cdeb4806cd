"""`autotrack tag, note, rename, archive, rm`: changes to runs. All but `rm` only append to the record."""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotrack.cli.context import complete_runs, existing_store, fail, opened, say
from autotrack.cli.context import note as note_to_person
from autotrack.cli.output import clean, count_text, size_text
from autotrack.errors import AutotrackError
from autotrack.layout import Layout

if TYPE_CHECKING:
    from autotrack.index import RunRecord

Runs = Annotated[
    list[str], typer.Argument(metavar="RUN", help="Ids or unique prefixes.", autocompletion=complete_runs)
]
One = Annotated[str, typer.Argument(metavar="RUN", help="Id or unique prefix.", autocompletion=complete_runs)]


def tag(
    ctx: typer.Context,
    run: One,
    tags: Annotated[list[str], typer.Argument(metavar="TAG", help="The tags.")],
    remove: Annotated[bool, typer.Option("--remove", "-r", help="Take these tags away instead.")] = False,
) -> None:
    """Add tags to a run, or remove them."""
    with opened(ctx) as index:
        record = index.get(run)
        _append(record, {"remove_tags" if remove else "add_tags": tags})
        index.sync()
        left = ", ".join(index.get(record.id).tags)
    _tell(record, f"tags: {left or 'none'}")


def note(
    ctx: typer.Context,
    run: One,
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT", help="The note; - reads it from standard input, an empty one removes the notes."
        ),
    ],
    append: Annotated[
        bool, typer.Option("--append", "-a", help="Add to the notes that are there, on a new line.")
    ] = False,
) -> None:
    """Write a run's notes."""
    if text == "-":
        text = sys.stdin.read().rstrip("\n")
    with opened(ctx) as index:
        record = index.get(run)
        if append and record.notes:
            text = f"{record.notes}\n{text}"
        _append(record, {"notes": text})
    _tell(record, "notes written" if text else "notes removed")


def rename(
    ctx: typer.Context, run: One, name: Annotated[str, typer.Argument(metavar="NAME", help="The new name.")]
) -> None:
    """Give a run another name. Its id stays."""
    if not name.strip():
        raise typer.BadParameter("a run's name cannot be empty", param_hint="NAME")
    with opened(ctx) as index:
        record = index.get(run)
        _append(record, {"name": name})
    _tell(record, f"now called {name}")


def archive(
    ctx: typer.Context,
    run: Runs,
    undo: Annotated[bool, typer.Option("--undo", help="Take the runs out of the archive again.")] = False,
) -> None:
    """Hide runs from ls (they stay in the store; ls --archived lists them)."""
    with opened(ctx) as index:
        records = [index.get(one) for one in run]
        for record in records:
            _append(record, {"archived": not undo})
            _tell(record, "taken out of the archive" if undo else "archived")


def remove(
    ctx: typer.Context,
    run: Runs,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Also runs that are running, or may be.")
    ] = False,
) -> None:
    """Delete runs for good. What they stored in objects/ stays, as other runs may use it."""
    layout = existing_store(ctx)
    with opened(ctx) as index:
        records = list({record.id: record for record in map(index.get, run)}.values())
        sizes = {record.id: _removable(layout, record, force) for record in records}
        for record in records:
            say(_describe(record, sizes[record.id]))
        if not yes and not _agreed(len(records)):
            fail("nothing was removed.")
        for record in records:
            _remove_folder(layout, record)
        index.sync()
    say(f"Removed {count_text(len(records), 'run')}; {size_text(sum(sizes.values()))} freed.")


def _append(record: "RunRecord", body: dict[str, Any]) -> None:
    from autotrack.edit import edit_run

    root = Path(record.dir).name
    edit_run(Path(record.dir), record.project, root, body, None if record.id == root else record.id)


def _tell(record: "RunRecord", text: str) -> None:
    say(clean(f"{record.id} {record.name}: {text}"))


def _removable(layout: Layout, record: "RunRecord", force: bool) -> int:
    folder = Path(record.dir)
    if folder.name != record.id:
        raise AutotrackError(
            f"Run {record.id} is recorded inside the run {folder.name} and cannot be removed alone. "
            f"Remove {folder.name}, or hide this one: autotrack archive {record.id}"
        )
    if record.status in ("running", "stale") and not force:
        doubt = "is running" if record.status == "running" else "may be running on another machine (stale)"
        raise AutotrackError(f"Run {record.id} {doubt}; nothing was removed. Stop it first, or use --force.")
    inside = layout.runs.resolve() in folder.resolve().parents
    if folder.is_symlink() or not inside:
        raise AutotrackError(
            f"{folder} is not a folder of this store; nothing was removed. Delete it by hand if you mean to."
        )
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _describe(record: "RunRecord", size: int) -> str:
    facts = [record.project, record.status, size_text(size)]
    inside = sum(Path(child.dir) == Path(record.dir) for child in record.children)
    if inside:
        facts.append(f"with {count_text(inside, 'child run')}")
    stored = sum(one.size or 0 for one in record.artifacts)
    if stored:
        facts.append(f"its artifacts ({size_text(stored)}) stay in objects/")
    return clean(f"{record.id} {record.name}  ({', '.join(facts)})")


def _agreed(number: int) -> bool:
    if not sys.stdin.isatty():
        note_to_person("Nobody can be asked here (standard input is not a terminal); use --yes.")
        return False
    return typer.confirm(f"Remove {count_text(number, 'run')} for good?")


def _remove_folder(layout: Layout, record: "RunRecord") -> None:
    shutil.rmtree(record.dir)
    with suppress(FileNotFoundError):
        os.unlink(layout.open / record.id)
    with suppress(OSError):
        os.rmdir(Path(record.dir).parent)
