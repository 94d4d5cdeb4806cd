"""The real pynvml (nvidia-ml-py) over a driver that is not there: its C functions are written in Python below.

Everything else is the real module: its names, structures, errors, conversions. The boards are described by the
environment variable BOARDS (JSON); the sampler's `init` and `shutdown` are noted in the file NVML_NOTES.
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
_units = {0x1000 * (index + 1): board for index, board in enumerate(_boards)}
_parents = {}
for _address, _board in list(_units.items()):
    for _number, _instance in enumerate(_board.get("instances", []), 1):
        _units[_address + _number] = _instance
        _parents[_address + _number] = _address


def _note(word):
    frame = sys._getframe()
    while frame is not None and Path(frame.f_code.co_filename).parent.name != "sampler":
        frame = frame.f_back
    if frame is not None:  # the capture of the hardware, where there is a driver, has NVML open for itself
        with open(os.environ["NVML_NOTES"], "a") as file:
            file.write(word + "\n")
    return 0


def _address_of(handle):
    return ctypes.cast(handle, ctypes.c_void_p).value


def _give_handle(reference, address):
    ctypes.c_void_p.from_buffer(reference._obj).value = address
    return 0


def _count(reference):
    reference._obj.value = len(_boards)
    return 0


def _by_index(index, reference):
    if _boards[index.value].get("lost"):
        return 15
    return _give_handle(reference, 0x1000 * (index.value + 1))


def _by_uuid(uuid, reference):
    for address, unit in _units.items():
        if unit["uuid"].encode() == uuid.value:
            return _give_handle(reference, address)
    return 6


def _uuid(handle, buffer, size):
    buffer.value = _units[_address_of(handle)]["uuid"].encode()
    return 0


def _parent(handle, reference):
    parent = _parents.get(_address_of(handle))
    return 2 if parent is None else _give_handle(reference, parent)


def _reading(name, fill):
    def function(handle, *rest):
        value = _units[_address_of(handle)].get(name)
        if value is None:
            return 3
        fill(rest[-1]._obj, value)
        return 0

    return function


def _fill_value(target, value):
    target.value = value


def _fill_utilization(target, value):
    target.gpu, target.memory = value, 1


def _fill_memory(target, value):
    target.used, target.total = value
    target.free = target.total - target.used


_functions = {
    "nvmlInitWithFlags": lambda flags: int(os.environ.get("NVML_INIT", "0")) or _note("init"),
    "nvmlShutdown": lambda: _note("shutdown"),
    "nvmlDeviceGetCount_v2": _count,
    "nvmlDeviceGetHandleByIndex_v2": _by_index,
    "nvmlDeviceGetHandleByUUID": _by_uuid,
    "nvmlDeviceGetUUID": _uuid,
    "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": _parent,
    "nvmlDeviceGetUtilizationRates": _reading("utilization", _fill_utilization),
    "nvmlDeviceGetMemoryInfo": _reading("memory", _fill_memory),
    "nvmlDeviceGetPowerUsage": _reading("milliwatts", _fill_value),
    "nvmlDeviceGetTemperature": _reading("temperature", _fill_value),
}


def _function(name):
    if name not in _functions:
        raise globals()["NVMLError_FunctionNotFound"]
    return _functions[name]


globals().update(_LoadNvmlLibrary=bool, _nvmlGetFunctionPointer=_function)
