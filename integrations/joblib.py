"""joblib: what the user's own code saves with `joblib.dump`, and loading pickles again, where the user allows that."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from autotrack.errors import PickleRefused
from autotrack.integration import Integration
from autotrack.integrations._by_hand import saver


class JoblibIntegration(Integration):
    """Watches `joblib.dump`."""

    name: ClassVar[str] = "joblib"
    targets: ClassVar[tuple[str, ...]] = ("joblib.numpy_pickle",)
    supports: ClassVar[Mapping[str, str]] = {}

    def _install(self, module: ModuleType) -> None:
        self.patcher.observe(module, "dump", dumped)


def _is_a_memmap(path: str) -> bool:
    """Whether it is an array that `Parallel` hands to its workers (joblib/_memmapping_reducer.py, `_get_temp_dir`)."""
    return any(one.startswith("joblib_memmapping_folder") for one in path.split(os.sep)[:-1])


dumped = saver("filename", by="joblib.dump", of="value", left_out=_is_a_memmap)


def load(path: Path, pickle: bool, **options: Any) -> Any:
    """Anything, where `pickle` allows it; AutotrackError else."""
    if not pickle:
        raise PickleRefused(path, "a pickle")
    import joblib

    return joblib.load(path, **options)
