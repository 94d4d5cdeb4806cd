"""scikit-learn: searches, cross-validations, and estimators that are fitted in parts."""

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.experimental import enable_halving_search_cv
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn_cases import IRIS, SPECIES, Majority, only, quietly, runs, skipped
from sklearn_cases import armed as armed

import autotrack

assert enable_halving_search_cv is not None


def table(run: Any, name: str) -> dict[str, list[Any]]:
    (artifact,) = [each for each in run.artifacts if each.name.startswith(name)]
    with artifact.open() as file:
        content = json.load(file)
    return {key: [row[place] for row in content["data"]] for place, key in enumerate(content["columns"])}


def test_a_search_has_its_candidates_as_children_and_its_results_as_a_table() -> None:
    grid = {"C": [0.01, 0.1, 1.0], "fit_intercept": [True, False]}
    search = GridSearchCV(LogisticRegression(max_iter=500), grid, cv=3, return_train_score=True).fit(
        IRIS, SPECIES
    )
    run = only()
    assert run.summary["best_score"] == search.best_score_
    assert run.summary["best_index"] == search.best_index_
    assert run.config["best_params"] == search.best_params_
    assert run.config["params"]["estimator"] == "LogisticRegression"
    assert run.config["params"]["param_grid"] == grid
    assert skipped(run) == "a search scores its candidates itself"
    children = sorted(run.children, key=lambda child: int(child.name.split()[-1]))
    assert [child.config["params"] for child in children] == search.cv_results_["params"]
    for place, child in enumerate(children):
        assert child.status == "finished"
        for key in (
            "mean_test_score",
            "std_test_score",
            "rank_test_score",
            "mean_fit_time",
            "mean_train_score",
        ):
            assert child.summary[key] == search.cv_results_[key][place]
    results = table(run, "cv_results")
    assert results["split0_test_score"] == search.cv_results_["split0_test_score"].tolist()
    assert results["params"][1] == search.cv_results_["params"][1]


def test_random_halving_multi_metric_and_failing_searches_are_recorded() -> None:
    space = {"C": [0.1, 1.0], "tol": [1e-4, 1e-3]}
    RandomizedSearchCV(LogisticRegression(max_iter=500), space, n_iter=3, random_state=0).fit(IRIS, SPECIES)
    HalvingGridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-6, 1e-3]}, random_state=0).fit(
        IRIS, SPECIES
    )
    several = GridSearchCV(
        GaussianNB(), {"var_smoothing": [1e-9]}, scoring=["accuracy", "f1_macro"], refit=False
    )
    several.fit(IRIS, SPECIES)
    failing = GridSearchCV(Majority(), {"fail": ["", "fit"]}, cv=2, scoring="accuracy")
    quietly(lambda: failing.fit(IRIS, SPECIES))
    randomized, halving, multi, partly = runs()
    assert len(randomized.children) == 3
    assert {child.summary["iter"] for child in halving.children} >= {0}
    assert multi.children[0].summary["mean_test_f1_macro"] == several.cv_results_["mean_test_f1_macro"][0]
    assert "best_score" not in multi.summary
    assert sorted(np.isnan(child.summary["mean_test_score"]) for child in partly.children) == [False, True]


def test_a_search_over_many_candidates_loses_none() -> None:
    class Instant(ClassifierMixin, BaseEstimator):
        def __init__(self, number: int = 0) -> None:
            self.number = number

        def fit(self, X: Any, y: Any) -> "Instant":
            self.classes_ = np.array([0, 1, 2])
            return self

        def score(self, X: Any, y: Any) -> float:
            return float(self.number)

    GridSearchCV(Instant(), {"number": list(range(300))}, cv=2).fit(IRIS, SPECIES)
    run = only()
    assert len(run.children) == 300
    assert run.summary["best_score"] == 299
    assert {child.summary["mean_test_score"] for child in run.children} == set(map(float, range(300)))


def test_a_cross_validation_is_one_run_with_the_folds_as_a_table() -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3))
    scores = cross_val_score(model, IRIS, SPECIES, cv=4)
    both = cross_validate(model, X=IRIS, y=SPECIES, scoring=["accuracy", "f1_macro"], return_train_score=True)
    cross_val_predict(model, IRIS, SPECIES)
    first, second, third = runs()
    assert first.name == "cross_val_score(Pipeline)"
    assert first.config["params"]["logisticregression__C"] == 0.3
    assert first.config["cv"] == 4
    assert first.config["data"]["n_samples"] == 150
    assert first.summary["mean_test_score"] == scores.mean()
    assert first.summary["std_test_score"] == scores.std()
    folds = table(first, "folds")
    assert folds["fold"] == [0, 1, 2, 3]
    assert folds["test_score"] == scores.tolist()
    assert len(folds["fit_time"]) == 4
    assert second.summary["mean_test_f1_macro"] == both["test_f1_macro"].mean()
    assert table(second, "folds")["train_accuracy"] == both["train_accuracy"].tolist()
    assert third.status == "finished"
    assert first.children == []


def test_curves_and_permutation_tests_are_one_run_each() -> None:
    sizes, train, _ = learning_curve(GaussianNB(), IRIS, SPECIES, cv=3, shuffle=True, random_state=0)
    validation = validation_curve(
        GaussianNB(), IRIS, SPECIES, param_name="var_smoothing", param_range=[1e-9, 1e-3], cv=3
    )
    score, _, pvalue = permutation_test_score(GaussianNB(), IRIS, SPECIES, n_permutations=5, cv=3)
    curve, values, test = runs()
    assert curve.history()["mean_train_score"].values.tolist() == train.mean(axis=1).tolist()
    assert curve.history()["train_size"].values.tolist() == sizes.tolist()
    assert table(values, "folds")["var_smoothing"] == [1e-9] * 3 + [1e-3] * 3
    assert table(values, "folds")["test_score"] == validation[1].ravel().tolist()
    assert (test.summary["score"], test.summary["pvalue"]) == (score, pvalue)


def test_a_cross_validation_that_fails_is_a_failed_run() -> None:
    with pytest.raises(ValueError, match="All the"):
        quietly(lambda: cross_val_score(Majority(fail="fit"), IRIS, SPECIES))
    assert only().status == "failed"


def test_fitting_in_parts_is_one_run_an_estimator_that_ends_with_it() -> None:
    model = SGDClassifier()
    for _ in range(4):
        model.partial_fit(IRIS, SPECIES, classes=[0, 1, 2])
    GaussianNB().fit(IRIS, SPECIES)
    parts, other = runs()
    assert (parts.name, parts.status, other.name, other.status) == (
        "SGDClassifier",
        "running",
        "GaussianNB",
        "finished",
    )
    assert parts.history()["auto/fit_time"].steps.tolist() == [0, 1, 2, 3]
    assert "a part at a time" in str(skipped(parts))
    del model
    gc.collect()
    from autotrack import background

    background.drain(60)
    assert autotrack.get_run(parts.id).status == "finished"


def test_a_script_that_ends_with_an_estimator_fitted_in_parts_ends(tmp_path: Path) -> None:
    code = """
import autotrack
import numpy as np
from sklearn.linear_model import SGDClassifier
autotrack.autolog(project="tests")
model = SGDClassifier().partial_fit(np.eye(4), [0, 1, 0, 1], classes=[0, 1])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, cwd=tmp_path)
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")
    assert only().status == "finished"


def test_a_fit_after_parts_ends_the_run_of_the_parts() -> None:
    model = SGDClassifier()
    model.partial_fit(IRIS, SPECIES, classes=[0, 1, 2])
    model.fit(IRIS, SPECIES)
    assert [run.status for run in runs()] == ["finished", "finished"]
    with pytest.raises(ValueError, match="classes"):
        SGDClassifier().partial_fit(IRIS, SPECIES)
    assert runs()[-1].status == "failed"


def test_a_model_that_scores_in_joblib_threads_gets_its_score() -> None:
    forest = RandomForestClassifier(n_estimators=5, n_jobs=2, random_state=0).fit(IRIS, SPECIES)
    run = only()
    assert skipped(run) is None
    assert run.summary["auto/train_score"] == forest.score(IRIS, SPECIES)


def test_what_a_search_finds_stands_at_one_step() -> None:
    GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-3]}, cv=2).fit(IRIS, SPECIES)
    (search,) = [run for run in runs() if run.parent is None]
    keys = ("best_score", "best_index", "auto/refit_time", "auto/fit_time")
    assert [search.metrics[key].last_step for key in keys] == [0, 0, 0, 0]
