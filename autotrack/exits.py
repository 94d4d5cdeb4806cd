"""Seeing with which code the process ends: the interpreter tells nobody, so `sys.exit` is watched while a run is open.

`raise SystemExit(3)` without `sys.exit` is not seen from here; a `with` block around the run sees it.
"""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from autotrack import session
from autotrack.patcher import Patcher
from autotrack.run import Run


class _Watch:
    """The patch on `sys.exit`, and how many open runs want it."""

    def __init__(self) -> None:
        self.patcher: Patcher | None = None
        self.runs = 0

    def begin(self) -> None:
        self.runs += 1
        if self.patcher is None:
            self.patcher = Patcher()
            self.patcher.replace_one(sys, "exit", _watched)

    def end(self) -> None:
        self.runs -= 1
        if self.runs == 0 and self.patcher is not None and not sys.is_finalizing():
            self.patcher.restore()
            self.patcher = None


_watch = _Watch()


def watch_exit(run: Run) -> None:
    """Watch `sys.exit` until this run ends."""
    _watch.begin()
    run.on_finish(_watch.end)


def _watched(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def exit(status: Any = None, /) -> Any:
        session.note_exit(status)
        return original(status)

    return exit
