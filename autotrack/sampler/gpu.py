"""Counters of the GPUs that this process may use: from NVML, or from `nvidia-smi` where NVML's library is missing."""

import importlib
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from math import isfinite
from time import monotonic
from typing import Any

from autotrack.guard import reason

SMI_SECONDS = 15.0
SMI_FAILURES = 3
_MIB = 2**20


class Gpus:
    """The visible GPUs and what reads them.

    `indices`: physical indices, as `nvidia-smi` numbers them. `source`: "nvml", "nvidia-smi" or None. `why`: why there is no source.
    """

    def __init__(self) -> None:
        self.source: str | None = None
        self.why: str | None = None
        self._reader: Nvml | Smi | None = None
        nvml, why = reason(importlib.import_module, "pynvml")
        unloaded = nvml is None
        if nvml is not None:
            _, why = reason(nvml.nvmlInit)
            unloaded = why is not None and why.startswith(
                ("NVMLError_LibraryNotFound", "NVMLError_FunctionNotFound")
            )
        if why is None:
            self.source, self._reader = "nvml", Nvml(nvml)
            self.why = self._reader.why
        elif unloaded and shutil.which("nvidia-smi"):
            gputil, missing = reason(importlib.import_module, "GPUtil")
            if gputil is None:
                self.why = f"{why}; {missing}"
            else:
                self.source, self._reader = "nvidia-smi", Smi(gputil)
        else:
            self.why = why

    @property
    def indices(self) -> list[int]:
        """The physical indices of the visible GPUs, as far as they are known by now."""
        reader = self._reader  # another thread may close it meanwhile
        return [] if reader is None else reader.indices

    def read(self) -> dict[str, float]:
        """ "system/gpu.<index>." + utilization (%), memory (bytes), memory_percent, power (W), temperature (°C) to numbers."""
        reader = self._reader
        return {} if reader is None else reader.read()

    def close(self) -> None:
        """Give the library back."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


class Board:
    """A physical GPU; `parts` are the handles whose memory is this process's: the board, or its visible MIG instances."""

    def __init__(self, index: int, handle: Any, part: Any) -> None:
        self.index = index
        self.handle = handle
        self.parts = [part]


class Nvml:
    """Reads by NVML, which is initialised before and shut down by `close`."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        boards, self.why = reason(self._visible)
        self._boards: list[Board] = boards or []
        self.indices = [board.index for board in self._boards]

    def read(self) -> dict[str, float]:
        """The counters of all visible GPUs; what NVML refuses is left out."""
        values: dict[str, float] = {}
        for board in self._boards:
            start = f"system/gpu.{board.index}."
            values |= self._value(start + "utilization", self._utilization, board.handle)
            values |= self._value(start + "power", self._power, board.handle)
            values |= self._value(start + "temperature", self._temperature, board.handle)
            values |= self._memory(start, board)
        return values

    def close(self) -> None:
        """Shut NVML down."""
        reason(self._nvml.nvmlShutdown)

    def _value(self, name: str, read: Callable[[Any], float], handle: Any) -> dict[str, float]:
        try:
            return {name: read(handle)}
        except self._nvml.NVMLError:
            return {}

    def _utilization(self, handle: Any) -> float:
        return int(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu)

    def _power(self, handle: Any) -> float:
        return int(self._nvml.nvmlDeviceGetPowerUsage(handle)) / 1000

    def _temperature(self, handle: Any) -> float:
        nvml = self._nvml
        try:
            return int(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        except (AttributeError, nvml.NVMLError):
            # The older call goes away with CUDA 14; older releases of nvidia-ml-py lack the newer one.
            if not hasattr(nvml, "nvmlDeviceGetTemperatureV"):
                raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED) from None
            return int(nvml.nvmlDeviceGetTemperatureV(handle, nvml.NVML_TEMPERATURE_GPU))

    def _memory(self, start: str, board: Board) -> dict[str, float]:
        try:
            parts = [self._nvml.nvmlDeviceGetMemoryInfo(part) for part in board.parts]
        except self._nvml.NVMLError:
            return {}
        used, total = sum(int(part.used) for part in parts), sum(int(part.total) for part in parts)
        return {start + "memory": used} | ({start + "memory_percent": 100 * used / total} if total else {})

    def _visible(self) -> list[Board]:
        handles, uuids = self._all()
        words = visible_words()
        if words is None:
            return [Board(index, handle, handle) for index, handle in handles.items()]
        boards: dict[int, Board] = {}
        for word in words:
            index, part = self._instance(word, uuids) if word.startswith("MIG-") else (None, None)
            if index is None:
                index = index_of(word, uuids)
                part = None if index is None else handles[index]
            if index is None:
                break
            if index not in boards:
                boards[index] = Board(index, handles[index], part)
            elif part not in boards[index].parts:
                boards[index].parts.append(part)
        return list(boards.values())

    def _all(self) -> tuple[dict[int, Any], dict[int, str]]:
        """Handles and UUIDs by physical index, without the boards that do not answer."""
        nvml = self._nvml
        handles: dict[int, Any] = {}
        uuids: dict[int, str] = {}
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                uuids[index] = _text(nvml.nvmlDeviceGetUUID(handle))
            except nvml.NVMLError:
                continue
            handles[index] = handle
        return handles, uuids

    def _instance(self, word: str, uuids: dict[int, str]) -> tuple[int | None, Any]:
        """(index of the board, handle of the instance) of "MIG-<uuid>"."""
        nvml = self._nvml
        try:
            instance = nvml.nvmlDeviceGetHandleByUUID(word)
            board = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance)
            uuid = _text(nvml.nvmlDeviceGetUUID(board))
        except nvml.NVMLError:
            return None, None
        return next((index for index, other in uuids.items() if other == uuid), None), instance


class Smi:
    """Reads by GPUtil, which starts `nvidia-smi`: at most every 15 s, and in a thread, for it can take seconds or hang."""

    def __init__(self, gputil: Any) -> None:
        self._gputil = gputil
        self._next = 0.0
        self._failures = 0
        self._thread: threading.Thread | None = None
        self._fresh: dict[str, float] = {}
        self.indices: list[int] = []

    def read(self) -> dict[str, float]:
        """What the last call of `nvidia-smi` said, once; its next call is started when it is time."""
        if self._thread is not None and self._thread.is_alive():
            return {}
        values, self._fresh = self._fresh, {}
        now = monotonic()
        if now >= self._next and self._failures < SMI_FAILURES:
            self._next = now + SMI_SECONDS
            self._thread = threading.Thread(target=self._ask, name="autotrack-nvidia-smi", daemon=True)
            reason(self._thread.start)
        return values

    def close(self) -> None:
        """Nothing is open."""

    def _ask(self) -> None:
        gpus, _ = reason(self._gputil.getGPUs)
        if not gpus:
            self._failures += 1
            return
        self._failures = 0
        gpus = self._visible(gpus)
        self.indices = [gpu.id for gpu in gpus]
        values: dict[str, float] = {}
        for gpu in gpus:
            values |= {
                f"system/gpu.{gpu.id}.utilization": gpu.load * 100,
                f"system/gpu.{gpu.id}.memory": gpu.memoryUsed * _MIB,
                f"system/gpu.{gpu.id}.memory_percent": gpu.memoryUtil * 100,
                f"system/gpu.{gpu.id}.temperature": gpu.temperature,
            }
        # GPUtil's word for what nvidia-smi cannot say is NaN.
        self._fresh = {name: value for name, value in values.items() if isfinite(value)}

    def _visible(self, gpus: list[Any]) -> list[Any]:
        words = visible_words()
        if words is None:
            return gpus
        found: dict[int, Any] = {}
        for word in words:
            index = index_of(word, {gpu.id: gpu.uuid for gpu in gpus})
            if index is None:
                break
            found[index] = next(gpu for gpu in gpus if gpu.id == index)
        return list(found.values())


def visible_words() -> list[str] | None:
    """The entries of CUDA_VISIBLE_DEVICES; None when it is not set: all GPUs."""
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    return None if value is None else list(dict.fromkeys(word.strip() for word in value.split(",")))


def index_of(word: str, uuids: Mapping[int, str]) -> int | None:
    """The physical index that an entry of CUDA_VISIBLE_DEVICES names; None ends the list, as CUDA does at what it does not know.

    Understood: "2", "GPU-<uuid>" or an unambiguous beginning of it, and "MIG-GPU-<uuid>/<instance>/<instance>" of older drivers.
    """
    if word.isdecimal():
        return int(word) if int(word) in uuids else None
    if word.startswith("MIG-GPU-"):
        word = word.removeprefix("MIG-").partition("/")[0]
    if not word.startswith("GPU-"):
        return None
    found = [index for index, uuid in uuids.items() if uuid.startswith(word)]
    return found[0] if len(found) == 1 else None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
