"""Waiting for something that may never come back: a disk that hangs keeps neither `finish()` nor the process's end."""

import sys
import threading
from collections.abc import Callable

from autotrack.guard import guarded

_AFTER_CTRL_C = 0.3


def within(seconds: float, what: str, function: Callable[[], object]) -> bool:
    """Run a function on a thread of its own; False if it takes longer than so many seconds. Its errors become a warning.

    A Ctrl-C ends the waiting a moment later. Where no thread can be started, the function is waited for to its end.
    """
    done = threading.Event()

    def work() -> None:
        with guarded(what):
            function()
        done.set()

    try:
        if sys.is_finalizing():  # up to Python 3.11 a thread's start then waits for ever
            raise RuntimeError
        threading.Thread(target=work, name="autotrack-end", daemon=True).start()
    except RuntimeError:
        work()
    interrupted = True
    try:
        answered = done.wait(seconds)
        interrupted = False
        return answered
    finally:
        if interrupted:
            done.wait(_AFTER_CTRL_C)
