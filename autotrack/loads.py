"""Checkpoints that the user's code loads: a training that begins behind that began from them."""

import os
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from autotrack import background, saves, session
from autotrack.digests import digest_of, look_at
from autotrack.guard import guarded
from autotrack.late import event_late
from autotrack.mounts import holds_what_is_read, kind_of

if TYPE_CHECKING:
    from autotrack.run import Run

_seen: deque[str] = deque(maxlen=20)
"""What was loaded while no run was open, for the next training of this process."""
_noted: deque[tuple[str, str]] = deque(maxlen=20)
"""Of what was noted last: the run and the path."""


def _active() -> "Run | None":
    run: Run | None = session.unasked(session.active_run())
    return run


def loaded(path: str | os.PathLike[str], run_of: Callable[[], "Run | None"] = _active) -> None:
    """A checkpoint was loaded: an input of the open run, or of the next training. What a training itself loads is none.

    `run_of` says which run that is, if it is not the active one.
    """
    if session.training() is not None or saves.is_enclosed() or not session.recording():
        return
    place = os.path.abspath(os.fspath(path))
    if not os.path.exists(place):
        return
    run = run_of()
    if run is not None:
        _note(run, place)
    elif place not in _seen:
        _seen.append(place)


def loading(path: str | os.PathLike[str], run_of: Callable[[], "Run | None"] = _active) -> Callable[[], None]:
    """A framework begins to load a checkpoint, by whatever it calls for that; what is returned ends it."""
    loaded(path, run_of)
    return saves.enclose()


def attach(run: "Run") -> None:
    """A training begins in a run of its own: what was loaded before it is what it began from."""
    while _seen:
        _note(run, _seen.popleft())


def told(run: "Run", path: str) -> None:
    """What is trained in a run says itself that it was loaded from a path; nobody may have been there to see that."""
    place = os.path.abspath(path)
    if (run.id, place) not in _noted and os.path.exists(place):
        _note(run, place)


def forget() -> None:
    """What was loaded so far is nobody's."""
    _seen.clear()
    _noted.clear()


def _note(run: "Run", path: str) -> None:
    _noted.append((run.id, path))
    background.submit(partial(_read, run, path))


def _read(run: "Run", path: str) -> None:
    with guarded("noting a checkpoint that was loaded"):
        try:
            look = look_at(path)
        except OSError:
            return
        held = holds_what_is_read(kind_of(path))
        digest = None if held else digest_of(path, look, pace=background.breathe)
        facts = {"path": path, "role": "checkpoint", "size": look.size, "digest": digest}
        event_late(run, "input", facts | {"run": None, "step": None})
