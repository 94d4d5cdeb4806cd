"""A fitted scikit-learn model is kept, as nobody else saves it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

import autotrack
from autotrack import sealing
from autotrack.errors import PickleRefused
from autotrack.testing import only_run

X, Y = load_iris(return_X_y=True)
pytestmark = pytest.mark.usefixtures("store", "armed", "patient")


@pytest.fixture
def armed(store: Path) -> Iterator[None]:
    autotrack.sklearn.autolog()
    yield
    autotrack.autolog(disable=True)


class Stubborn(ClassifierMixin, BaseEstimator):
    """Cannot be pickled once it is fitted."""

    def fit(self, x: Any, y: Any) -> "Stubborn":
        self.function_ = lambda row: row
        self.classes_ = np.unique(y)
        return self

    def predict(self, x: Any) -> Any:
        return np.zeros(len(x))


class Waits(LogisticRegression):
    """Takes its time to be pickled, without doing anything, as on a machine that others keep busy."""

    def __getstate__(self) -> Any:
        time.sleep(0.1)
        return super().__getstate__()


class Huge(Stubborn):
    """Is larger than what is kept."""

    def fit(self, x: Any, y: Any) -> "Huge":
        self.classes_ = np.unique(y)
        self.weights_ = np.zeros(17 * 1024 * 1024, dtype=np.uint8)
        return self


def report(run: Any) -> tuple[str, str | None]:
    [row] = [row for row in run.capture_report if row["what"] == "model"]
    return row["status"], row["why"]


def test_a_fitted_model_is_got_back_when_pickles_are_allowed() -> None:
    model = RandomForestClassifier(5, random_state=0).fit(X, Y)
    run = only_run()
    [saved] = run.checkpoints
    assert (saved.path, saved.by, saved.state, saved.format) == (
        "memory://RandomForestClassifier.pkl",
        "RandomForestClassifier",
        "stored",
        "pickle",
    )
    assert report(run) == ("captured", None)
    with pytest.raises(PickleRefused, match="runs whatever code"):
        autotrack.checkpoints.load(run.id)
    again = autotrack.checkpoints.load(run.id, pickle=True)
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    assert autotrack.checkpoints.verify() == {}


def test_what_is_said_of_the_model_behind_a_short_fit_is_in_the_runs_own_journal() -> None:
    for _ in range(6):
        LogisticRegression(max_iter=200).fit(X, Y)
    sealing.wait(sealing.LONGEST_WAIT)
    runs = autotrack.runs()
    assert [saved.state for run in runs for saved in run.checkpoints] == ["stored"] * 6
    assert [len(list(Path(run.dir).iterdir())) for run in runs] == [1] * 6


def test_a_search_is_one_model() -> None:
    search = GridSearchCV(LogisticRegression(max_iter=200), {"C": [0.1, 1.0]}, cv=2).fit(X, Y)
    [root] = [run for run in autotrack.runs() if run.parent is None]
    sealing.wait(sealing.LONGEST_WAIT)
    again = autotrack.checkpoints.load(root.id, pickle=True)
    assert again.best_params_ == search.best_params_


def test_what_cannot_be_pickled_is_left_out_and_said_to_be() -> None:
    Stubborn().fit(X, Y)
    run = only_run()
    assert run.checkpoints == []
    status, why = report(run)
    assert status == "skipped"
    assert "lambda" in str(why)


def test_a_large_model_is_left_out_and_said_to_be() -> None:
    Huge().fit(X, Y)
    assert only_run().checkpoints == []
    assert report(only_run()) == ("skipped", "it takes more than 16 MiB")


def test_a_model_that_takes_long_to_pickle_is_left_out_and_said_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for bound in ("_LEAST_SECONDS", "_SECONDS"):
        monkeypatch.setattr(f"autotrack.integrations._sklearn_model.{bound}", 0.0)
    LogisticRegression(max_iter=200).fit(X, Y)
    assert only_run().checkpoints == []
    status, why = report(only_run())
    assert (status, str(why).partition(" more than ")[0]) == ("skipped", "pickling it takes")


def test_time_that_others_take_keeps_no_model_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotrack.integrations._sklearn_model._LEAST_SECONDS", 0.02)
    Waits(max_iter=200).fit(X, Y)
    assert report(only_run()) == ("captured", None)


def test_log_model_false_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTRACK_LOG_MODEL", "false")
    LogisticRegression(max_iter=200).fit(X, Y)
    run = only_run()
    assert run.checkpoints == []
    assert "model" not in {row["what"] for row in run.capture_report}


def test_pickling_leaves_nothing_on_the_classes() -> None:
    class Own(Stubborn):
        def fit(self, x: Any, y: Any) -> "Own":
            self.classes_ = np.unique(y)
            return self

    for model in (RandomForestClassifier(2), LogisticRegression(max_iter=200), Own()):
        kinds = [*type(model).__mro__[:-1]]
        before = [set(vars(kind)) for kind in kinds]
        model.fit(X, Y)
        assert [set(vars(kind)) for kind in kinds] == before
