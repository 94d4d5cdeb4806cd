"""Modules beside the script that bear the name of one that we import: the script gets its own, and we keep ours."""

import importlib
import os
import sys
from collections.abc import Iterable
from typing import Any

import autotrack
from autotrack import background

_LIBRARIES = ("numpy", "orjson", "packaging", "psutil", "pynvml", "sqlalchemy", "zstandard")
"""What our own modules import, some of it late and on the helper thread."""

_OTHERS = ("cli", "integrations", "testing", "_boot", "__main__")
"""Of our modules, those that no recording imports by itself."""

_VALUE_OPTIONS = ("-W", "-X", "--check-hash-based-pycs")


def keep_ours() -> None:
    """Where a library that we use is hidden by a module of the script's, import now all that would import it later.

    What is imported later all the same goes without it: the script's module is never run on the helper thread.
    """
    folder = script_folder()
    if folder is None:
        return
    hidden = frozenset(name for name in _LIBRARIES if _stands_in(folder, name))
    if not hidden:
        return
    import pkgutil

    for module in pkgutil.walk_packages(autotrack.__path__, "autotrack."):
        if module.name.split(".")[1] not in _OTHERS:
            importlib.import_module(module.name)
    sys.meta_path.insert(0, _NotOnTheHelper(hidden))


def forget_shadowed(before: Iterable[str]) -> None:
    """Give up modules that we imported early where the script's folder has one of the same name.

    Without us the script's `import queue` finds a queue.py beside it; it still shall. Our own references stay.
    """
    folder = script_folder()
    if folder is None:
        return
    for name in {module.partition(".")[0] for module in set(sys.modules) - set(before)} - {"autotrack"}:
        if not _stands_in(folder, name):
            continue
        origin = getattr(sys.modules.get(name), "__file__", None) or ""
        if os.path.dirname(origin) in {folder, os.path.join(folder, name)}:
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


def _stands_in(folder: str, name: str) -> bool:
    place = os.path.join(folder, name)
    return os.path.exists(place + ".py") or os.path.exists(os.path.join(place, "__init__.py"))


class _NotOnTheHelper:
    """Refuses modules to the helper thread: between our start and the script's it would find the library, later the script's."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Finds nothing; ModuleNotFoundError for a hidden name on the helper thread."""
        if name.partition(".")[0] in self._names and background.here():
            raise ModuleNotFoundError(f"{name} is hidden by a module beside the script", name=name)
