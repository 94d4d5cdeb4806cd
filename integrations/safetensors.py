"""safetensors: what the user's own code saves with `save_file`, and loading it again.

`save_file(tensors, filename, …)` of `safetensors.torch`, `.numpy`, `.flax` and `.tensorflow` writes beside the file and renames
(safetensors 0.8); `safetensors.torch.save_model` ends in it. Saves that a framework makes for itself are noted by that framework's
integration.
"""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from autotrack.errors import AutotrackError
from autotrack.integration import Integration
from autotrack.integrations._by_hand import saver


class SafetensorsIntegration(Integration):
    """Watches `save_file`."""

    name: ClassVar[str] = "safetensors"
    targets: ClassVar[tuple[str, ...]] = (
        "safetensors.torch",
        "safetensors.numpy",
        "safetensors.flax",
        "safetensors.tensorflow",
    )
    supports: ClassVar[Mapping[str, str]] = {}

    def _install(self, module: ModuleType) -> None:
        self.patcher.observe(module, "save_file", saved)


saved = saver("filename", by="safetensors.save_file", of="tensors")


def write(source: Path, format: str, folder: Path, pickle: bool) -> None:
    """Write the tensors of a torch file as `model.safetensors`, where that is exact: every value, type and shape is the same again.

    AutotrackError where it holds something else than tensors beside its `state_dict`, or tensors that share their memory.
    """
    if format not in ("torch", "torch before 1.6"):
        raise AutotrackError(f"{source} ({format}) is no torch file; only those are converted.")
    import torch
    from safetensors.torch import load_file, save_file

    from autotrack.integrations.torch import load as load_torch

    loaded = load_torch(source, pickle)
    tensors = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(tensors, dict) or not all(isinstance(one, torch.Tensor) for one in tensors.values()):
        raise AutotrackError(f"{source} holds more than tensors by name, which safetensors cannot hold.")
    target = folder / "model.safetensors"
    try:
        save_file({name: one.contiguous() for name, one in tensors.items()}, target)
    except (RuntimeError, ValueError) as error:
        raise AutotrackError(f"{source} cannot be converted exactly: {error}") from error
    again = load_file(target)
    for name, one in tensors.items():
        if again[name].dtype != one.dtype or not torch.equal(_bits(again[name]), _bits(one)):
            raise AutotrackError(f"{source} cannot be converted exactly: {name!r} would not be the same.")


def _bits(tensor: Any) -> Any:
    """The bytes of a tensor, so that NaN is the same as itself."""
    import torch

    return tensor.contiguous().flatten().view(torch.uint8) if tensor.numel() else tensor


def load(path: Path, pickle: bool, **options: Any) -> Any:
    """The tensors by name: torch's where torch is installed, else NumPy's (which has no bfloat16)."""
    try:
        from safetensors.torch import load_file as load_tensors
    except ImportError:
        from safetensors.numpy import load_file as load_arrays

        return load_arrays(path, **options)
    return load_tensors(path, **options)
