"""What argparse and click have in common: whose code parses, and where the values go."""

import os
import sys
from types import FrameType
from typing import Any

from autotrack.session import add_config

_TOOLS = frozenset(
    {
        "IPython",
        "_pytest",
        "accelerate",
        "coverage",
        "debugpy",
        "deepspeed",
        "ipykernel",
        "pip",
        "pytest",
        "ray",
        "torch",
        "tox",
    }
)

_PARSERS = frozenset({"transformers.hf_argparser", "trl.scripts._hf_argparser", "trl.scripts.utils"})
"""Modules whose parsers derive from the library's: the program that uses one calls these."""


def called_by_user(library: str) -> bool:
    """Whether the code that called into `library` (a module's name), or into a parser made of it, belongs to the user's program."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        filename = frame.f_code.co_filename
        passed = module == library or module in _PARSERS or module.startswith("autotrack.")
        if not passed and not filename.startswith("<frozen"):
            return is_users_code(module, filename)
        frame = frame.f_back
    return False


def is_users_code(module: str | None, filename: str) -> bool:
    """Whether this code belongs to the user's program, and not to Python, an installed package or autotrack.

    An installed package is the user's program where it was itself started (`python -m package`), unless it is a known tool
    that starts other programs.
    """
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    started = spec.name.partition(".")[0] if spec is not None else None
    is_program = started is not None and started not in _TOOLS | {"autotrack"} | sys.stdlib_module_names
    if is_program and module is not None and (module == "__main__" or module.partition(".")[0] == started):
        return True
    return not _installed(filename)


def _installed(filename: str) -> bool:
    path = filename.replace("\\", "/")
    if "/site-packages/" in path or "/dist-packages/" in path or path.startswith("<frozen"):
        return True
    autotrack = getattr(sys.modules.get("autotrack"), "__file__", None) or __file__
    places = [file.replace("\\", "/") for file in (__file__, autotrack, os.__file__)]
    return any(path.startswith(place.rpartition("/")[0] + "/") for place in places)


def record_arguments(source: str, values: dict[str, Any]) -> None:
    """Into the config of this process's run, now or when it is opened."""
    add_config(values, source)
