"""What stands in the classes of a framework before, while and after autotrack is armed; in a process that has armed nothing else."""

import importlib
import inspect
import json
import sys
import types
from typing import Any

import autotrack

PACKAGES = {"lightning": "lightning.pytorch", "transformers": "transformers.trainer", "keras": "keras.src"}
Functions = dict[tuple[str, str], Any]


def functions(package: str) -> Functions:
    """By class and name."""
    found: Functions = {}
    for name, module in list(sys.modules.items()):
        if name != package and not name.startswith(package + "."):
            continue
        for kind in [
            one for one in vars(module).values() if isinstance(one, type) and one.__module__ == name
        ]:
            for attribute, value in list(vars(kind).items()):
                if isinstance(value, types.FunctionType | classmethod | staticmethod | property):
                    found[f"{name}.{kind.__qualname__}", attribute] = value
    return found


def looks(value: Any) -> tuple[Any, ...]:
    """Its type, names, documentation, signature and file."""
    function = getattr(value, "__func__", value)
    names = [getattr(function, name, None) for name in ("__name__", "__qualname__", "__module__", "__doc__")]
    return type(value), *names, str(inspect.signature(function)), inspect.getfile(inspect.unwrap(function))


def tell(framework: str) -> None:
    """Print how many functions are replaced, which of them look otherwise, and which are not the originals afterwards."""
    package = PACKAGES[framework]
    importlib.import_module(package)
    before = functions(package)
    getattr(autotrack, framework).autolog()
    replaced = {
        place: value
        for place, value in functions(package).items()
        if place in before and value is not before[place]
    }
    other = [place for place, value in replaced.items() if looks(value) != looks(before[place])]
    autotrack.autolog(disable=True)
    after = functions(package)
    left = [place for place in before.keys() | after.keys() if after.get(place) is not before.get(place)]
    print(json.dumps({"replaced": len(replaced), "other": other, "left": left}))
