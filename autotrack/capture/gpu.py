"""The GPUs: through NVML, else through `nvidia-smi`; and which of them CUDA_VISIBLE_DEVICES leaves to this process."""

import os
import sys
from typing import Any, ClassVar, NamedTuple

from autotrack.capture.base import Capture, Skip

SECONDS = 20.0
_DRIVER_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")
_ASK_GPUTIL = (
    "import GPUtil, json\n"
    "print(json.dumps([[g.id, g.uuid, g.name, g.memoryTotal, g.driver] for g in GPUtil.getGPUs()]))"
)


class Device(NamedTuple):
    """One GPU; `parts` are the UUIDs of its MIG instances."""

    number: int
    uuid: str
    name: str
    memory: int | None
    parts: tuple[str, ...] = ()


class Gpu(Capture):
    """The NVIDIA GPUs of the machine; memory in bytes."""

    name: ClassVar[str] = "gpu"

    def collect(self) -> dict[str, Any]:
        """source, driver, cuda (the newest version that the driver serves), visible (numbers in the order that CUDA gives
        them), gpus (number: name, memory, uuid, mig).
        """
        if not _may_have_driver():
            raise Skip("no NVIDIA driver")
        devices, facts = self._through_nvml()
        if not devices:
            raise Skip("the NVIDIA driver knows no GPU")
        facts["visible"] = visible(devices)
        facts["gpus"] = {str(device.number): _described(device) for device in devices}
        return facts

    def _through_nvml(self) -> tuple[list[Device], dict[str, Any]]:
        try:
            import pynvml
        except ImportError as error:
            return self._through_gputil(f"pynvml cannot be imported: {error}")
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            return self._through_gputil(f"NVML cannot be used: {error}")
        try:
            devices = [_nvml_device(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
            version = _known(pynvml, pynvml.nvmlSystemGetCudaDriverVersion)
            facts = {"source": "nvml", "driver": _word(_known(pynvml, pynvml.nvmlSystemGetDriverVersion))}
            if version:
                facts["cuda"] = f"{version // 1000}.{version % 1000 // 10}"
        finally:
            pynvml.nvmlShutdown()
        return [device for device in devices if device is not None], facts

    def _through_gputil(self, why: str) -> tuple[list[Device], dict[str, Any]]:
        if which("nvidia-smi") is None:
            raise Skip("no NVIDIA driver")
        self.note = f"{why}; GPUtil and nvidia-smi were asked instead"
        rows = _ask_gputil(why)
        devices = [_smi_device(*row) for row in rows]
        return devices, {"source": "nvidia-smi", "driver": rows[0][4] if rows else None}


def visible(devices: list[Device]) -> list[int]:
    """The numbers of the GPUs that CUDA_VISIBLE_DEVICES leaves to this process, in its order; all where it is not set.

    An entry is a number, the beginning of a UUID (`GPU-8932…`), or a MIG instance (`MIG-…`, `MIG-GPU-…/1/0`); CUDA stops at
    the first that it does not know. Numbers are NVML's, which are CUDA's with CUDA_DEVICE_ORDER=PCI_BUS_ID or GPUs alike.
    """
    from autotrack.sampler.gpu import index_of, visible_words

    words = visible_words()
    if words is None:
        return [device.number for device in devices]
    uuids = {device.number: device.uuid for device in devices}
    parts = {part: device.number for device in devices for part in device.parts}
    found: list[int] = []
    for word in words:
        number = parts[word] if word in parts else index_of(word, uuids)
        if number is None:
            break
        if number not in found:
            found.append(number)
    return found


def which(program: str) -> str | None:
    """The program's path on PATH; `shutil.which` without what `shutil` imports."""
    if os.name == "nt":
        import shutil

        return shutil.which(program)
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder, program)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def _may_have_driver() -> bool:
    """Whether it is worth 20 ms to import pynvml: a plain look for the driver's files, on Linux."""
    if not sys.platform.startswith("linux") or "pynvml" in sys.modules:
        return True
    return any(os.path.exists(path) for path in _DRIVER_FILES) or which("nvidia-smi") is not None


def _nvml_device(pynvml: Any, index: int) -> Device | None:
    """One GPU, or None where it has fallen off the bus."""
    handle = _known(pynvml, pynvml.nvmlDeviceGetHandleByIndex, index)
    if handle is None:
        return None
    memory = _known(pynvml, pynvml.nvmlDeviceGetMemoryInfo, handle)
    return Device(
        index,
        _word(_known(pynvml, pynvml.nvmlDeviceGetUUID, handle)) or "",
        _word(_known(pynvml, pynvml.nvmlDeviceGetName, handle)) or "unknown",
        None if memory is None else int(memory.total),
        tuple(_mig_parts(pynvml, handle)),
    )


def _mig_parts(pynvml: Any, handle: Any) -> list[str]:
    mode = _known(pynvml, pynvml.nvmlDeviceGetMigMode, handle)
    if not mode or mode[0] != 1:
        return []
    parts = []
    for place in range(_known(pynvml, pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        part = _known(pynvml, pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place)
        uuid = None if part is None else _word(_known(pynvml, pynvml.nvmlDeviceGetUUID, part))
        if uuid:
            parts.append(uuid)
    return parts


def _known(pynvml: Any, function: Any, *args: Any) -> Any:
    """What NVML answers, or None where it has no answer for this GPU."""
    try:
        return function(*args)
    except pynvml.NVMLError:
        return None


def _word(value: Any) -> str | None:
    """NVML's text: bytes in old bindings."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _described(device: Device) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": device.name, "memory": device.memory, "uuid": device.uuid}
    if device.parts:
        facts["mig"] = list(device.parts)
    return {name: value for name, value in facts.items() if value is not None}


def _ask_gputil(why: str) -> list[list[Any]]:
    """GPUtil's answer, from a Python of its own: it imports distutils (which warns), and waits for nvidia-smi without end."""
    import json
    import subprocess

    environment = {key: value for key, value in os.environ.items() if key != "AUTOTRACK_LAUNCH"}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", "-c", _ASK_GPUTIL],
            env=environment | {"AUTOTRACK_MODE": "disabled"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Skip(f"{why}; nvidia-smi took more than {SECONDS:g} s") from error
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if lines and "GPUtil" in lines[-1] and "Error: No module" in lines[-1]:
            raise Skip(
                f"{why}; nvidia-smi is there, but GPUtil is not installed: pip install GPUtil setuptools"
            )
        raise Skip(f"{why}; GPUtil failed: {lines[-1] if lines else f'exit code {done.returncode}'}")
    rows: list[list[Any]] = json.loads(done.stdout.decode().strip().splitlines()[-1])
    return rows


def _smi_device(number: int, uuid: str, name: str, mebibytes: float, driver: str) -> Device:
    """A row of GPUtil; memory is NaN where nvidia-smi says [N/A]."""
    memory = int(mebibytes) * 1024 * 1024 if mebibytes == mebibytes else None
    return Device(number, uuid, name, memory)
