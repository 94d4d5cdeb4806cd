"""What arrives after its run has ended: metrics of `trainer.test()` after `trainer.fit()`, the checkpoint of a `save_model` after `train`.

The run's own journal is closed by then. It goes to a journal of its own in the run's folder, as later edits do, which stays
open as long as more arrives; status and end of the run stay what they were.
"""

import atexit
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from autotrack import background, session
from autotrack.bounded import within
from autotrack.deferred import read_later
from autotrack.errors import NotScalar
from autotrack.guard import guarded, warn
from autotrack.journal.writer import Journal
from autotrack.layout import Layout, decode_project
from autotrack.values import is_deferred, number
from autotrack.where import journal_in

if TYPE_CHECKING:
    from autotrack.run import Run

_MOST = 16
_UNUSED_SECONDS = 10.0


def log_late(run: "Run", values: Mapping[str, Any], step: int) -> None:
    """`run.log(values, step)` for a run that may have ended; tensors on an accelerator are read by the helper thread."""
    if not run.ended:
        run.log(values, step=step)
    elif run.opened_by == "disabled":
        return
    else:
        later = {key: value for key, value in values.items() if is_deferred(value)}
        _write(run, {key: value for key, value in values.items() if key not in later}, step)
        if later:
            read_later(later, lambda found: _write(run, found, step))


def event_late(run: "Run", kind: str, body: dict[str, Any]) -> None:
    """`run.event(kind, body)` for a run that may have ended."""
    if not run.ended:
        run.event(kind, body)
    elif run.opened_by != "disabled":
        _append(run, kind, body)


def report(run: "Run", what: str, status: str, why: str | None, seconds: float = 0.0) -> None:
    """A line of the run's capture report: `status` is "captured", "skipped" or "failed"."""
    body: dict[str, Any] = {
        "what": what,
        "status": status,
        "why": why,
        "ms": round(seconds * 1e3, 3),
        "facts": {},
    }
    event_late(run, "capture", body)


def _write(run: "Run", values: Mapping[str, Any], step: int) -> None:
    numbers = {}
    for key, value in values.items():
        try:
            numbers[key] = number(value)
        except NotScalar as error:
            warn("metric-value", f"The metric {key!r} was left out: {error}.", key=key)
    if numbers:
        _append(run, "m", step, numbers)


class _Late:
    """The journal for what arrives late in one folder, and when it was used last (monotonic seconds)."""

    def __init__(self, run: "Run") -> None:
        folder = run.dir  # a child lies in its root's folder, which bears the root's id
        project = decode_project(folder.parent.name)
        self.journal: Journal = journal_in(Layout(folder.parents[2]), project, folder.name, "edit")
        self.used = 0.0

    def serve(self) -> None:
        """Write what waits, and sync what is new; a folder that was deleted meanwhile stays so."""
        if self.journal.waiting():
            self.journal.tick()
        else:
            self.journal.sync()

    def close(self) -> None:
        self.serve()
        fd = self.journal.close(wait=self.journal.waiting())
        if fd is not None:
            os.close(fd)


_open: dict[str, _Late] = {}
"""By folder, the one that was used last at the end."""
_locks = [threading.RLock()]
_serving: list[background.Task] = []


def _append(run: "Run", kind: str, *body: Any) -> None:
    if run.dir.parent.is_dir() and not os.path.lexists(run.dir):
        return  # the run was deleted, and stays so
    child = () if run.id == run.dir.name else (run.id,)
    with _locks[0]:
        late = _open.pop(str(run.dir), None) or _Late(run)
        _open[str(run.dir)] = late
        late.used = monotonic()
        late.journal.append(kind, *body, *child)
    with suppress(
        OSError
    ):  # readers look again at the files of a run that is over when its folder has changed
        os.utime(run.dir)
    if not _serving:
        _serving.append(background.every(session.TICK_SECONDS, _serve))
        atexit.register(_close_all)
    if len(_open) > _MOST:
        background.submit(_close_some, _MOST)


def _serve() -> None:
    for late in list(_open.values()):
        with guarded("writing out what arrived after a run's end"):
            late.serve()
    _close_some(_MOST)


def _close_some(most: int) -> None:
    """Close what nobody has used for a while, and the oldest beyond so many."""
    unused = []
    with _locks[0]:
        for folder, late in list(_open.items()):
            if len(_open) <= most and monotonic() - late.used < _UNUSED_SECONDS:
                break
            unused.append(_open.pop(folder))
    for late in unused:
        with guarded("closing what arrived after a run's end"):
            late.close()


def _close_all() -> None:
    within(max(session.patience(), 0.5), "closing what arrived after a run's end", lambda: _close_some(-1))


def _after_fork() -> None:
    """In a forked child: the parent writes its own."""
    _locks[0] = threading.RLock()
    _open.clear()
    _serving.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
