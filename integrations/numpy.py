"""NumPy: loading an `.npz`."""

from pathlib import Path
from typing import Any

from autotrack.errors import PickleRefused


def load(path: Path, pickle: bool, **options: Any) -> Any:
    """The arrays by name; arrays of objects are pickles, and refused unless `pickle` allows them."""
    import numpy

    with numpy.load(path, allow_pickle=pickle, **options) as arrays:
        try:
            return {name: arrays[name] for name in arrays.files}
        except ValueError as error:
            if pickle or "allow_pickle" not in str(error):
                raise
            raise PickleRefused(path, "an npz file with arrays of objects in it") from error
