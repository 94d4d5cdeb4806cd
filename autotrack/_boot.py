"""What `autotrack.pth` imports at the start of a Python that `autotrack run` launched, and of its Python children.

It arms autolog, and in the launched process itself opens the run. It never raises; it prints at most one warning.
"""

import os
import sys
from types import FrameType
from typing import Any

from autotrack import config, guard, process


def boot() -> None:
    """Arm this process, unless it serves another one's training or recording is switched off."""
    if config.is_disabled() or process.is_worker():
        return
    before = set(sys.modules)
    from autotrack import background, shadowing

    launch = launched()
    with background.held():  # what the helper thread imports shall not come between
        guard.reason(shadowing.keep_ours)
        guard.reason(_arm)
        if launch is not None and process.rank() == 0:
            guard.attempt("opening the launched run", _open, launch)
        guard.reason(shadowing.forget_shadowed, before)


def launched() -> dict[str, Any] | None:
    """What `autotrack run` was told, in the very process that it became; None in every other."""
    import json

    try:
        launch = json.loads(config.setting("LAUNCH") or "")
    except ValueError:
        return None
    if not isinstance(launch, dict):
        return None
    pid = os.getpid() if os.name == "posix" else os.getppid()
    if launch.get("pid") != pid or launch.get("started") != process.start_ticks(pid):
        return None
    return launch


def _arm() -> None:
    from autotrack.arming import autolog

    autolog()


def _open(launch: dict[str, Any]) -> None:
    from autotrack.opening import launch as open_run

    open_run(launch.get("project"), launch.get("name"), tuple(launch.get("tags") or ()), launch.get("group"))


class _WhenThePathIsComplete:
    """Calls `boot` when Python looks for `sitecustomize`, which it does once all folders of packages are on `sys.path`.

    A virtual environment may take packages from the system's folders, and those come after its own .pth files.
    """

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> None:
        """Finds nothing; other names do not matter."""
        if name == "sitecustomize":
            sys.meta_path = [finder for finder in sys.meta_path if finder is not cls]
            boot()


def _python_is_starting() -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "main" and frame.f_globals.get("__name__") == "site":
            return "sitecustomize" not in sys.modules
        frame = frame.f_back
    return False


if _python_is_starting():
    sys.meta_path.insert(0, _WhenThePathIsComplete)
else:
    boot()
