"""joblib: what the user's own code saves with `joblib.dump`, and loading pickles again, where the user allows that."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from autotrack import saves
from autotrack.callback import open_run
from autotrack.errors import PickleRefused
from autotrack.integration import Integration
from autotrack.patcher import Call


class JoblibIntegration(Integration):
    """Watches `joblib.dump`."""

    name: ClassVar[str] = "joblib"
    targets: ClassVar[tuple[str, ...]] = ("joblib.numpy_pickle",)
    supports: ClassVar[Mapping[str, str]] = {}

    def _install(self, module: ModuleType) -> None:
        self.patcher.observe(module, "dump", dumped)


def dumped(call: Call) -> Callable[[Call], None] | None:
    """`joblib.dump(value, filename, …)`; `Memory` dumps to file objects, `Parallel` to a folder of its own."""
    target = call.kwargs.get("filename") if len(call.args) < 2 else call.args[1]
    if not isinstance(target, (str, os.PathLike)) or saves.is_enclosed() or _is_a_memmap(os.fspath(target)):
        return None
    run = open_run()
    if run is None:
        return None
    path = os.fspath(target)
    overwrites = os.path.lexists(path)

    def end(call: Call) -> None:
        if call.error is None:
            saves.saved(run, path, overwrites=overwrites, by="joblib.dump")

    return end


def _is_a_memmap(path: str) -> bool:
    """Whether it is an array that `Parallel` hands to its workers (joblib/_memmapping_reducer.py, `_get_temp_dir`)."""
    return any(one.startswith("joblib_memmapping_folder") for one in path.split(os.sep)[:-1])


def load(path: Path, pickle: bool, **options: Any) -> Any:
    """Anything, where `pickle` allows it; AutotrackError else."""
    if not pickle:
        raise PickleRefused(path, "a pickle")
    import joblib

    return joblib.load(path, **options)
