"""Records trainings: parameters, metrics at every step, artifacts, code, packages and machine, in plain files.

    import autotrack
    autotrack.autolog()                       # every training of every framework from here on is recorded
    run = autotrack.init(config={"lr": 0.1})  # or by hand
    run.log({"loss": 0.3}, step=1)

Nothing is imported until it is used; importing autotrack imports no framework.
"""

from typing import TYPE_CHECKING, Any

from autotrack.version import VERSION as __version__

if TYPE_CHECKING:
    from autotrack import checkpoints as checkpoints
    from autotrack.arming import autolog as autolog
    from autotrack.callback import AutoTrack as AutoTrack
    from autotrack.errors import AutotrackError as AutotrackError
    from autotrack.errors import AutotrackWarning as AutotrackWarning
    from autotrack.face import active_run as active_run
    from autotrack.face import get_run as get_run
    from autotrack.face import log as log
    from autotrack.face import runs as runs
    from autotrack.opening import init as init
    from autotrack.run import Run as Run
    from autotrack.session import disabled as disabled

_NAMES = {
    "AutoTrack": "autotrack.callback",
    "AutotrackError": "autotrack.errors",
    "AutotrackWarning": "autotrack.errors",
    "Run": "autotrack.run",
    "active_run": "autotrack.face",
    "autolog": "autotrack.arming",
    "disabled": "autotrack.session",
    "get_run": "autotrack.face",
    "init": "autotrack.opening",
    "log": "autotrack.face",
    "runs": "autotrack.face",
}

__all__ = [
    "AutoTrack",
    "AutotrackError",
    "AutotrackWarning",
    "Run",
    "__version__",
    "active_run",
    "autolog",
    "checkpoints",
    "disabled",
    "get_run",
    "init",
    "log",
    "runs",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used; any other name may be a framework: `autotrack.sklearn.autolog()`."""
    from importlib import import_module

    found: Any
    if name == "checkpoints":
        found = import_module("autotrack.checkpoints")
    elif name in _NAMES:
        found = getattr(import_module(_NAMES[name]), name)
    elif not name.startswith("_") and not _is_submodule(name):
        from autotrack.arming import Framework, frameworks

        if name not in frameworks():
            raise AttributeError(f"module 'autotrack' has no attribute {name!r}")
        found = Framework(name)
    else:
        raise AttributeError(f"module 'autotrack' has no attribute {name!r}")
    globals()[name] = found
    return found


def _is_submodule(name: str) -> bool:
    """Whether `from autotrack import name` means a module of ours, which Python imports when it finds no attribute."""
    import os

    return any(os.path.exists(os.path.join(path, name + end)) for path in __path__ for end in (".py", ""))


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES, "checkpoints"})
