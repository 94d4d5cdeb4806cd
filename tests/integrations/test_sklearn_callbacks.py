"""scikit-learn's own callbacks (1.9 and later): an estimator that is given an `AutoTrack` is recorded as by `autolog()`."""

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn.callback", exc_type=ModuleNotFoundError)

from joblib import parallel_config
from python_process import answer
from sklearn.base import BaseEstimator, clone
from sklearn.callback import CallbackSupportMixin, ScoringMonitor, with_callbacks
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn_cases import IRIS, SPECIES, only, quietly, runs, runs_exist, skipped

import autotrack
from autotrack.callback import adapters
from autotrack.integrations._sklearn_model import pickled
from autotrack.testing import points

pytestmark = [pytest.mark.usefixtures("store", "patient"), pytest.mark.filterwarnings("default")]


def tracker(**options: Any) -> autotrack.AutoTrack:
    return autotrack.AutoTrack(project="tests", **options)


def regression(**params: Any) -> LogisticRegression:
    return LogisticRegression(**{"max_iter": 500, **params})


class Hooks:
    """A user's callback that does nothing, or fails at a hook."""

    def __init__(self, fail: str = "", error: BaseException | None = None) -> None:
        self.fail = fail
        self.error = error

    def _called(self, hook: str) -> None:
        if hook == self.fail and self.error is not None:
            raise self.error

    def setup(self, estimator: Any, context: Any) -> None:
        self._called("setup")

    def teardown(self, estimator: Any, context: Any) -> None:
        self._called("teardown")

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        self._called("begin")

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        self._called("end")


def search(**options: Any) -> GridSearchCV:
    return GridSearchCV(regression(), {"C": [0.1, 1.0]}, cv=2, **options)


def what_is_told(run: Any) -> dict[str, Any]:
    """All that does not change from one fit to the next."""
    left_out = "auto/task_time/", "system/"
    known = {key: run.metrics[key].last for key in run.metrics if not key.startswith(left_out)}
    return {
        "name": run.name,
        "status": run.status,
        "framework": run.framework,
        "config": dict(run.config),
        "metrics": {key: value for key, value in known.items() if not key.endswith("_time")},
        "times": {key for key in known if key.endswith("_time")},
        "children": [(child.name, dict(child.config), child.status) for child in run.children],
        "report": [
            (entry["what"], entry["status"], entry["why"])
            for entry in run.capture_report
            if entry["what"] in ("params", "train_score", "model")
        ],
        "checkpoints": len(run.checkpoints),
    }


@pytest.mark.parametrize(
    ("make", "method"),
    [
        (regression, "fit"),
        (lambda: make_pipeline(StandardScaler(), PCA(2), regression()), "fit"),
        (lambda: make_pipeline(StandardScaler(), KMeans(2, n_init=1, random_state=0)), "fit_predict"),
        (search, "fit"),
    ],
    ids=["estimator", "pipeline", "fit_predict", "search"],
)
def test_its_run_is_the_one_that_autolog_makes(make: Callable[[], Any], method: str) -> None:
    autotrack.sklearn.autolog(project="tests")
    quietly(lambda: getattr(make(), method)(IRIS, SPECIES))
    autotrack.autolog(disable=True)
    model = make()
    assert model.set_callbacks(tracker()) is model
    getattr(model, method)(IRIS, SPECIES)
    by_autolog, by_hand = map(what_is_told, runs())
    assert by_hand == by_autolog
    assert by_hand["config"]["method"] == method


def test_its_options_are_those_of_the_run() -> None:
    options = {"name": "mine", "tags": ["a", "b"], "group": "g", "log_model": False}
    regression().set_callbacks(tracker(**options)).fit(IRIS, SPECIES)
    run = only()
    assert (run.name, set(run.tags), run.group, list(run.checkpoints)) == ("mine", {"a", "b"}, "g", [])


def test_its_score_is_recorded_without_autolog_too() -> None:
    model = regression().set_callbacks(tracker()).fit(IRIS, SPECIES)
    value = model.score(IRIS[:50], SPECIES[:50])
    assert only().summary["score/IRIS[:50]"] == value


def test_its_score_is_recorded_once_beside_autolog() -> None:
    model = regression().set_callbacks(tracker())
    autotrack.sklearn.autolog(project="tests")
    model.fit(IRIS, SPECIES)
    value = model.score(IRIS, SPECIES)
    autotrack.autolog(disable=True)
    assert list(only().history("score/IRIS")["score/IRIS"].values) == [value]


def test_a_transformer_that_has_one_is_a_run_too() -> None:
    StandardScaler().set_callbacks(tracker()).fit_transform(IRIS)
    run = only()
    assert (run.name, run.status, run.config["data"]["n_features"]) == ("StandardScaler", "finished", 4)


def test_one_that_has_none_is_no_run() -> None:
    kept = tracker()
    regression().fit(IRIS, SPECIES)
    cross_val_score(regression(), IRIS, SPECIES, cv=2)
    assert kept.by_hand
    assert not runs_exist()


def test_a_fit_that_fails_before_or_behind_the_hooks_is_a_failed_run_and_the_exception_is_the_users() -> None:
    ours = tracker()
    with pytest.raises(ValueError, match="NaN") as caught:
        regression().set_callbacks(ours).fit(IRIS * np.nan, SPECIES)
    assert caught.value.__context__ is None
    with pytest.raises(ZeroDivisionError):
        regression().set_callbacks(ours, Hooks("end", ZeroDivisionError("mine"))).fit(IRIS, SPECIES)
    with pytest.raises(KeyboardInterrupt):
        regression().set_callbacks(Hooks("end", KeyboardInterrupt()), ours).fit(IRIS, SPECIES)
    regression().set_callbacks(ours).fit(IRIS, SPECIES)
    assert [run.status for run in runs()] == ["failed", "failed", "interrupted", "finished"]
    assert ["NaN" in str(runs()[0].error), "mine" in str(runs()[1].error)] == [True, True]


def test_with_autolog_too_there_is_one_run_with_its_options() -> None:
    autotrack.autolog(project="other")
    regression().set_callbacks(tracker(name="mine")).fit(IRIS, SPECIES)
    model = regression().set_callbacks(tracker(name="inner"))
    make_pipeline(StandardScaler(), model).fit(IRIS, SPECIES)
    autotrack.autolog(disable=True)
    assert only().name == "mine"
    (other,) = autotrack.runs(project="other")
    assert other.name == "Pipeline"
    model.fit(IRIS, SPECIES)
    assert [run.name for run in runs()] == ["mine", "inner"]


def test_of_nested_ones_the_outermost_that_has_one_is_the_run() -> None:
    ours = tracker()
    steps = make_pipeline(StandardScaler().set_callbacks(ours), regression().set_callbacks(ours))
    steps.set_callbacks(ours).fit(IRIS, SPECIES)
    make_pipeline(StandardScaler(), regression().set_callbacks(ours)).fit(IRIS, SPECIES)
    assert [run.name for run in runs()] == ["Pipeline", "LogisticRegression"]


@pytest.mark.parametrize(
    "backend", ["sequential", "threading", pytest.param("loky", marks=pytest.mark.proof)]
)
def test_a_search_is_one_run_with_its_candidates_wherever_in_it_the_autotrack_is(backend: str) -> None:
    ours = tracker()
    model = make_pipeline(StandardScaler(), regression().set_callbacks(ours))
    grid = {"logisticregression__C": [0.1, 1.0]}
    with parallel_config(backend, n_jobs=1 if backend == "sequential" else 2):
        GridSearchCV(model, grid, cv=2).fit(IRIS, SPECIES)
        GridSearchCV(model, grid, cv=2).set_callbacks(ours).fit(IRIS, SPECIES)
    assert [(run.name, len(run.children)) for run in runs()] == [("GridSearchCV", 2)] * 2


def voting(track: Callable[[Any], Any]) -> Any:
    return VotingClassifier(
        [("a", track(regression(C=0.5))), ("b", make_pipeline(PCA(2), track(regression())))]
    )


def stacking(track: Callable[[Any], Any]) -> Any:
    return StackingClassifier([("a", track(regression()))], track(regression(C=2.0)), cv=2)


def one_for_each(track: Callable[[Any], Any]) -> Any:
    return OneVsRestClassifier(track(regression()))


@pytest.mark.parametrize("make", [voting, stacking, one_for_each])
def test_what_fits_several_of_them_is_one_run_as_by_autolog(make: Callable[[Any], Any]) -> None:
    autotrack.sklearn.autolog(project="tests")
    make(lambda model: model).fit(IRIS, SPECIES)
    autotrack.autolog(disable=True)
    make(lambda model: model.set_callbacks(tracker())).fit(IRIS, SPECIES)
    make(lambda model: model).fit(IRIS, SPECIES)
    by_autolog, by_hand = map(what_is_told, runs())
    assert by_hand == by_autolog


def test_a_cross_validation_of_one_is_one_run_with_its_folds() -> None:
    model = regression().set_callbacks(
        tracker()
    )  # made in the same call it would come behind the look-up of the function
    scores = cross_val_score(model, IRIS, SPECIES, cv=3)
    assert only().name == "cross_val_score(LogisticRegression)"
    assert only().summary["mean_test_score"] == scores.mean()


def test_parts_go_into_one_run_which_autolog_leaves_open() -> None:
    scaler = StandardScaler().set_callbacks(tracker())
    scaler.partial_fit(IRIS[:50])
    autotrack.sklearn.autolog(project="other")
    autotrack.autolog(disable=True)
    scaler.partial_fit(IRIS[50:])
    assert [step for step, _ in points(only(), "auto/fit_time")] == [0, 1]
    assert only().status == "running"


def test_each_iteration_of_a_solver_has_its_time_at_its_number() -> None:
    model = regression().set_callbacks(tracker()).fit(IRIS, SPECIES)
    times = points(only(), "auto/task_time/lbfgs-iter")
    assert [step for step, _ in times] == list(range(model.n_iter_[0]))
    assert 0 < sum(seconds for _, seconds in times) <= only().summary["auto/fit_time"]


def test_log_every_leaves_iterations_out_and_no_step_of_a_pipeline() -> None:
    ours = tracker(log_every=10)
    model = regression().set_callbacks(ours).fit(IRIS, SPECIES)
    make_pipeline(StandardScaler(), regression()).set_callbacks(ours).fit(IRIS, SPECIES)
    first, second = runs()
    steps = [step for step, _ in points(first, "auto/task_time/lbfgs-iter")]
    assert steps == [0, *range(9, model.n_iter_[0], 10)]
    tasks = {key: points(second, key)[0][0] for key in second.metrics if "task_time" in key}
    assert tasks == {
        "auto/task_time/fit-transform-standardscaler": 0,
        "auto/task_time/fit-final-estimator": 1,
    }


def test_scores_of_a_monitor_beside_it_are_metrics_under_their_names() -> None:
    monitor = ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    regression().fit(IRIS, SPECIES)
    model = regression().set_callbacks(monitor, tracker())
    model.fit(IRIS[:100], SPECIES[:100])
    model.fit(IRIS, SPECIES)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "lbfgs-iter"]
    expected = [(row["task_id"], row["accuracy"]) for row in rows]
    assert len(expected) == model.n_iter_[0]
    assert points(runs()[-1], "accuracy") == expected
    assert [step for step, _ in points(runs()[-1], "neg_log_loss")] == list(range(len(rows)))


def test_a_clone_a_pickle_and_a_copy_of_its_estimator_are_recorded_too() -> None:
    ours = tracker()
    model = regression().set_callbacks(ours).fit(IRIS, SPECIES)
    assert copy.deepcopy(model)._skl_callbacks[0] is ours
    assert clone(model)._skl_callbacks[0] is ours
    for other in (copy.deepcopy(model), clone(model), pickle.loads(pickle.dumps(model))):
        other.fit(IRIS, SPECIES)
    assert len(runs()) == 4
    assert "callbacks" not in str(model.get_params())


def test_one_out_of_a_pickle_is_recorded_in_a_process_that_has_made_none() -> None:
    data = pickle.dumps(regression().set_callbacks(tracker()))
    adapters()["sklearn"].watch.uninstall()
    model = pickle.loads(data)
    cross_val_score(model, IRIS, SPECIES, cv=2)
    assert only().name == "cross_val_score(LogisticRegression)"


def test_the_kept_model_has_all_but_the_autotrack() -> None:
    made = search().set_callbacks(tracker(), Hooks()).fit(IRIS, SPECIES)
    model = autotrack.checkpoints.load(only().id, pickle=True)
    assert [type(each) for each in model._skl_callbacks] == [Hooks]
    assert model.score(IRIS, SPECIES) == made.score(IRIS, SPECIES)
    data, why = pickled(made, 10.0)
    assert why is None
    assert b"autotrack" not in data
    assert [type(each).__name__ for each in made._skl_callbacks] == ["AutoTrack", "Hooks"]


def test_nothing_that_the_user_sees_is_another() -> None:
    def fitted(*callbacks: Any) -> tuple[list[Any], list[str]]:
        steps = make_pipeline(StandardScaler(), PCA(2), regression(max_iter=3)).set_callbacks(*callbacks)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            steps.fit(IRIS, SPECIES)
        return steps[-1].coef_.tolist(), [f"{each.filename}:{each.lineno} {each.message}" for each in seen]

    with autotrack.disabled():
        expected = fitted(Hooks())
    assert fitted(tracker()) == expected
    assert skipped(only()) is None


class Template(BaseEstimator):
    """Its `fit` is not the one that takes callbacks."""

    def fit(self, X: Any, y: Any = None) -> "Template":
        self._fit(X)
        return self


class Steps(CallbackSupportMixin, Template):
    """A user's estimator that tells of its steps, and gives no data."""

    @with_callbacks
    def _fit(self, X: Any) -> None:
        whole = self._init_callback_context(max_subtasks=3).call_on_fit_task_begin(estimator=self)
        for _ in range(3):
            step = whole.subcontext(task_name="step").call_on_fit_task_begin(estimator=self)
            step.call_on_fit_task_end(estimator=self)


class Mine(autotrack.AutoTrack):
    """A user's subclass, which wants to see the data."""

    seen = 0

    def on_fit_task_end(self, estimator: Any, context: Any, *, X: Any = None) -> None:
        self.seen += X is None
        super().on_fit_task_end(estimator, context)


def test_an_estimator_of_the_users_and_a_subclass_of_theirs() -> None:
    mine = Mine(project="tests")
    Steps().set_callbacks(mine).fit(IRIS)
    assert [step for step, _ in points(only(), "auto/task_time/step")] == [0, 1, 2]
    assert mine.seen == 3


def test_made_before_the_import_it_records_and_the_originals_come_back(store: Path) -> None:
    code = """
import gc, warnings
import autotrack
tracker = autotrack.AutoTrack()
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
LogisticRegression().set_callbacks(tracker).fit([[0.0], [1.0]], [0, 1])
(run,) = autotrack.runs()
print(run.status, run.name)
from sklearn.callback import CallbackSupportMixin, _callback_context
_callback_context._cached_signature.cache_clear()
del tracker
gc.collect()
autotrack.autolog()
autotrack.autolog(disable=True)
files = [each.__code__.co_filename for each in (vars(LogisticRegression)["fit"], cross_val_score)]
print([file for file in files if "sklearn" not in file], "__init_subclass__" in vars(CallbackSupportMixin))
"""
    assert answer(code, AUTOTRACK_DIR=str(store)).splitlines() == [
        "finished LogisticRegression",
        "[] False",
    ]
