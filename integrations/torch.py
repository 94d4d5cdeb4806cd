"""torch: what the user's own code saves with `torch.save`, and loading it again.

A path that `torch.load` reads is an input of the run. `torch.save(obj, f)` with a path is a checkpoint of the open run, behind it of
the run that has trained what is saved, and so is the folder that `torch.distributed.checkpoint.save` writes, noted by rank 0 when all
have written (its `.metadata` comes last). Saves that a framework makes for itself are noted by that framework's integration, and one
to a file object is left to whoever opened the file.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any, ClassVar

from autotrack import loads
from autotrack.errors import PickleRefused
from autotrack.integration import Integration
from autotrack.integrations._by_hand import noted, saver
from autotrack.patcher import Call
from autotrack.process import rank

_DISTRIBUTED = "torch.distributed.checkpoint.state_dict_saver"


class TorchIntegration(Integration):
    """Watches `torch.save` and `torch.distributed.checkpoint.save`."""

    name: ClassVar[str] = "torch"
    targets: ClassVar[tuple[str, ...]] = ("torch.serialization", _DISTRIBUTED)
    supports: ClassVar[Mapping[str, str]] = {}

    def _install(self, module: ModuleType) -> None:
        if module.__name__ != _DISTRIBUTED:
            self.patcher.listen(module, "load", was_loaded)
        self.patcher.observe(module, "save", saved_in_shards if module.__name__ == _DISTRIBUTED else saved)


def was_loaded(args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
    """`torch.load(f, …)`."""
    target = args[0] if args else kwargs.get("f")
    if isinstance(target, (str, os.PathLike)):
        loads.loaded(target)


saved = saver("f", by="torch.save", of="obj")


def saved_in_shards(call: Call) -> Callable[[Call], None] | None:
    """`save(state_dict, *, checkpoint_id=None, storage_writer=None, …)`: the folder is the id, or the writer's."""
    target: Any = call.kwargs.get("checkpoint_id") or getattr(call.kwargs.get("storage_writer"), "path", None)
    if not isinstance(target, (str, os.PathLike)):
        return None
    of = call.args[0] if call.args else call.kwargs.get("state_dict")
    return noted(os.fspath(target), "torch.distributed.checkpoint.save", of, here=lambda: rank() == 0)


def load(path: Path, pickle: bool, **options: Any) -> Any:
    """Tensors, numbers and texts (`weights_only`), on the CPU unless `map_location` says otherwise; anything with `pickle`."""
    import torch

    try:
        return torch.load(path, **{"map_location": "cpu", "weights_only": not pickle, **options})
    except UnpicklingError as error:
        if pickle:
            raise
        raise PickleRefused(path, "a torch file with more than tensors, numbers and texts in it") from error
