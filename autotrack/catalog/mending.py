"""What a process that died has left half done: a drop that it began, a link without its recipe, a save that nobody has read.

All of it is brought to its end by whoever looks for the checkpoint, or by gc. What a run that goes on has in hand is left alone.
"""

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autotrack.digests import look_at
from autotrack.edit import append_events
from autotrack.errors import NotWhole, StoreError
from autotrack.index.saves import Checkpoint, State
from autotrack.objects.recipe import Recipe
from autotrack.objects.seal import Seal, seal_of

if TYPE_CHECKING:
    from autotrack.catalog.find import Catalog

Key = tuple[str, str]
_LONGEST_DROP = 5.0
_PAUSE = 0.01


def goes_on(catalog: "Catalog", run: str) -> bool:
    """Whether the run is marked as open, of a child run the one in whose folder it is."""
    try:
        root = catalog.index.get(run).dir.name
    except LookupError:
        root = run
    return (catalog.layout.open / root).exists()


def going_on(catalog: "Catalog", runs: Iterable[str]) -> set[str]:
    """Which of these runs are marked as open; where no run is, nothing is asked of the index."""
    try:
        is_any = bool(os.listdir(catalog.layout.open))
    except OSError:
        is_any = False
    return {run for run in set(runs) if goes_on(catalog, run)} if is_any else set()


def tell(catalog: "Catalog", bodies: Mapping[Key, list[dict[str, Any]]]) -> None:
    """Note in the runs what becomes of their checkpoints, in one journal a run; of a run that is not there nothing is noted."""
    by_run: dict[str, list[dict[str, Any]]] = {}
    for (run, save), found in bodies.items():
        by_run.setdefault(run, []).extend(body | {"save": save} for body in found)
    for name, events in by_run.items():
        if not events:
            continue
        with suppress(LookupError, StoreError):
            record = catalog.index.get(name)
            root = record.dir.name
            child = None if root == record.id else record.id
            append_events(record.dir, record.project, root, "checkpoint", events, child)


def stored_again(recipe: Recipe) -> dict[str, Any]:
    """The event which says that a checkpoint is stored, after one that said that it is not."""
    how = "linked" if any(file.pieces is None for file in recipe.files) else "packed"
    return {"action": "stored", "path": recipe.path, "how": how, "new": 0}


def mend(catalog: "Catalog", key: Key) -> None:
    """Bring a checkpoint that has no recipe to its place in the store, if its bytes are there and are wanted."""
    until = time.monotonic() + _LONGEST_DROP
    with suppress(OSError):
        while catalog.kept.aside(*key).exists() and is_wanted(catalog, key):
            if end_drop(catalog, key) is not None or time.monotonic() > until:
                return
            time.sleep(_PAUSE)  # somebody is dropping it, and looks for pins just now
        if catalog.kept.beside(*key).is_dir() and not catalog.kept.has(*key) and not goes_on(catalog, key[0]):
            save = catalog.save(*key)
            tell(catalog, {key: [] if save is None else settle_link(catalog, save)})


def is_wanted(catalog: "Catalog", key: Key) -> bool:
    """Whether a checkpoint is pinned, or the record calls it stored."""
    save = catalog.save(*key)
    return catalog.kept.pin_path(*key).exists() or (save is not None and save.stored is not None)


def end_drop(catalog: "Catalog", key: Key) -> bool | None:
    """End a drop that was begun: back in its place (True) is what is wanted and whole. None where somebody is at it, or nobody."""

    def stays(recipe: Recipe) -> bool:
        return is_wanted(catalog, key) and not list(catalog.shelf.damages(recipe))

    is_back = catalog.kept.end_drop(*key, stays)
    save = catalog.save(*key)
    if is_back and save is not None and save.stored is None:
        with suppress(NotWhole):
            if (recipe := catalog.shelf.recipe(*key)) is not None:
                tell(catalog, {key: [stored_again(recipe)]})
    return is_back


def settle_link(catalog: "Catalog", save: Checkpoint) -> list[dict[str, Any]]:
    """Write the recipe of what was linked, if it is what was saved: the events that say so; none where it is not."""
    key = save.run, save.id or ""
    folder = catalog.kept.beside(*key)
    if save.problem is not None:
        return []
    path = os.fspath(folder if save.files is not None else folder / os.path.basename(save.path))
    seal = _seal(path, save)
    if seal is None or seal.problem is not None or save.digest not in (None, seal.digest):
        return []
    recipe = catalog.kept.settle_linked(*key, save.path, seal.files)
    return [*([] if save.digest else [_read_event(save, seal)]), stored_again(recipe)]


def read_now(catalog: "Catalog", save: Checkpoint) -> Checkpoint:
    """A save that the process which made it did not live to read, read now and told in its run, if it lies there as it was saved."""
    if save.digest is not None or save.gone is not None or "://" in save.path or goes_on(catalog, save.run):
        return save
    seal = _seal(save.path, save)
    if seal is None:
        return save
    tell(catalog, {(save.run, save.id or ""): [_read_event(save, seal)]})
    state: State = "sealed" if seal.problem is None else "damaged"
    return replace(save, digest=seal.digest, format=seal.format, problem=seal.problem, state=state)


def _seal(path: str, save: Checkpoint) -> Seal | None:
    try:
        look = look_at(path, save.part)
    except OSError:
        return None
    return seal_of(path, look, save.part) if save.fits(look) else None


def _read_event(save: Checkpoint, seal: Seal) -> dict[str, Any]:
    event = {"action": "sealed", "path": save.path, "digest": seal.digest, "format": seal.format}
    return event if seal.problem is None else event | {"action": "damaged", "why": seal.problem}
