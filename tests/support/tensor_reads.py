"""Counts the tensors that are read as numbers: those make a caller wait for an accelerator."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class Reads(TorchDispatchMode):
    """`with Reads() as reads: …`, and then `reads.count`."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "_local_scalar_dense" in str(function)
        return function(*args, **(kwargs or {}))
