"""What the tests of scikit-learn share: the data, an estimator of a user's own, and looking at what was recorded."""

import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris

import autotrack
from autotrack import background

IRIS, SPECIES = load_iris(return_X_y=True)


@pytest.fixture(autouse=True)
def armed(store: Path) -> Iterator[None]:
    """scikit-learn is armed in each test of a module that imports this."""
    autotrack.sklearn.autolog(project="tests")
    yield
    autotrack.autolog(disable=True)


def runs() -> list[Any]:
    """The root runs of this test, oldest first, once the helper thread has done its part."""
    background.drain(60)
    found = [run for run in autotrack.runs(project="tests") if run.parent is None]
    return sorted(found, key=lambda run: run.created)


def only() -> Any:
    (run,) = runs()
    return run


def skipped(run: Any, what: str = "train_score") -> str | None:
    """Why the capture report says that something was skipped."""
    (entry,) = [entry for entry in run.capture_report if entry["what"] == what]
    return str(entry["why"]) if entry["status"] != "captured" else None


def runs_exist() -> bool:
    try:
        return bool(runs())
    except autotrack.AutotrackError:
        return False


class Majority(ClassifierMixin, BaseEstimator):
    """A user's estimator."""

    def __init__(self, shift: int = 0, fail: str = "") -> None:
        self.shift = shift
        self.fail = fail

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "Majority":
        """Remember the most frequent class."""
        if self.fail == "fit":
            raise RuntimeError("cannot be fitted")
        if self.fail == "interrupt":
            raise KeyboardInterrupt
        self.classes_, counts = np.unique(y, return_counts=True)
        self.best_ = self.classes_[counts.argmax()]
        warnings.warn("fitted", UserWarning, stacklevel=2)
        return self

    def predict(self, X: Any) -> Any:
        if self.fail == "predict":
            raise RuntimeError("cannot predict")
        if self.fail == "random":
            np.random.rand()
            random.random()
        if self.fail == "warn":
            warnings.warn("predicting", UserWarning, stacklevel=2)
        return np.full(len(X), self.best_)


def quietly(function: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function()
