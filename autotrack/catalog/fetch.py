"""Getting a checkpoint: the file that lies there still, or one rebuilt from the store; never one that is not what was saved."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from autotrack.catalog.find import Catalog, Target, of_save
from autotrack.catalog.mending import read_now
from autotrack.digests import ALL, Part, digest_of, look_at, names_of
from autotrack.errors import CheckpointNotFound, NotWhole
from autotrack.layout import make_private_folder, new_run_id
from autotrack.objects.clone import clone
from autotrack.objects.rebuild import Told

REBUILT = "rebuilt"
"""The folder of objects that holds what was rebuilt and asked for without a place to put it; freed by gc."""


def fetch(catalog: Catalog, target: Target, to: Path | None = None, tell: Told = bool) -> Path:
    """A path at which the checkpoint lies, byte for byte as it was saved. `to`: where it is to be put, and nothing lies yet.

    Without `to` it is where the training saved it, where that is still so, else a copy in the store that is for reading. What lies
    there is read to know. CheckpointNotFound where its bytes are nowhere any more, NotWhole where they are damaged.
    """
    found = _fetched(catalog, target, to, tell)
    if found is None:
        raise CheckpointNotFound(f"The bytes of {target} are nowhere: {_why_gone(catalog, target)}.")
    return found


def _fetched(catalog: Catalog, target: Target, to: Path | None = None, tell: Told = bool) -> Path | None:
    """None where its bytes are nowhere."""
    where = original(target)
    if where is not None:
        return where if to is None else _copied(where, _place(to, target), target)
    recipe = catalog.recipe(target)
    if recipe is None:
        return None
    if to is not None:
        place = _place(to, target)
    else:
        place = catalog.layout.objects / REBUILT / recipe.digest[:20] / os.path.basename(recipe.path)
        return _ready(place, recipe.digest, lambda: catalog.shelf.rebuild(recipe, place, tell))
    make_private_folder(place.parent)
    catalog.shelf.rebuild(recipe, place, tell)
    return place


def _ready(place: Path, digest: str, rebuild: Callable[[], object]) -> Path:
    """A copy for reading that is there, else a new one; whoever else makes it at the same time makes the same."""
    make_private_folder(place.parent)
    os.utime(place.parent)  # gc frees what nobody has asked for lately
    if _is(place, digest):
        return place
    _set_aside(place)
    try:
        rebuild()
    except OSError:
        if not _is(place, digest):
            raise
    return place


def newest(catalog: Catalog, run: str) -> Path:
    """Where the newest checkpoint of a run lies that is whole and still to be had: one of its framework's own, if there is one."""
    known = catalog.index.get(run)
    newest_first = known.checkpoints[::-1]
    for save in sorted(newest_first, key=lambda save: not _holds_a_training(save.by)):
        found = read_now(catalog, save)
        if found.is_sealed:
            with suppress(NotWhole):
                if (place := _fetched(catalog, of_save(found))) is not None:
                    return place
    raise CheckpointNotFound(f"The run {known.id} has no checkpoint that is whole and still to be had.")


def _holds_a_training(by: str) -> bool:
    """Whether who saved it saves all that a training needs to go on, by its name: a class that saves by itself (`ModelCheckpoint`),
    or `save_checkpoint` and `save` of one; not what the user's code makes of a model: `user`, `torch.save`, `Model.save_pretrained`.
    """
    owner, _, method = by.rpartition(".")
    return (
        method in ("save", "save_checkpoint") if owner[:1].isupper() else not owner and by not in ("", "user")
    )


def original(target: Target) -> Path | None:
    """Where the training saved it, if it still lies there with the same bytes."""
    if (
        target.digest is None
        or "://" in target.path
        or (target.save is not None and target.save.gone is not None)
    ):
        return None
    return Path(target.path) if _is(Path(target.path), target.digest, target.part) else None


def _is(path: Path, digest: str | None, part: Part = ALL) -> bool:
    try:
        look = look_at(os.fspath(path), part)
    except OSError:
        return False
    return digest is not None and digest_of(os.fspath(path), look, part) == digest


def _place(to: Path, target: Target) -> Path:
    """A folder takes it under its own name."""
    return to / os.path.basename(target.path) if to.is_dir() else to


def _copied(source: Path, to: Path, target: Target) -> Path:
    if os.path.lexists(to):
        raise FileExistsError(17, "there is something already", str(to))
    temporary = to.with_name(f".{to.name}.{new_run_id()}.tmp")
    make_private_folder(to.parent)
    try:
        if source.is_dir():
            for name in sorted(names_of(os.fspath(source), target.part)):
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, temporary / name, follow_symlinks=False)
        else:
            _copy_file(source, temporary)
        if not _is(temporary, target.digest):
            raise NotWhole(f"{source} was changed while it was copied.")
        os.rename(temporary, to)
    finally:
        _discard(temporary)
    return to


def _copy_file(source: Path, target: Path) -> None:
    try:
        clone(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _set_aside(place: Path) -> None:
    """What was rebuilt before and changed since is in nobody's way."""
    if os.path.lexists(place):
        aside = place.with_name(f"{place.name}.{new_run_id()}.changed")
        os.rename(place, aside)


def _discard(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _why_gone(catalog: Catalog, target: Target) -> str:
    save = target.save
    if save is None:
        return f"it was registered from {target.path}, and the store has lost it"
    stored = f"not stored ({save.unstored})" if save.unstored else "not stored (log_model)"
    if save.state in ("overwritten", "removed"):
        return f"{save.path} was {save.state}{f' ({save.why})' if save.why else ''}, and it was {stored}"
    later = catalog.index.last_save(save.path)
    if later is not None and later.run != save.run:
        return f"the run {later.run} has saved to {save.path} since, and it was {stored}"
    return f"{save.path} is gone or was changed since, and it was {stored}"
