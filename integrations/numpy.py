"""NumPy: loading an `.npz`."""

from pathlib import Path
from typing import Any


def load(path: Path, pickle: bool, **options: Any) -> Any:
    """The arrays by name; arrays of objects are pickles, and raise ValueError unless `pickle` allows them."""
    import numpy

    with numpy.load(path, allow_pickle=pickle, **options) as arrays:
        return {name: arrays[name] for name in arrays.files}
