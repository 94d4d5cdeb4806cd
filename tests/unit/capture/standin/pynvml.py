"""The real pynvml (nvidia-ml-py) over a driver that is not there: its C functions are written in Python below.

Everything else is the real module: its names, structures, errors, conversions. BOARDS (JSON) describes the boards;
NVML_INIT is what initialising answers (12: the library is not there); calls of `init` and `shutdown` are printed.
"""

import ctypes
import json
import os
import sys
from pathlib import Path

_here = Path(__file__).resolve().parent
_real = next(
    file
    for folder in sys.path
    if (file := Path(folder or ".").resolve() / "pynvml.py").exists() and file.parent != _here
)
exec(compile(_real.read_text(), str(_real), "exec"), globals())

_boards = json.loads(os.environ["BOARDS"])
_STEP = 0x1000


def _unit(handle):
    address = ctypes.cast(handle, ctypes.c_void_p).value
    board = _boards[address // _STEP - 1]
    return board["instances"][address % _STEP - 1] if address % _STEP else board


def _give(reference, address):
    ctypes.c_void_p.from_buffer(reference._obj).value = address
    return 0


def _set(reference, value):
    reference._obj.value = value
    return 0


def _by_index(index, reference):
    return 15 if _boards[index.value].get("lost") else _give(reference, _STEP * (index.value + 1))


def _text(name):
    def function(handle, buffer, size):
        if name not in _unit(handle):
            return 3
        buffer.value = _unit(handle)[name].encode()
        return 0

    return function


def _memory(handle, reference):
    if "memory" not in _unit(handle):
        return 3
    reference._obj.total = _unit(handle)["memory"]
    return 0


def _mig_mode(handle, current, pending):
    if "instances" not in _unit(handle):
        return 3
    return _set(current, 1) or _set(pending, 1)


def _mig_part(handle, index, reference):
    address = ctypes.cast(handle, ctypes.c_void_p).value
    if index.value >= len(_unit(handle)["instances"]):
        return 6
    return _give(reference, address + index.value + 1)


def _driver(buffer, size):
    buffer.value = b"550.54.14"
    return 0


def _begin(flags):
    answer = int(os.environ.get("NVML_INIT", "0"))
    if answer == 0:
        print("init")
    return answer


def _end():
    print("shutdown")
    return 0


_functions = {
    "nvmlInitWithFlags": _begin,
    "nvmlShutdown": _end,
    "nvmlSystemGetDriverVersion": _driver,
    "nvmlSystemGetCudaDriverVersion": lambda reference: _set(reference, 12040),
    "nvmlDeviceGetCount_v2": lambda reference: _set(reference, len(_boards)),
    "nvmlDeviceGetHandleByIndex_v2": _by_index,
    "nvmlDeviceGetUUID": _text("uuid"),
    "nvmlDeviceGetName": _text("name"),
    "nvmlDeviceGetMemoryInfo": _memory,
    "nvmlDeviceGetMigMode": _mig_mode,
    "nvmlDeviceGetMaxMigDeviceCount": lambda handle, reference: _set(reference, 7),
    "nvmlDeviceGetMigDeviceHandleByIndex": _mig_part,
}


def _function(name):
    if name not in _functions:
        raise globals()["NVMLError_FunctionNotFound"]
    return _functions[name]


globals().update(_LoadNvmlLibrary=bool, _nvmlGetFunctionPointer=_function)
