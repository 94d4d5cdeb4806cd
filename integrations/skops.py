"""skops: loading a scikit-learn model without unpickling it."""

from pathlib import Path
from typing import Any


def load(path: Path, pickle: bool, **options: Any) -> Any:
    """The model; types that skops does not trust have to be named in `trusted=[…]`, else skops raises and names them."""
    from skops import io

    return io.load(path, **options)
