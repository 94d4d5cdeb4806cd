"""What is said of an estimator and its data: parameters, types, shapes. Nothing is copied, converted or
kept.
"""

import os
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary, ref

PLAIN = frozenset({type(None), bool, int, float, str})
LONGEST = 100
COLUMNS = 1_000

_names: "WeakKeyDictionary[type, tuple[Callable[[], Any], list[str]]]" = WeakKeyDictionary()
"""By class: a weak reference to its constructor, which may hold on to the class, and the names of the parameters that it takes."""


def public_name(cls: type) -> str:
    """A class's dotted name without private modules: "sklearn.linear_model.LogisticRegression"."""
    parts = [part for part in cls.__module__.split(".") if not part.startswith("_") or part == "__main__"]
    return ".".join([*parts, cls.__qualname__])


def config(
    estimator: Any, method: str, params: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """What a run says of its estimator; the keys of `params` as scikit-learn spells them
    ("pca__n_components").
    """
    return {
        "estimator": public_name(type(estimator)),
        "method": method,
        "params": {str(key): simple(value) for key, value in params.items()},
        "data": data(given),
    }


def params(estimator: Any) -> dict[str, Any]:
    """What `estimator.get_params(deep=True)` gives. scikit-learn's own inspects the constructor's signature at each call, which
    takes 100 µs; here once a class. Raises what it raises.
    """
    cls, base = type(estimator), sys.modules["sklearn.base"].BaseEstimator
    own = getattr(getattr(cls, "_get_param_names", None), "__func__", None) is base._get_param_names.__func__
    if own and cls.get_params is base.get_params:
        known, names = _names.get(cls, (None, []))
        if known is None or known() is not cls.__init__:
            names = cls._get_param_names()
            if isinstance(cls.__init__, FunctionType):
                _names[cls] = ref(cls.__init__), names
        values = {name: getattr(estimator, name) for name in names}
        if all(type(value) in PLAIN or not hasattr(value, "get_params") for value in values.values()):
            return values
    found: dict[str, Any] = estimator.get_params(deep=True)
    return found


def simple(value: Any) -> Any:
    """A parameter's value as it can stand in a config, without addresses and without large arrays."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, list | tuple):
        short = [simple(item) for item in value[:LONGEST]]
        return short if len(value) <= LONGEST else [*short, f"… {len(value) - LONGEST} more"]
    if isinstance(value, Mapping):
        return {str(key): simple(item) for key, item in value.items()}
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return public_name(value) if isinstance(value, type) else str(value.__qualname__)
    if hasattr(value, "get_params"):
        return type(value).__name__
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _array(value)
    if hasattr(value, "dist") and hasattr(value, "kwds"):  # a frozen distribution of scipy.stats
        words = [*map(str, value.args), *(f"{key}={item}" for key, item in value.kwds.items())]
        return f"{value.dist.name}({', '.join(words)})"
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    text = repr(value)
    return type(value).__name__ if " at 0x" in text else text


def _array(value: Any) -> Any:
    if getattr(value, "size", LONGEST + 1) <= LONGEST and hasattr(value, "tolist"):
        return value.tolist()
    return f"{type(value).__name__} of shape {tuple(value.shape)}, {value.dtype}"


def arguments(
    call_args: tuple[Any, ...], kwargs: Mapping[str, Any], function: Callable[..., Any]
) -> dict[str, Any]:
    """The arguments of a call by name, without `self`; what a method calls its first one is "X", its second
    "y".
    """
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    names = list(code.co_varnames[1 : code.co_argcount]) if code is not None else []
    names[:2] = ["X", "y"] if len(names) != 1 else ["X"]
    found = dict(zip(names, call_args[1:], strict=False))
    for key, value in kwargs.items():
        found.setdefault({"Y": "y", "raw_documents": "X"}.get(key, key), value)
    return found


def data(given: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a fit: X, y and whether there were sample weights."""
    facts: dict[str, Any] = {}
    for key in ("X", "y"):
        if given.get(key) is not None:
            facts[key] = describe(given[key])
    shape = facts.get("X", {}).get("shape", [])
    if shape:
        facts["n_samples"] = shape[0]
    if len(shape) > 1:
        facts["n_features"] = shape[1]
    facts["sample_weight"] = given_weight(given)
    return facts


def given_weight(given: Mapping[str, Any]) -> bool:
    """Whether sample weights were passed, also to a step of a pipeline."""
    return any(key.endswith("sample_weight") and value is not None for key, value in given.items())


def describe(value: Any) -> dict[str, Any]:
    """Type, shape, dtype and sparsity of arrays, frames, sparse matrices and nested lists."""
    facts: dict[str, Any] = {"type": type(value).__name__}
    shape = getattr(value, "shape", None)
    facts["shape"] = [int(size) for size in shape] if isinstance(shape, tuple) else _list_shape(value)
    dtype = _dtype(value)
    if dtype is not None:
        facts["dtype"] = dtype
    if hasattr(value, "nnz") and hasattr(value, "format"):
        facts["sparse"] = str(value.format)
        facts["nonzero"] = int(value.nnz)
    return facts


def _list_shape(value: Any) -> list[int]:
    if not hasattr(value, "__len__"):
        return []
    shape = [len(value)]
    if isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
        shape.append(len(value[0]))
    return shape


def _dtype(value: Any) -> Any:
    if hasattr(value, "dtype"):
        return _numpys(value.dtype) if type(value.dtype).__module__ == "numpy.dtypes" else str(value.dtype)
    if isinstance(value, list | tuple):
        first = value[0] if value else None
        while isinstance(first, list | tuple) and first:
            first = first[0]
        return None if first is None else type(first).__name__
    dtypes = getattr(value, "dtypes", None)
    if dtypes is None or len(dtypes) > COLUMNS:
        return None
    counts: dict[str, int] = {}
    for dtype in dtypes:
        counts[str(dtype)] = counts.get(str(dtype), 0) + 1
    return counts


@lru_cache(maxsize=64)
def _numpys(dtype: Any) -> str:
    """The name of a dtype of NumPy's; it makes it in Python, in 30 µs."""
    return str(dtype)


def is_number(value: Any) -> bool:
    """Whether it is one number: of Python, NumPy or a framework with 0-dimensional arrays."""
    return isinstance(value, int | float) or (hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0)


def classes(estimator: Any) -> int | list[int] | None:
    """The number of classes that a fitted classifier knows; a list of them with several outputs."""
    known = getattr(estimator, "classes_", None)
    if known is None:
        return None
    if isinstance(known, list):
        return [len(each) for each in known]
    return len(known)
