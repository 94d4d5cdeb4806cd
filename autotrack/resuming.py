"""The run that a training goes on with: the one that wrote the checkpoint which the framework resumes from.

It is found in our own record, by the path that the checkpoint was saved to, and where nothing was saved there by its content: the
user's checkpoint holds nothing of ours. The index is asked, and loaded for it, only when a training is resumed; the checkpoint is
read for it only where the record has one of the same size.
"""

import os
from typing import TYPE_CHECKING, NamedTuple

from autotrack import session
from autotrack.digests import digest_of, look_at
from autotrack.late import event_late
from autotrack.layout import Layout, find_store

if TYPE_CHECKING:
    from autotrack.index import Index
    from autotrack.index.writers import Save
    from autotrack.run import Run


class Origin(NamedTuple):
    """Where a checkpoint comes from: `run` None where no run of the store has written it."""

    path: str
    run: str | None = None
    project: str = ""
    framework: str | None = None
    step: int | None = None
    whole: bool = False
    """Whether that run can be gone on with: it has a folder of its own, and nobody writes to it."""
    size: int | None = None
    digest: str | None = None

    def fits(self, framework: str, project: str | None) -> bool:
        """Whether a training is the same one, resumed: of the same framework, and not asked to be in another project."""
        return self.whole and self.framework == framework and project in (None, self.project)

    def note(self, run: "Run") -> None:
        """Record in a run what it began from."""
        body = {"path": self.path, "role": "checkpoint", "digest": self.digest, "size": self.size}
        event_late(run, "input", body | {"run": self.run, "step": self.step})


def origin_here(path: str | os.PathLike[str]) -> Origin:
    """Who wrote a checkpoint that a training here is resumed from, by the store that it is recorded in."""
    outer = session.enclosing_run()
    return origin_of(outer.layout if outer is not None else Layout(find_store()), path)


def origin_of(layout: Layout, path: str | os.PathLike[str]) -> Origin:
    """Who wrote the checkpoint that lies at a path now: the last one that saved to it, else the last that saved the same bytes."""
    place = os.path.abspath(os.fspath(path))
    if not layout.runs.is_dir():
        return Origin(place)
    from autotrack.index import open_index

    index = open_index(layout.root)
    try:
        save = index.last_save(place) or _same_bytes(index, place)
        if save is None:
            return Origin(place)
        run = index.get(save.run)
        whole = run.opened_by != "child" and run.status != "running"
        return Origin(place, run.id, run.project, run.framework, save.step, whole, save.size, save.digest)
    finally:
        index.close()


def _same_bytes(index: "Index", path: str) -> "Save | None":
    try:
        look = look_at(path)
    except OSError:
        return None
    saves = index.saves_of_size(look.size)
    digest = digest_of(path, look) if saves else None
    return next((save for save in saves if save.digest == digest), None)
