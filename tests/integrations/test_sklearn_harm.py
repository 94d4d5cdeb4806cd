"""scikit-learn: nothing that a user can see changes because fits are recorded."""

import gc
import inspect
import pickle
import random
import subprocess
import sys
import warnings
import weakref
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin, clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_score,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from sklearn_cases import IRIS, SPECIES, Majority, only, quietly, runs, runs_exist, skipped
from sklearn_cases import armed as armed

import autotrack
from autotrack.errors import AutotrackWarning
from autotrack.guard import STRICT, forget


def test_no_data_is_kept_after_the_fit() -> None:
    samples = IRIS.copy()
    watch = weakref.ref(samples)
    GaussianNB().fit(samples, SPECIES)
    del samples
    gc.collect()
    assert watch() is None


def test_a_score_leaves_the_random_states_alone() -> None:
    np.random.seed(5)
    random.seed(5)
    plain = np.random.get_state()[2], random.getstate()
    quietly(lambda: Majority(fail="random").fit(IRIS, SPECIES))
    assert (np.random.get_state()[2], random.getstate()) == plain
    assert "random" in str(skipped(only()))
    own = np.random.RandomState(3)
    before = own.get_state()
    KMeans(3, n_init=1, random_state=own).fit(IRIS)
    after = own.get_state()
    reference = np.random.RandomState()
    reference.set_state(before)
    with autotrack.disabled():
        KMeans(3, n_init=1, random_state=reference).fit(IRIS)
    assert (after[1] == reference.get_state()[1]).all()
    assert after[2] == reference.get_state()[2]


def test_warnings_are_those_of_an_untracked_fit() -> None:
    def caught() -> list[tuple[str, str, int]]:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("default")
            for _ in range(3):
                Majority(fail="warn").fit(IRIS, SPECIES)
                LogisticRegression(max_iter=1).fit(IRIS, SPECIES)
        return [(str(each.message), each.filename, each.lineno) for each in seen]

    tracked = caught()
    with autotrack.disabled():
        untracked = caught()
    assert tracked == untracked
    assert not any("predicting" in text for text, _, _ in tracked)


def test_nothing_is_printed_for_a_score(capfd: pytest.CaptureFixture[str]) -> None:
    RandomForestClassifier(3, n_jobs=2, verbose=1).fit(IRIS, SPECIES)
    with autotrack.disabled():
        tracked = capfd.readouterr()
        RandomForestClassifier(3, n_jobs=2, verbose=1).fit(IRIS, SPECIES)
    untracked = capfd.readouterr()
    assert tracked.err.count("[Parallel") == untracked.err.count("[Parallel")
    assert "verbose" in str(skipped(only()))


def test_nothing_is_recorded_where_that_was_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with autotrack.disabled():
        GaussianNB().fit(IRIS, SPECIES)
    monkeypatch.setenv("AUTOTRACK_MODE", "disabled")
    GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]}).fit(IRIS, SPECIES)
    cross_val_score(GaussianNB(), IRIS, SPECIES)
    monkeypatch.delenv("AUTOTRACK_MODE")
    assert not runs_exist()


def test_an_error_of_ours_leaves_the_fit_alone_and_the_inner_fits_unrecorded() -> None:
    class Odd(Majority):
        def get_params(self, deep: bool = True) -> dict[str, Any]:
            raise RuntimeError("no parameters today")

    quietly(lambda: Odd().fit(IRIS, SPECIES))
    assert skipped(only(), "params") == "get_params() raised RuntimeError: no parameters today"
    assert only().summary["auto/train_score"] > 0.3

    class Odder(Majority):
        @property
        def transform(self) -> Any:
            raise RuntimeError("not even this")

    strict, STRICT["on"] = STRICT["on"], False
    forget()
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            assert Odder().fit(IRIS, SPECIES).best_ == 0
        assert [
            "not even this" in str(each.message) for each in seen if each.category is AutotrackWarning
        ] == [True]
    finally:
        STRICT["on"] = strict
    assert [run.name for run in runs()] == ["Odd", "Odder"]


def test_results_and_fitted_models_equal_those_of_an_untracked_training() -> None:
    samples, targets = load_breast_cancer(return_X_y=True)

    def train() -> bytes:
        np.random.seed(0)
        forest = RandomForestClassifier(5).fit(samples, targets)
        pipeline = make_pipeline(StandardScaler(), SGDClassifier(max_iter=20)).fit(samples, targets)
        search = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [1, 3]}, cv=2).fit(samples, targets)
        state = np.random.get_state()[1]
        return pickle.dumps((forest, pipeline, search.best_estimator_, search.best_score_, state))

    tracked = quietly(train)
    with autotrack.disabled():
        untracked = quietly(train)
    autotrack.autolog(disable=True)
    assert tracked == untracked == quietly(train)
    assert b"autotrack" not in tracked


def test_signatures_documentation_clones_and_pickles_are_unchanged() -> None:
    model = LogisticRegression(C=2)
    tracked = LogisticRegression.fit
    assert inspect.isfunction(tracked)
    assert list(inspect.signature(model.fit).parameters) == ["X", "y", "sample_weight"]
    assert clone(model).get_params() == model.get_params()
    assert b"autotrack" not in pickle.dumps(model)
    assert pickle.loads(pickle.dumps(model.fit)).__self__.C == 2
    assert pickle.loads(pickle.dumps(cross_val_score)) is cross_val_score
    assert hasattr(make_pipeline(StandardScaler(), KMeans(2)), "fit_predict")
    assert not hasattr(make_pipeline(StandardScaler(), Ridge()), "fit_predict")
    assert callable(Pipeline.fit_predict)
    autotrack.autolog(disable=True)
    assert LogisticRegression.fit.__doc__ == tracked.__doc__
    assert inspect.signature(LogisticRegression.fit) == inspect.signature(tracked)


def test_a_class_made_while_armed_has_metadata_requests_and_is_pickled_without_us() -> None:
    def build() -> type:
        class Late(Majority):
            def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "Late":
                super().fit(X, y)
                return self

        class Inherits(LogisticRegression):
            pass

        assert hasattr(Inherits(), "set_fit_request")
        return Late

    cls = build()
    assert hasattr(cls(), "set_fit_request")
    quietly(lambda: cls().fit(IRIS, SPECIES))
    assert only().name == "Late"
    data = cloudpickle.dumps(cls)
    autotrack.autolog(disable=True)
    copy = pickle.loads(data)
    assert quietly(lambda: copy().fit(IRIS, SPECIES)).best_ == 0
    assert "PortableMethod" not in type(vars(copy)["fit"]).__name__


def test_estimator_checks_give_the_same_answers() -> None:
    class Regressor(RegressorMixin, BaseEstimator):
        def fit(self, X: Any, y: Any) -> "Regressor":
            self.mean_ = np.mean(y)
            return self

        def predict(self, X: Any) -> Any:
            return np.full(len(X), self.mean_)

    class Doubling(TransformerMixin, BaseEstimator):
        def fit(self, X: Any, y: Any = None) -> "Doubling":
            return self

        def transform(self, X: Any) -> Any:
            return 2 * X

    def answers() -> list[list[tuple[str, str]]]:
        estimators = [
            GaussianNB(),
            Ridge(),
            make_pipeline(StandardScaler(), Ridge()),
            Regressor(),
            Doubling(),
        ]
        checked = [
            quietly(lambda each=each: check_estimator(each, on_skip=None, on_fail=None))
            for each in estimators
        ]
        return [[(str(one["check_name"]), str(one["status"])) for one in results] for results in checked]

    tracked = answers()
    autotrack.autolog(disable=True)
    assert tracked == answers()


SCRIPT = """
import os, sys, warnings
{early}
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
{late}
X, y = load_iris(return_X_y=True)

class Mine(ClassifierMixin, BaseEstimator):
    def __init__(self, a=1):
        self.a = a
    def fit(self, X, y=None):
        self.classes_ = np.unique(y)
        return self
    def predict(self, X):
        return np.zeros(len(X), int)

if __name__ == "__main__":
    GridSearchCV(Mine(), {{"a": [1, 2]}}, cv=2, n_jobs=2).fit(X, y)
    cross_val_score(Mine(), X, y, cv=2, n_jobs=2)
    Mine().fit(X, y)
    child = os.fork()
    if child == 0:
        Mine(a=9)
        os._exit(0)
    os.waitpid(child, 0)
    print([run.name for run in autotrack.runs() if run.parent is None])
"""
ARM = "import autotrack; autotrack.autolog()"


@pytest.mark.parametrize("order", [pytest.param("early", marks=pytest.mark.proof), "late"])
def test_a_script_with_classes_of_its_own_and_worker_processes(order: str, tmp_path: Path) -> None:
    lines = {"early": "", "late": ""} | {order: ARM}
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(**lines))
    # Python 3.12 and later warn of the script's fork, with or without us: joblib's workers are served by threads of its own.
    options = ["-W", "error::UserWarning", "-W", "ignore:This process:DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, *options, str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(["Mine", "cross_val_score(Mine)", "GridSearchCV"])
    assert done.stderr == ""
