"""scikit-learn: which fits are runs, and what a fit leaves in the record."""

import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from joblib import parallel_config
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.experimental import enable_iterative_imputer
from sklearn.feature_selection import SelectFromModel
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_score,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn_cases import IRIS, SPECIES, Majority, only, quietly, runs, runs_exist, skipped
from sklearn_cases import armed as armed

import autotrack
from autotrack.integrations import _sklearn_score as scoring

assert enable_iterative_imputer is not None


class Child(Majority):
    """Overrides fit and calls the one above."""

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "Child":
        super().fit(X, y, sample_weight)
        return self


def test_a_fit_is_a_run_with_parameters_data_time_and_score() -> None:
    model = LogisticRegression(C=0.5, max_iter=500)
    assert model.fit(IRIS, SPECIES) is model
    run = only()
    assert (run.name, run.status, run.project, run.framework) == (
        "LogisticRegression",
        "finished",
        "tests",
        "sklearn",
    )
    assert run.config["estimator"] == "sklearn.linear_model.LogisticRegression"
    assert run.config["params"] == model.get_params()
    data = run.config["data"]
    assert data["X"] == {"type": "ndarray", "shape": [150, 4], "dtype": "float64"}
    assert data["y"]["dtype"] == "int64"
    assert (data["n_samples"], data["n_features"], data["n_classes"]) == (150, 4, 3)
    assert data["sample_weight"] is False
    assert run.summary["auto/train_score"] == model.score(IRIS, SPECIES)
    assert 0 < run.summary["auto/fit_time"] < 10
    assert skipped(run) is None


def test_the_parameters_of_a_pipeline_are_flat_and_name_its_steps() -> None:
    make_pipeline(StandardScaler(), PCA(2), LogisticRegression(C=3)).fit(IRIS, SPECIES)
    params = only().config["params"]
    assert params["logisticregression__C"] == 3
    assert params["pca"] == "PCA"
    assert params["steps"][0] == ["standardscaler", "StandardScaler"]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: (IRIS.tolist(), SPECIES.tolist()), {"type": "list", "shape": [150, 4], "dtype": "float"}),
        (lambda: (pd.DataFrame(IRIS), pd.Series(SPECIES)), {"type": "DataFrame", "dtype": {"float64": 4}}),
        (
            lambda: (scipy.sparse.csr_matrix(IRIS), SPECIES),
            {"type": "csr_matrix", "sparse": "csr", "nonzero": 600, "shape": [150, 4]},
        ),
    ],
)
def test_lists_frames_and_sparse_matrices_are_described(make: Any, expected: dict[str, Any]) -> None:
    samples, targets = make()
    GaussianNB().fit(IRIS, y=targets)
    LogisticRegression(max_iter=500).fit(X=samples, y=targets, sample_weight=np.ones(150))
    first, second = runs()
    assert first.config["data"]["y"]["shape"] == [150]
    data = second.config["data"]
    assert expected.items() <= data["X"].items()
    assert (data["n_samples"], data["sample_weight"], data["n_classes"]) == (150, True, 3)
    assert second.summary["auto/train_score"] > 0.9


def test_a_fit_that_fails_is_a_failed_run_and_the_exception_is_the_users() -> None:
    with pytest.raises(RuntimeError, match="cannot be fitted") as caught:
        Majority(fail="fit").fit(IRIS, SPECIES)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    run = only()
    assert run.status == "failed"
    assert "cannot be fitted" in str(run.error)
    with pytest.raises(KeyboardInterrupt):
        Majority(fail="interrupt").fit(IRIS, SPECIES)
    assert runs()[-1].status == "interrupted"


def test_a_score_that_fails_is_named_in_the_report_and_harms_nothing() -> None:
    quietly(lambda: Majority(fail="predict").fit(IRIS, SPECIES))
    assert only().status == "finished"
    assert "auto/train_score" not in only().summary
    assert skipped(only()) == "score() raised RuntimeError: cannot predict"


def test_expensive_or_large_scores_are_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Majority):
        def predict(self, X: Any) -> Any:
            threading.Event().wait(0.001 * len(X))
            return super().predict(X)

    rows = np.zeros((4000, 2))
    quietly(lambda: Slow().fit(rows, np.zeros(4000)))
    assert "it would take about" in str(skipped(only()))
    monkeypatch.setattr(scoring, "CELLS", 100)
    GaussianNB().fit(IRIS, SPECIES)
    assert "150 x 4 cells" in str(skipped(runs()[-1]))
    monkeypatch.undo()


def test_a_large_fast_score_is_taken() -> None:
    samples, targets = np.tile(IRIS, (200, 1)), np.tile(SPECIES, 200)
    model = GaussianNB().fit(samples, targets)
    assert only().summary["auto/train_score"] == model.score(samples, targets)


def test_only_the_outermost_fit_is_a_run() -> None:
    estimators = [("a", LogisticRegression(max_iter=500)), ("b", GaussianNB())]
    VotingClassifier(estimators).fit(IRIS, SPECIES)
    RandomForestClassifier(5, n_jobs=2).fit(IRIS, SPECIES)
    quietly(lambda: Child().fit(IRIS, SPECIES))
    make_pipeline(StandardScaler(), KMeans(2, n_init=1)).fit_predict(IRIS)
    KMeans(2, n_init=1).fit_transform(IRIS)
    names = [run.name for run in runs()]
    assert names == ["VotingClassifier", "RandomForestClassifier", "Child", "Pipeline", "KMeans"]
    assert runs()[3].config["method"] == "fit_predict"


@pytest.mark.parametrize("backend", ["threading", "loky", "sequential"])
def test_joblib_workers_of_any_kind_open_no_runs(backend: str) -> None:
    estimators = [("a", LogisticRegression(max_iter=500)), ("b", GaussianNB())]
    with parallel_config(backend, n_jobs=2):
        VotingClassifier(estimators, n_jobs=2).fit(IRIS, SPECIES)
        GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-3]}, cv=3, n_jobs=2).fit(IRIS, SPECIES)
        cross_val_score(GaussianNB(), IRIS, SPECIES, cv=5, n_jobs=2)
    names = [run.name for run in runs()]
    assert names == ["VotingClassifier", "GridSearchCV", "cross_val_score(GaussianNB)"]


def test_threads_of_the_user_have_runs_of_their_own() -> None:
    barrier = threading.Barrier(3)

    def work() -> None:
        barrier.wait()
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(IRIS, SPECIES)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.name for run in runs()] == ["Pipeline"] * 3
    assert all(run.summary["auto/train_score"] > 0.9 for run in runs())


def test_transformers_alone_make_no_runs_nor_does_what_they_fit_inside() -> None:
    StandardScaler().fit(IRIS)
    PCA(2).fit_transform(IRIS)
    make_pipeline(StandardScaler(), PCA(2)).fit_transform(IRIS)
    ColumnTransformer([("scale", StandardScaler(), [0, 1])]).fit(IRIS)
    SelectFromModel(LogisticRegression(max_iter=500)).fit(IRIS, SPECIES)
    with parallel_config("threading", n_jobs=2):
        IterativeImputer(max_iter=2, tol=10.0).fit(IRIS)
    StandardScaler().partial_fit(IRIS)
    assert not runs_exist()


def test_inside_init_the_first_fit_is_in_that_run_and_the_next_are_children() -> None:
    with autotrack.init(project="tests", name="mine", config={"params": "my own", "data": "iris"}) as run:
        GaussianNB().fit(IRIS, SPECIES)
        assert run.status == "running"
        Ridge().fit(*load_diabetes(return_X_y=True))
        with pytest.raises(RuntimeError, match="cannot be fitted"):
            Majority(fail="fit").fit(IRIS, SPECIES)
        assert run.status == "running"
        cross_val_score(GaussianNB(), IRIS, SPECIES)
    found = only()
    assert (found.config["params"], found.config["data"]) == ("my own", "iris")
    assert found.config["estimator"] == "sklearn.naive_bayes.GaussianNB"
    assert "var_smoothing" in found.config["sklearn"]["params"]
    assert found.config["sklearn"]["data"]["n_classes"] == 3
    assert found.summary["auto/train_score"] > 0.9
    children = {child.name: child.status for child in found.children}
    assert children == {"Ridge": "finished", "Majority": "failed", "cross_val_score(GaussianNB)": "finished"}


def test_a_fit_inside_another_frameworks_training_is_part_of_that() -> None:
    from autotrack.options import Options
    from autotrack.training import begin_training

    training = begin_training("other", name="outer", config=None, options=Options("tests"), nested="child")
    assert training is not None
    GaussianNB().fit(IRIS, SPECIES)
    cross_val_score(GaussianNB(), IRIS, SPECIES)
    with parallel_config("threading", n_jobs=2):
        VotingClassifier([("a", GaussianNB()), ("b", GaussianNB())], n_jobs=2).fit(IRIS, SPECIES)
    training.finish()
    assert [run.name for run in autotrack.runs()] == ["outer"]
