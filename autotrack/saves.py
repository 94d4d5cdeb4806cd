"""What a run notes of the checkpoints that its training writes: each save, link and removal is one event of its journal.

Nothing is copied or changed here; what it costs the caller is a `stat`, of a folder one of each file. The digest of what was
saved follows in an event of its own, once the helper thread has read it.
"""

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from autotrack.digests import digest_later, look_at
from autotrack.late import event_late
from autotrack.layout import new_run_id
from autotrack.steps import step_number
from autotrack.values import number

if TYPE_CHECKING:
    from autotrack.run import Run


def saved(
    run: "Run",
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
) -> None:
    """A checkpoint was written to a file or folder.

    `overwrites`: the path was there before; a reader also sees that where the same run saved to it. `score` is the value of
    the metric `monitor` that the writer judges it by, `by` what has written it; sub-folders of `path` whose names
    begin with `without` are not of it. OSError where the path cannot be looked at, NotScalar where a number is none.
    """
    place = _absolute(path)
    look = None if "://" in place else look_at(place, without)
    body: dict[str, Any] = {
        "action": "overwritten" if overwrites else "saved",
        "path": place,
        "id": new_run_id(),
        "size": None if look is None else look.size,
        "files": None if look is None else look.files,
        "step": None if step is None else step_number(step),
        "epoch": epoch,
        "score": None if score is None else number(score),
        "monitor": monitor,
        "by": by,
    }
    if metrics:
        body["metrics"] = {str(key): number(value) for key, value in metrics.items()}
    event_late(run, "checkpoint", {key: value for key, value in body.items() if value is not None})
    if look is not None and run.opened_by != "disabled":
        digest_later(place, look, without, partial(_digested, run, place, body["id"]))


def _digested(run: "Run", path: str, save: str, digest: str) -> None:
    event_late(run, "checkpoint", {"action": "digested", "path": path, "save": save, "digest": digest})


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
