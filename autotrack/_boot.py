"""What `autotrack.pth` imports at the start of a Python that `autotrack run` launched, and of its Python children.

It arms autolog, and in the launched process itself opens the run. It never raises; it prints at most one warning.
"""

import os
import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any

from autotrack import config, guard, process

_VALUE_OPTIONS = ("-W", "-X", "--check-hash-based-pycs")


def boot() -> None:
    """Arm this process, unless it serves another one's training or recording is switched off."""
    if config.is_disabled() or process.is_worker():
        return
    before = set(sys.modules)
    launch = launched()
    guard.reason(_arm)
    if launch is not None and process.rank() == 0:
        guard.attempt("opening the launched run", _open, launch)
    guard.reason(forget_shadowed, before)


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


def forget_shadowed(before: Iterable[str]) -> None:
    """Give up modules that we imported early where the script's folder has one of the same name.

    Without us the script's `import queue` finds a queue.py beside it; it still shall. Our own references stay.
    """
    folder = script_folder()
    if folder is None:
        return
    for name in {module.partition(".")[0] for module in set(sys.modules) - set(before)} - {"autotrack"}:
        place = os.path.join(folder, name)
        if not (os.path.exists(place + ".py") or os.path.exists(os.path.join(place, "__init__.py"))):
            continue
        origin = getattr(sys.modules.get(name), "__file__", None) or ""
        if os.path.dirname(origin) in {folder, place}:
            continue
        for module in [key for key in sys.modules if key == name or key.startswith(name + ".")]:
            del sys.modules[module]


def script_folder() -> str | None:
    """What Python will put first into sys.path; None where it puts nothing."""
    if sys.flags.safe_path:
        return None
    words = iter(sys.orig_argv[1:])
    for word in words:
        if word in _VALUE_OPTIONS:
            next(words, None)
        elif word.startswith(("-c", "-m")) or word == "-":
            return os.getcwd()
        elif not word.startswith("-"):
            place = os.path.realpath(word)
            return place if os.path.isdir(place) else os.path.dirname(place)
    return os.getcwd()


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
