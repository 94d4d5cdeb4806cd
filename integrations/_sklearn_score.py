"""The score of a fitted estimator on its training data, where that is cheap and leaves no trace."""

import re
import sys
import warnings
from _thread import get_ident
from collections.abc import Mapping
from time import perf_counter
from types import TracebackType
from typing import Any

from autotrack.guard import reason
from autotrack.importlib_bootstrap_frames import PortableMethod
from autotrack.integrations._sklearn_facts import PLAIN
from autotrack.integrations._sklearn_random import RandomStates

CELLS = 10_000_000
"""Larger data are left alone: scoring may copy them."""
SECONDS = 0.25
SHARE_OF_FIT = 0.1
FIRST_ROWS = 256


class quiet:
    """Warnings of this thread are dropped in the block; nobody else's are, and none that were given are
    forgotten.

    `warnings.catch_warnings` would do both: it swaps the filters for every thread, and makes each "once"
    warning of the user's appear once more.
    """

    pattern = ""
    """scikit-learn makes the filters anew in its threads, from their patterns: there all warnings of the score are dropped."""

    def __init__(self) -> None:
        self._thread = get_ident()
        self._entry: Any = ("ignore", None, Warning, self, 0)
        self._filters: list[Any] = []

    def match(self, _module: str) -> bool:
        """What the warning machinery asks of an entry in its filters: is this warning from our thread?"""
        return get_ident() == self._thread

    def __reduce__(self) -> tuple[Any, ...]:
        return re.compile, ("",)  # scikit-learn hands the filters on to its worker processes

    def __enter__(self) -> None:
        filters: Any = warnings.filters
        self._filters = filters
        filters.insert(0, self._entry)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._filters.remove(self._entry)


def train_score(
    estimator: Any, params: Mapping[str, Any], given: Mapping[str, Any], fit_seconds: float
) -> tuple[float | None, str | None]:
    """(score, None), or (None, why there is none). The budget: a quarter of a second, or a tenth of the fit
    if more.
    """
    why = _unfit(estimator, params, given)
    if why is not None:
        return None, why
    trusted = _scikit_learns_only(estimator, params)
    states = RandomStates(params, trusted)
    budget = max(SECONDS, SHARE_OF_FIT * fit_seconds)
    try:
        # The fit has looked at what the score takes.
        with quiet(), sys.modules["sklearn"].config_context(skip_parameter_validation=True):
            answer, problem = reason(_within_budget, estimator, given, budget, trusted)
    finally:
        moved = states.restore()
    if problem is not None:
        return None, f"score() raised {problem}"
    score, why = answer if answer is not None else (None, None)
    if moved and score is not None:
        return (
            None,
            "score() draws random numbers: a second call would give another value (the state was put back)",
        )
    return score, why


def _unfit(estimator: Any, params: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """Why not even to try."""
    if hasattr(type(estimator), "_run_search"):
        return "a search scores its candidates itself"
    if not hasattr(estimator, "score"):
        return f"{type(estimator).__name__} has no score()"
    samples = given.get("X")
    if not hasattr(samples, "shape") and not hasattr(samples, "__len__"):
        return f"X is {type(samples).__name__}, not an array"
    rows, columns = _size(samples)
    if rows * columns > CELLS:
        return f"X has {rows} x {columns} cells, more than the {CELLS} that are scored"
    if any(key.split("__")[-1] == "verbose" and value for key, value in params.items()):
        return "verbose is on, and score() would print"
    return None


def _within_budget(
    estimator: Any, given: Mapping[str, Any], budget: float, trusted: bool
) -> tuple[float | None, str | None]:
    rows, _ = _size(given["X"])
    tried, spent = FIRST_ROWS, 0.0
    while tried < rows:
        started = perf_counter()
        _score(estimator, given, tried, trusted)
        took = perf_counter() - started
        spent += took
        if took * rows / tried <= budget:
            break
        if spent + 8 * took > budget:
            return None, f"it would take about {took * rows / tried:.2g} s, and {budget:.2g} s are allowed"
        tried *= 8
    return float(_score(estimator, given, None, trusted)), None


def _scikit_learns_only(estimator: Any, params: Mapping[str, Any]) -> bool:
    """Whether no code but scikit-learn's, which draws its random numbers from NumPy, takes part."""
    return type(estimator).__module__.startswith("sklearn.") and all(
        type(value) in PLAIN for value in params.values()
    )


def _score(estimator: Any, given: Mapping[str, Any], rows: int | None, trusted: bool) -> Any:
    samples, targets, weight = (_head(given.get(key), rows) for key in ("X", "y", "sample_weight"))
    if weight is None:
        known = _by_formula(estimator, samples, targets, trusted)
        if known is not None:
            return known
    extra = {} if weight is None or not _takes_weight(estimator) else {"sample_weight": weight}
    return (
        estimator.score(samples, **extra) if targets is None else estimator.score(samples, targets, **extra)
    )


def _by_formula(estimator: Any, samples: Any, targets: Any, trusted: bool = False) -> Any:
    """What scikit-learn's own `score` of regressors (R²) and classifiers (accuracy) gives for plain arrays, to the last bit: the
    formulas of `r2_score` and `accuracy_score` without their checks, which take longer than a small fit. None for all else, also
    for predictions that are not finite. `trusted`: the fit has looked at `samples`, and found them finite.
    """
    base: Any = sys.modules["sklearn.base"]
    method: Any = getattr(estimator.score, "__func__", None)
    mixins = (base.RegressorMixin, base.ClassifierMixin)
    if not any(method is mixin.score and _is_scikit_learns(mixin) for mixin in mixins):
        return None
    numpy: Any = sys.modules["numpy"]
    if type(targets) is not numpy.ndarray or targets.ndim != 1 or len(targets) < 2:
        return None
    kinds = "f" if method is base.RegressorMixin.score else "biuU"
    if targets.dtype.kind not in kinds:
        return None
    with sys.modules["sklearn"].config_context(assume_finite=True if trusted else None):
        found = estimator.predict(samples)
    if type(found) is not numpy.ndarray or found.shape != targets.shape or found.dtype != targets.dtype:
        return None
    if method is base.ClassifierMixin.score:
        return (found == targets).mean()
    column = targets[:, None]
    rest = ((column - found[:, None]) ** 2).sum(axis=0)[0]
    whole = ((column - column.mean(axis=0)) ** 2).sum(axis=0)[0]
    return 1 - rest / whole if whole and numpy.isfinite(rest) and numpy.isfinite(whole) else None


def _is_scikit_learns(mixin: Any) -> bool:
    """Whether a mixin's `score` is the one that it was written with, observed by us or not, and wrapped by nobody else."""
    method: Any = vars(mixin)["score"]
    if isinstance(method, PortableMethod):
        method = method.original
    return getattr(method, "__module__", "") == "sklearn.base" and not hasattr(method, "__wrapped__")


def _takes_weight(estimator: Any) -> bool:
    function: Any = getattr(estimator.score, "__func__", None)
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    return (
        code is not None and "sample_weight" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    )


def _head(value: Any, rows: int | None) -> Any:
    if value is None or rows is None:
        return value
    return value.iloc[:rows] if hasattr(value, "iloc") else value[:rows]


def _size(samples: Any) -> tuple[int, int]:
    shape = getattr(samples, "shape", None)
    if isinstance(shape, tuple):
        return int(shape[0]), int(shape[1]) if len(shape) > 1 else 1
    nested = len(samples) and isinstance(samples[0], list | tuple)
    return len(samples), len(samples[0]) if nested else 1
