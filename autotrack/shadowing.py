"""Modules beside the script that bear the name of one that we import: the script gets its own, and we keep ours."""

import os
import sys
from collections.abc import Iterable
from importlib import import_module
from itertools import islice
from typing import Any

from autotrack import background, guard

_LIBRARIES = frozenset({"numpy", "orjson", "psutil", "pynvml", "sqlalchemy", "zstandard"})
_ON_THE_HELPER = (
    "artifacts",
    "capture.collect",
    "digests",
    "keeping",
    "memory",
    "objects.keep",
    "objects.seal",
    "objects.shards",
    "registry.chain",
    "sampler",
)
"""Of our modules, those that the helper thread imports in the first place."""

_VALUE_OPTIONS = ("-W", "-X", "--check-hash-based-pycs")
_MOST_NAMES = 20_000


def keep_ours() -> None:
    """Where modules that we may import are hidden by some beside the script, import now what would import them later.

    What is imported later all the same goes without: the script's modules are never run on the helper thread.
    """
    folder = script_folder()
    hidden = frozenset() if folder is None or folder in sys.path else _hidden_by(folder)
    if not hidden:
        return
    sys.meta_path.insert(0, _NotOnTheHelper(hidden))
    for module in _ON_THE_HELPER:
        guard.reason(import_module, f"autotrack.{module}")


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


def _hidden_by(folder: str) -> frozenset[str]:
    """Names of Python's own modules and of libraries of ours that a folder has modules of."""
    with os.scandir(folder) as entries:
        names = {entry.name.removesuffix(".py") for entry in islice(entries, _MOST_NAMES)}
    known = (sys.stdlib_module_names | _LIBRARIES) - set(sys.builtin_module_names)
    return frozenset(name for name in names & known if _stands_in(folder, name))


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
