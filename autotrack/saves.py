"""What a run notes of the checkpoints that its training writes: each save, link and removal is one event of its journal.

Nothing is opened, copied or changed here; what it costs is a `stat`, of a folder one of each file.
"""

import os
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotrack.late import event_late
from autotrack.steps import step_number
from autotrack.values import number

if TYPE_CHECKING:
    from autotrack.run import Run

_MOST_FILES = 10_000


def saved(run: "Run", path: str | os.PathLike[str], **facts: Any) -> None:
    """A checkpoint was written; `facts` as in `save_facts`. OSError where the path cannot be looked at."""
    event_late(run, "checkpoint", save_facts(path, **facts))


def save_facts(
    path: str | os.PathLike[str],
    *,
    overwrites: bool = False,
    step: int | None = None,
    epoch: float | None = None,
    score: Any = None,
    monitor: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    by: str = "user",
    without: str | None = None,
) -> dict[str, Any]:
    """The event of a checkpoint that was written to a file or folder.

    `overwrites`: the path was there before; a reader also sees that where the same run saved to it. `score` is the value of
    the metric `monitor` that the writer judges it by, `by` what has written it; sub-folders of `path` whose names
    begin with `without` are not of it. OSError where the path cannot be looked at,
    NotScalar where a number is none.
    """
    place = _absolute(path)
    body: dict[str, Any] = {
        "action": "overwritten" if overwrites else "saved",
        "path": place,
        **_size(place, without),
        "step": None if step is None else step_number(step),
        "epoch": epoch,
        "score": None if score is None else number(score),
        "monitor": monitor,
        "by": by,
    }
    if metrics:
        body["metrics"] = {str(key): number(value) for key, value in metrics.items()}
    return {key: value for key, value in body.items() if value is not None}


def linked(run: "Run", path: str | os.PathLike[str], target: str | os.PathLike[str], by: str) -> None:
    """A path was made to stand for a checkpoint that is there."""
    event_late(
        run,
        "checkpoint",
        {"action": "linked", "path": _absolute(path), "target": _absolute(target), "by": by},
    )


def removed(run: "Run", path: str | os.PathLike[str], why: str, by: str) -> None:
    """A checkpoint was deleted, or is about to be: `why` is "rotation" where newer or better ones took its place."""
    event_late(run, "checkpoint", {"action": "removed", "path": _absolute(path), "why": why, "by": by})


def _absolute(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    return text if "://" in text else os.path.abspath(text)


def files_of(path: str | os.PathLike[str], without: str | None = None) -> list[tuple[str, int]]:
    """The files below a folder, with their sizes in bytes; `without`: not in sub-folders whose names begin so."""
    found = []
    for folder, names, files in os.walk(path):
        if without is not None:
            names[:] = [name for name in names if not name.startswith(without)]
        for name in files:
            place = os.path.join(folder, name)
            found.append((place, os.lstat(place).st_size))
        if len(found) > _MOST_FILES:
            break
    return found


def _size(place: str, without: str | None) -> dict[str, int]:
    """`size` in bytes, and of a folder the number of `files`; nothing for what lies in another place than this machine."""
    if "://" in place:
        return {}
    facts = os.stat(place)
    if not stat.S_ISDIR(facts.st_mode):
        return {"size": facts.st_size}
    sizes = [size for _, size in files_of(place, without)]
    return {"size": sum(sizes), "files": len(sizes)}
