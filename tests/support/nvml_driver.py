"""What the stand-ins for NVIDIA's driver share: the real pynvml (nvidia-ml-py), its C functions written in Python.

Everything else is the real module: its names, structures, errors, conversions. BOARDS (JSON) describes the boards;
NVML_INIT is what initialising answers (12: the library is not there).
"""

import ctypes
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

BOARDS = json.loads(os.environ["BOARDS"])
INIT = int(os.environ.get("NVML_INIT", "0"))
STEP = 0x1000
"""A board's handle is a multiple of this; those of its instances follow it."""


def real_pynvml(standin: str) -> Any:
    """The code of the pynvml that is behind the stand-in on `sys.path`."""
    here = Path(standin).resolve().parent
    places = (Path(folder or ".").resolve() / "pynvml.py" for folder in sys.path)
    real = next(file for file in places if file.exists() and file.parent != here)
    return compile(real.read_text(), str(real), "exec")


def serve(module: dict[str, Any], functions: dict[str, Callable[..., int]]) -> None:
    """Let the module's calls of the driver reach these functions; the driver has no others."""

    def function(name: str) -> Callable[..., int]:
        if name not in functions:
            raise module["NVMLError_FunctionNotFound"]
        return functions[name]

    module.update(_LoadNvmlLibrary=bool, _nvmlGetFunctionPointer=function)


def address_of(handle: Any) -> int:
    """The number that a handle stands for."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def give_handle(reference: Any, address: int) -> int:
    """Write a handle where the caller wants it."""
    ctypes.c_void_p.from_buffer(reference._obj).value = address
    return 0


def give_value(reference: Any, value: Any) -> int:
    """Write a value where the caller wants it."""
    reference._obj.value = value
    return 0


def count(reference: Any) -> int:
    """How many boards there are."""
    return give_value(reference, len(BOARDS))


def by_index(index: Any, reference: Any) -> int:
    """A board's handle; a board that is `lost` has fallen off the bus."""
    return 15 if BOARDS[index.value].get("lost") else give_handle(reference, STEP * (index.value + 1))
