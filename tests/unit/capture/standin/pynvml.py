"""NVIDIA's driver for the hardware's facts (see tests/support/nvml_driver.py); calls of `init` and `shutdown` are printed."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "support"))

from nvml_driver import (
    BOARDS,
    INIT,
    STEP,
    address_of,
    by_index,
    count,
    give_handle,
    give_value,
    real_pynvml,
    serve,
)

exec(real_pynvml(__file__), globals())


def _unit(handle):
    address = address_of(handle)
    board = BOARDS[address // STEP - 1]
    return board["instances"][address % STEP - 1] if address % STEP else board


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
    return give_value(current, 1) or give_value(pending, 1)


def _mig_part(handle, index, reference):
    if index.value >= len(_unit(handle)["instances"]):
        return 6
    return give_handle(reference, address_of(handle) + index.value + 1)


def _driver(buffer, size):
    buffer.value = b"550.54.14"
    return 0


def _begin(flags):
    if INIT == 0:
        print("init")
    return INIT


def _end():
    print("shutdown")
    return 0


_functions = {
    "nvmlInitWithFlags": _begin,
    "nvmlShutdown": _end,
    "nvmlSystemGetDriverVersion": _driver,
    "nvmlSystemGetCudaDriverVersion": lambda reference: give_value(reference, 12040),
    "nvmlDeviceGetCount_v2": count,
    "nvmlDeviceGetHandleByIndex_v2": by_index,
    "nvmlDeviceGetUUID": _text("uuid"),
    "nvmlDeviceGetName": _text("name"),
    "nvmlDeviceGetMemoryInfo": _memory,
    "nvmlDeviceGetMigMode": _mig_mode,
    "nvmlDeviceGetMaxMigDeviceCount": lambda handle, reference: give_value(reference, 7),
    "nvmlDeviceGetMigDeviceHandleByIndex": _mig_part,
}

serve(globals(), _functions)
