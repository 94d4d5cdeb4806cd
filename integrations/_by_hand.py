"""Files that the user's own code saves by calling a function with a path: checkpoints of the open run."""

import os
from collections.abc import Callable
from typing import Any

from autotrack import saves
from autotrack.callback import open_run
from autotrack.patcher import Call
from autotrack.run import Run
from autotrack.session import recording
from autotrack.trained import run_of

End = Callable[[Call], None]


def no_path(path: str) -> bool:
    """Nothing is left out."""
    return False


def saver(
    name: str, by: str, of: str, left_out: Callable[[str], bool] = no_path
) -> Callable[[Call], End | None]:
    """What is to be called before a function whose second argument, or the one called `name`, is the path that it writes to, and
    whose first, or the one called `of`, is what it writes.

    What the function itself calls for that, or a framework calls it for, is no checkpoint of its own.
    """

    def begin(call: Call) -> End | None:
        target: Any = call.args[1] if len(call.args) > 1 else call.kwargs.get(name)
        if not isinstance(target, (str, os.PathLike)) or left_out(os.fspath(target)):
            return None
        return noted(os.fspath(target), by, call.args[0] if call.args else call.kwargs.get(of))

    return begin


def noted(path: str, by: str, of: Any, here: Callable[[], bool] = lambda: True) -> End | None:
    """The end of a save of an object to a path that begins now; None where it is nobody's. `here`: whether this process notes it."""
    run = None if saves.is_enclosed() else run_for(of)
    if run is None:
        return None
    overwrites = os.path.lexists(path)
    release = saves.enclose()

    def end(call: Call) -> None:
        release()
        if call.error is None and here():
            saves.saved(run, path, overwrites=overwrites, by=by)

    return end


def run_for(value: Any) -> Run | None:
    """The run that the user has opened, or the training that goes on; else the one in which this was trained; else the program's."""
    run = open_run()
    if run is not None and run.opened_by != "launcher":
        return run
    return (run_of(value) if recording() else None) or run
