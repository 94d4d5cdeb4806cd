"""What the earlier attempts of a resumed run have saved, as far as it counts still. The index knows; the helper thread asks it."""

import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from autotrack.digests import Look, look_at
from autotrack.ranking import Save

if TYPE_CHECKING:
    from autotrack.index.saves import Checkpoint
    from autotrack.run import Run


def has_earlier_attempts(run: "Run") -> bool:
    """Whether other processes have recorded in the folder of a run; a child run begins with its process."""
    if not run.is_root:
        return False
    try:
        with os.scandir(run.dir) as entries:
            names = {entry.name.partition(".jsonl")[0].rpartition(".")[0] for entry in entries}
    except OSError:
        return False
    return len(names - {""}) > 1


def earlier_checkpoints(run: "Run", own: Collection[str]) -> list["Checkpoint"]:
    """What the record tells of them, oldest first; not those that this process has saved (`own`)."""
    from autotrack.index import open_index

    with open_index(run.layout.root) as index:
        index.sync(only=run.dir, seal_seconds=0)
        known = index.get(run.id).checkpoints
    return [one for one in known if one.id and one.id not in own and "://" not in one.path]


def earlier_saves(found: Sequence["Checkpoint"], linked: Mapping[str, Look]) -> list[Save]:
    """Those that are there still or are stored; not damaged ones.

    `linked`: by path what this process has linked before it was deleted, which may be one of them.
    """
    newest = {one.path: one for one in found}
    saves = []
    for place, one in enumerate(found):
        look = linked.get(one.path) if newest[one.path] is one else None
        if look is None or not one.fits(look):
            look = None if one.gone is not None else _look(one)
        if one.problem is None and (look is not None or one.stored is not None):
            saves.append(_save(one, look, place - len(found)))
    return saves


def _save(one: "Checkpoint", look: Look | None, order: int) -> Save:
    there = look or Look(one.size or 0, one.files, ())
    save = Save(one.id or "", one.path, there, one.part, one.score, one.monitor, one.mode, one.digest, order)
    save.gone = look is None
    if one.stored is not None:
        save.kept, save.how, save.is_of_all = "stored", one.stored, one.policy in (None, "all")
    return save


def _look(one: "Checkpoint") -> Look | None:
    """What lies at its path, if that can be what was saved."""
    try:
        look = look_at(one.path, one.part)
    except OSError:
        return None
    return look if one.fits(look) else None
