"""What a run notes of the checkpoints that its training writes: each save, link and removal is one event of its journal.

Nothing is copied or changed here; what it costs the caller is a `stat`, of a folder one of each file. What the helper thread finds
when it reads what was saved follows in an event of its own: "sealed" or "damaged".
"""

import os
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from importlib import import_module
from typing import TYPE_CHECKING, Any

from autotrack.digests import ALL, Part, look_at
from autotrack.late import event_late
from autotrack.layout import new_run_id
from autotrack.steps import step_number
from autotrack.values import number

if TYPE_CHECKING:
    from autotrack.keeping import Retention
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
    mode: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    by: str = "user",
    part: Part = ALL,
) -> None:
    """A checkpoint was written to a file or folder.

    `step`: the last one that was logged, if it is not given. `overwrites`: the path was there before; a reader also sees that
    where the same run saved to it. `score` is the value of the metric `monitor` that the writer judges it by, the less the better
    where `mode` is "min", the more where it is "max". `by`: what has written it; `part`: what of a folder is of it. OSError where
    the path cannot be looked at, NotScalar where a number is none, ValueError for another mode.
    """
    if mode not in (None, "min", "max"):
        raise ValueError(f"mode is {mode!r}; 'min' is for a metric where less is better, 'max' where more is")
    place = _absolute(path)
    look = None if "://" in place else look_at(place, part)
    body: dict[str, Any] = {
        "action": "overwritten" if overwrites else "saved",
        "path": place,
        "id": new_run_id(),
        "size": None if look is None else look.size,
        "files": None if look is None else look.files,
        "step": run.last_step if step is None else step_number(step),
        "epoch": epoch,
        "score": None if score is None else number(score),
        "monitor": monitor,
        "mode": mode,
        "by": by,
        "without": part.without,
        "names": None if part.names is None else list(part.names),
    }
    if metrics:
        body["metrics"] = {str(key): number(value) for key, value in metrics.items()}
    event_late(run, "checkpoint", {key: value for key, value in body.items() if value is not None})
    if look is not None and run.opened_by != "disabled":
        from autotrack.ranking import Save

        save = Save(body["id"], place, look, part, body["score"], monitor, mode)
        retention = retention_of(run)
        retention.saved(save)
        retention.read_later(save)


MOST_NAMES = 1_000


class Written:
    """What a save writes into a folder in which other files lie, or come later: made before it, asked behind it."""

    def __init__(self, folder: str | os.PathLike[str], without: str) -> None:
        self._folder = os.fspath(folder)
        self._without = without
        self._before = self._stamps()

    def part(self) -> tuple[Part, bool]:
        """The files that are new or were written anew, and whether there was one of them before."""
        after = self._stamps()
        names = tuple(name for name, stamp in after.items() if self._before.get(name) != stamp)
        part = Part(self._without, names if 0 < len(names) <= MOST_NAMES else None)
        return part, any(name in self._before for name in (names or after))

    def _stamps(self) -> dict[str, tuple[int, int, int]]:
        try:
            stamps = look_at(self._folder, Part(self._without)).stamps
        except OSError:
            return {}
        return {name: (size, changed, inode) for name, size, changed, inode in stamps}


_enclosed: ContextVar[int] = ContextVar("autotrack_saving", default=0)


def enclose() -> Callable[[], None]:
    """A framework saves a checkpoint from here on: what it calls for that is no checkpoint of its own. What is returned ends that."""
    token = _enclosed.set(_enclosed.get() + 1)
    return lambda: _enclosed.reset(token)


def is_enclosed() -> bool:
    """Whether a framework is saving a checkpoint in this context."""
    return _enclosed.get() > 0


_SAVING = ("torch", "keras", "safetensors", "flax")
"""What writes checkpoints as a rule where it is loaded."""


def prepare(run: "Run") -> None:
    """On the helper thread: load what a save needs (some 20 ms), where one is to be expected; else the first one does it."""
    if run.log_model not in (None, False) or any(name in sys.modules for name in _SAVING):
        import_module("autotrack.keeping")
        import_module("autotrack.objects.keep")


def retention_of(run: "Run") -> "Retention":
    """What decides which checkpoints of a run are stored."""
    if run.retention is None:
        from autotrack.keeping import Retention

        run.retention = Retention(run)
    return run.retention


def going(run: "Run", path: str | os.PathLike[str]) -> None:
    """A checkpoint is about to be deleted by rotation: the last moment at which its bytes can be kept from that."""
    if run.opened_by != "disabled":
        retention_of(run).going(_absolute(path))


def stayed(run: "Run", path: str | os.PathLike[str]) -> None:
    """What was announced by `going` was not deleted."""
    if run.retention is not None:
        run.retention.stayed(_absolute(path))


def linked(run: "Run", path: str | os.PathLike[str], target: str | os.PathLike[str], by: str) -> None:
    """A path was made to stand for a checkpoint that is there."""
    event_late(
        run,
        "checkpoint",
        {"action": "linked", "path": _absolute(path), "target": _absolute(target), "by": by},
    )


def removed(run: "Run", path: str | os.PathLike[str], why: str, by: str) -> None:
    """A checkpoint was deleted: `why` is "rotation" where newer or better ones took its place."""
    event_late(run, "checkpoint", {"action": "removed", "path": _absolute(path), "why": why, "by": by})
    if run.retention is not None:
        run.retention.gone(_absolute(path))


def _absolute(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    return text if "://" in text else os.path.abspath(text)
