"""scikit-learn: what a script computes with an estimator behind its fit goes into the run of that fit."""

import os
import pickle
import shutil
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.metrics import accuracy_score, classification_report, f1_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn_cases import IRIS, SPECIES, Majority, only, quietly, runs
from sklearn_cases import armed as armed

import autotrack
from autotrack.importlib_bootstrap_frames import PortableMethod
from autotrack.verify import verify

X_train, X_test, y_train, y_test = train_test_split(IRIS, SPECIES, random_state=0)


def computed(run: Any) -> dict[str, float]:
    """The metrics that the script computed itself."""
    own = ("score", "accuracy", "f1", "roc", "silhouette", "mean_sq")
    return {key: value for key, value in run.summary.items() if key.startswith(own)}


def test_a_score_is_recorded_under_the_name_of_the_data() -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X_train, y_train)
    test, train = model.score(X_test, y_test), model.score(y=y_train, X=X_train)
    assert computed(only()) == {"score/X_test": test, "score/X_train": train}


def test_a_metric_goes_to_the_fit_whose_prediction_it_was_given() -> None:
    first, second = GaussianNB().fit(X_train, y_train), LogisticRegression(max_iter=500).fit(X_train, y_train)
    one, two = first.predict(X_test), second.predict(X_test)
    expected = [{"accuracy_score/X_test": metrics.accuracy_score(y_test, each)} for each in (one, two)]
    assert [computed(run) for run in runs()] == expected


def test_settings_of_a_metric_are_part_of_its_name() -> None:
    predicted = GaussianNB().fit(X_train, y_train).predict(X_test)
    macro, micro = (f1_score(y_test, predicted, average=average) for average in ("macro", "micro"))
    count = accuracy_score(y_test, predicted, normalize=False)
    assert computed(only()) == {
        "f1_score_macro/X_test": macro,
        "f1_score_micro/X_test": micro,
        "accuracy_score_normalize_False/X_test": count,
    }


def test_a_column_of_the_probabilities_is_still_the_prediction() -> None:
    two = SPECIES < 2
    model = LogisticRegression().fit(IRIS[two], SPECIES[two])
    data = {"test": IRIS[two]}
    value = roc_auc_score(SPECIES[two], model.predict_proba(data["test"])[:, 1])
    assert computed(only()) == {"roc_auc_score/data['test']": value}


def test_a_parameter_of_the_function_that_evaluates_is_followed_to_its_caller() -> None:
    model = GaussianNB().fit(X_train, y_train)

    def evaluate(X: Any, y: Any) -> float:
        predicted = model.predict(X)
        return float(accuracy_score(y, predicted))

    expected = {
        "accuracy_score/X_train": evaluate(X_train, y_train),
        "accuracy_score/X_test": evaluate(y=y_test, X=X_test),
    }
    assert computed(only()) == expected


def test_data_without_a_name_leave_the_metric_without_one() -> None:
    model = GaussianNB().fit(X_train, y_train)
    data = (X_test, y_test)
    value = model.score(*data)
    assert computed(only()) == {"score": value}


def test_what_is_computed_again_is_a_further_step() -> None:
    model = GaussianNB().fit(X_train, y_train)
    values = [model.score(X_test[:size], y_test[:size]) for size in (10, 20)]
    history = only().history("score/X_test[:size]")["score/X_test[:size]"]
    assert (list(history.steps), list(history.values)) == ([0, 1], values)


def test_a_score_between_parts_stands_at_the_step_of_the_part() -> None:
    model = SGDClassifier(random_state=0)
    values = []
    for _ in range(3):
        model.partial_fit(X_train, y_train, classes=[0, 1, 2])
        values.append(model.score(X_test, y_test))
    model.fit(X_train, y_train)
    history = runs()[0].history("score/X_test")["score/X_test"]
    assert (list(history.steps), list(history.values)) == ([0, 1, 2], values)


def test_the_best_estimator_of_a_search_belongs_to_its_run() -> None:
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-3]}, cv=2).fit(X_train, y_train)
    value = accuracy_score(y_test, search.best_estimator_.predict(X_test))
    assert computed(only()) == {"accuracy_score/X_test": value}


def test_labels_of_a_clustering_and_predictions_of_folds_are_known() -> None:
    model = KMeans(3, n_init=1, random_state=0).fit(IRIS)
    first = metrics.silhouette_score(IRIS, model.labels_)
    labels = clone(model).fit_predict(IRIS)
    second = metrics.silhouette_score(IRIS, labels)
    folds = accuracy_score(SPECIES, cross_val_predict(GaussianNB(), IRIS, SPECIES, cv=3))
    assert [computed(run) for run in runs()] == [
        {"silhouette_score/IRIS": first},
        {"silhouette_score/IRIS": second},
        {"accuracy_score/SPECIES": folds},
    ]


def test_what_scikit_learn_computes_itself_is_left_out() -> None:
    model = quietly(lambda: Majority().fit(X_train, y_train))
    permutation_importance(model, X_test, y_test, n_repeats=2)
    permutation_importance(
        model, X_test, y_test, scoring=lambda m, X, y: accuracy_score(y, m.predict(X)), n_repeats=2
    )
    classification_report(y_test, model.predict(X_test), zero_division=0)
    assert computed(only()) == {}


def test_without_a_run_nothing_is_guessed() -> None:
    with autotrack.disabled():
        model = GaussianNB().fit(X_train, y_train)
    model.score(X_test, y_test)
    other = GaussianNB().fit(X_train, y_train)
    accuracy_score(y_test, model.predict(X_test))
    accuracy_score(y_test, np.argmax(other.predict_proba(X_test), axis=1))
    assert computed(only()) == {}


def test_what_no_fit_is_known_for_goes_to_the_open_run_at_its_step() -> None:
    with autotrack.init(project="tests") as run:
        run.log({"loss": 1.0}, step=7)
        value = accuracy_score(y_test, y_test)
        assert accuracy_score(y_test, y_test) == value
        run.log({"loss": 0.5})
    with autotrack.init(project="tests") as kept_out:
        autotrack.sklearn.autolog(project="tests", exclusive=True)
        accuracy_score(y_test, y_test)
    history = run.history("accuracy_score/y_test")["accuracy_score/y_test"]
    assert (list(history.steps), list(history.values)) == ([7, 8], [value] * 2)
    assert list(run.history("loss")["loss"].steps) == [7, 8]
    assert computed(autotrack.get_run(kept_out.id)) == {}


def test_metrics_and_methods_are_the_same_with_and_without() -> None:
    armed_function, armed_method = metrics.accuracy_score, vars(GaussianNB.__mro__[1])["predict"]
    assert pickle.loads(pickle.dumps(armed_function)) is armed_function
    assert isinstance(armed_method, PortableMethod)
    scorer = metrics.make_scorer(metrics.f1_score, average="macro")
    autotrack.autolog(disable=True)
    assert metrics.accuracy_score is armed_function.__wrapped__
    assert vars(GaussianNB.__mro__[1])["predict"] is armed_method.original
    model = GaussianNB().fit(X_train, y_train)
    assert scorer(model, X_test, y_test) == metrics.f1_score(y_test, model.predict(X_test), average="macro")


def test_an_error_and_a_warning_of_a_metric_are_the_users_own() -> None:
    predicted = GaussianNB().fit(X_train, y_train).predict(X_test)
    with pytest.raises(ValueError, match="inconsistent numbers") as caught:
        accuracy_score(y_test[:3], predicted)
    assert "importlib_bootstrap_frames" not in {entry.path.stem for entry in caught.traceback}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        f1_score([0, 0], [1, 0], zero_division="warn", labels=[2], average=None)
    assert told
    assert "autotrack" not in told[0].filename
    assert computed(only()) == {}


def test_predictions_are_not_kept_alive() -> None:
    import gc
    import weakref

    model = Ridge().fit(X_train, y_train)
    watch = weakref.ref(model.predict(X_test))
    gc.collect()
    assert watch() is None


def test_a_column_of_what_is_a_view_itself_is_still_the_prediction() -> None:
    two = SPECIES < 2
    X, y = IRIS[two], SPECIES[two]
    model = DecisionTreeClassifier(max_depth=1).fit(X, y)
    value = roc_auc_score(y, model.predict_proba(X)[:, 1])
    assert computed(only()) == {"roc_auc_score/X": value}


def test_of_two_estimators_in_a_run_nobody_can_tell_whose_a_changed_prediction_is() -> None:
    with autotrack.init(project="tests") as run:
        first = GaussianNB().fit(X_train, y_train)
        value = accuracy_score(y_test, first.predict_proba(X_test).argmax(axis=1))
        second = LogisticRegression(max_iter=500).fit(X_train, y_train)
        accuracy_score(y_test, second.predict_proba(X_test).argmax(axis=1))
        clone(first).fit(X_train, y_train)
        with autotrack.disabled():
            unknown = GaussianNB().fit(X_train, y_train)
        unknown.score(X_test, y_test)
    assert computed(autotrack.get_run(run.id)) == {"accuracy_score/y_test": value}
    assert [computed(child) for child in autotrack.get_run(run.id).children] == [{}, {}]


def test_the_best_estimator_may_score_by_something_else_than_its_search() -> None:
    two = SPECIES > 0
    X, y = IRIS[two], SPECIES[two]
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]}, scoring="roc_auc", cv=2).fit(X, y)
    expected = {"score/X": search.score(X, y), "best_estimator_.score/X": search.best_estimator_.score(X, y)}
    summary = only().summary
    assert {key: summary[key] for key in expected} == expected


class Own(Majority):
    """A user's estimator that scores itself with a metric."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        return float(f1_score(y, self.predict(X), average="micro"))


def test_a_metric_inside_of_an_estimators_own_score_is_no_other_one() -> None:
    model = quietly(lambda: Own().fit(X_train, y_train))
    value = model.score(X_test, y_test)
    assert computed(only()) == {"score/X_test": value}


def test_labels_are_part_of_the_name() -> None:
    predicted = GaussianNB().fit(X_train, y_train).predict(X_test)
    for label in (0, 1):
        f1_score(y_test, predicted, labels=[label], average="macro")
    assert set(computed(only())) == {"f1_score_labels_0_macro/X_test", "f1_score_labels_1_macro/X_test"}


def test_processes_that_are_forked_right_behind_a_fit_damage_nothing() -> None:
    model = GaussianNB().fit(X_train, y_train)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            model.score(X_test, y_test)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    own = model.score(X_test, y_test)
    run = only()
    assert list(run.history("score/X_test")["score/X_test"].values) == [own] * 4
    assert verify(run.dir.parents[2], [run.id]).whole


def test_a_run_that_was_deleted_stays_so() -> None:
    model = GaussianNB().fit(X_train, y_train)
    run = only()
    shutil.rmtree(run.dir)
    model.score(X_test, y_test)
    assert not run.dir.exists()
