"""What `autotrack doctor` looks at in a store."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from autotrack.cli.output import count_text, size_text
from autotrack.errors import AutotrackError
from autotrack.guard import reason
from autotrack.layout import Layout, fallback_store, is_temporary

if TYPE_CHECKING:
    from autotrack.index import Index
    from autotrack.journal.source import Segment

Finding = tuple[str, str, str]
LITTLE = 1 << 30
TOO_LITTLE = 100 << 20
NAMED = 5


def store_checks(root: Path, given: bool) -> Iterator[Finding]:
    """Name, state ("ok", "note", "wrong") and text of each thing about a store; `given`: by the user."""
    if not root.is_dir():
        yield _absent(root, given)
        yield from _fallback(root)
        return
    yield ("place", "ok", str(root))
    yield _writable(root)
    yield _space(root)
    yield _file_system(root)
    yield _privacy(root)
    yield from _records(root)
    yield from _fallback(root)


def _absent(root: Path, given: bool) -> Finding:
    if os.path.lexists(root):
        return (
            "place",
            "wrong",
            f"{root} is not a folder. Name another store with --store or AUTOTRACK_DIR.",
        )
    state = "wrong" if given or os.environ.get("AUTOTRACK_DIR") else "note"
    return ("place", state, f"{root} does not exist yet; the first run that is recorded makes it.")


def _writable(root: Path) -> Finding:
    probe = root / f".doctor-{os.getpid()}"
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.unlink(probe)
    except OSError as error:
        return (
            "writable",
            "wrong",
            f"no file can be made there: {error.strerror}. New runs go to {fallback_store()}.",
        )
    return ("writable", "ok", "yes")


def _space(root: Path) -> Finding:
    usage = shutil.disk_usage(root)
    text = f"{size_text(usage.free)} of {size_text(usage.total)}"
    if usage.free < TOO_LITTLE:
        return ("free space", "wrong", f"{text}; recording will fail soon. Make room on this disk.")
    return ("free space", "note" if usage.free < LITTLE else "ok", text)


def _file_system(root: Path) -> Finding:
    from autotrack.mounts import kind_of, on_network

    kind = kind_of(root) or "unknown"
    if is_temporary(root):
        return (
            "file system",
            "note",
            f"{kind}; the store lies in a temporary folder, which the system empties.",
        )
    if on_network(root):
        return ("file system", "ok", f"{kind}, a network file system: the index is kept in your cache folder")
    return ("file system", "ok", kind)


def _privacy(root: Path) -> Finding:
    if os.name != "posix":
        return ("permissions", "ok", "as the folder's")
    facts = root.stat()
    mode = f"{facts.st_mode & 0o7777:04o}"
    if facts.st_uid != os.getuid():
        return ("permissions", "note", f"{mode}; the folder belongs to another user (uid {facts.st_uid})")
    if facts.st_mode & 0o007:
        return (
            "permissions",
            "note",
            f"{mode}; every user of this machine can look into it: chmod o-rwx {root}",
        )
    return ("permissions", "ok", mode)


def _records(root: Path) -> Iterator[Finding]:
    from autotrack.index import open_index

    layout = Layout(root)
    later, unreadable = _odd_files(layout)
    yield _named("later formats", later, "written by a later autotrack; upgrade to read", "wrong")
    yield _named("unreadable files", unreadable, "not a journal, or without one whole line", "note")
    try:
        index = open_index(root)
    except AutotrackError as error:
        yield ("index", "wrong", str(error))
        return
    try:
        _, why = reason(index.sync)
        if why is not None:
            yield (
                "index",
                "wrong",
                f"{why}. Delete {layout.index} and try again: it is made anew from the runs.",
            )
            return
        yield from _runs(index, layout)
    finally:
        index.close()


def _runs(index: "Index", layout: Layout) -> Iterator[Finding]:
    states = index.states()
    parts = ", ".join(f"{number:,} {state}" for state, number in Counter(states.values()).most_common())
    yield ("runs", "ok", f"{len(states):,} ({parts})" if states else "none yet")
    damaged = [f"{run} ({count_text(lines, 'line')})" for run, lines in index.damaged().items()]
    yield _named(
        "damaged lines", damaged, "the rest of these runs is whole; autotrack verify says more", "note"
    )
    gaps = "lines were dropped while the disk refused writes; show says which"
    yield _named("gaps", index.with_gaps(), gaps, "note")
    markers = [entry.name for entry in os.scandir(layout.open)] if layout.open.is_dir() else []
    over = sorted(name for name in markers if states.get(name) not in ("running", "stale"))
    yield _named("open markers", over, "left by runs that are over; delete them in open/", "wrong")


def _named(name: str, found: list[str], meaning: str, state: str) -> Finding:
    if not found:
        return (name, "ok", "none")
    more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    return (name, state, f"{', '.join(found[:NAMED])}{more}: {meaning}")


def _odd_files(layout: Layout) -> tuple[list[str], list[str]]:
    """Journals of a later format, and files that are no journals though they are called so."""
    from autotrack.journal.source import find_segments

    later: list[str] = []
    unreadable: list[str] = []
    for folder in sorted(layout.runs.glob("*/*")) if layout.runs.is_dir() else []:
        if not folder.is_dir():
            continue
        try:
            segments, foreign = find_segments(folder)
        except OSError:
            unreadable.append(f"{folder.name}/")
            continue
        unreadable += [f"{folder.name}/{name}" for name in foreign]
        for segment in segments:
            _sort(segment, folder.name, later, unreadable)
    return later, unreadable


def _sort(segment: "Segment", run: str, later: list[str], unreadable: list[str]) -> None:
    from autotrack.journal.format import FORMAT
    from autotrack.journal.reader import read

    name = f"{run}/{segment.path.name}"
    try:
        batch = next(read(segment, size=4096), None)
    except OSError:
        unreadable.append(name)
        return
    if batch is None or batch.problem is None:
        return
    number = batch.header.get("format") if batch.header else None
    (later if isinstance(number, int) and number > FORMAT else unreadable).append(name)


def _fallback(root: Path) -> Iterator[Finding]:
    place = fallback_store()
    runs = sum(1 for _ in (place / "runs").glob("*/*")) if (place / "runs").is_dir() else 0
    if not runs or place.resolve() == root.resolve():
        yield ("fallback store", "ok", f"none at {place}")
        return
    text = f"{count_text(runs, 'run')} at {place}, where a store refused them: autotrack --store {place} ls"
    yield ("fallback store", "note", text)
