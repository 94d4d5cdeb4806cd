"""The training score equals what scikit-learn's own `score` gives, and the random states are as they were."""

import gc
import random
import warnings
import weakref
from typing import Any
from unittest import SkipTest

import numpy as np
import pytest
from sklearn.base import RegressorMixin
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils import all_estimators
from sklearn.utils._test_common.instance_generator import _construct_instances

from autotrack.integrations import _sklearn_facts as facts
from autotrack.integrations import _sklearn_score as scoring
from autotrack.integrations._sklearn_random import RandomStates
from tests.support.sklearn_cases import IRIS, SPECIES

DIABETES, PROGRESS = (part[:120] for part in load_diabetes(return_X_y=True))
CLASSES = [pytest.param(cls, id=name) for name, cls in all_estimators() if hasattr(cls, "score")]


def fitted(cls: Any, samples: Any, targets: Any) -> Any:
    """One of its kind, fitted; skips what takes other data than a table and a column."""
    try:
        return next(iter(_construct_instances(cls))).fit(samples, targets)
    except (ValueError, TypeError, IndexError) as error:
        pytest.skip(f"does not fit these data: {error}")


def _some(cls: type) -> list[Any]:
    try:
        return list(_construct_instances(cls))
    except SkipTest:
        return []


@pytest.mark.parametrize("cls", CLASSES)
def test_the_score_is_scikit_learns_to_the_last_bit_and_it_draws_no_normal_numbers(cls: type) -> None:
    samples, targets = (DIABETES, PROGRESS) if issubclass(cls, RegressorMixin) else (IRIS, SPECIES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = fitted(cls, samples, targets)
        np.random.seed(1)
        np.random.standard_normal()  # a second one lies ready
        before = np.random.get_state(legacy=False)
        states = RandomStates({}, scikit_learns_only=True)
        score = estimator.score(samples, targets)
        states.restore()
        np.testing.assert_equal(np.random.get_state(legacy=False), before)
        known = scoring._by_formula(estimator, samples, targets)
    assert known is None or float(known) == score


def test_the_formulas_are_used_for_plain_columns_only() -> None:
    model = LinearRegression().fit(DIABETES, PROGRESS)
    names = np.array(["a", "b"])[(PROGRESS > 140).astype(int)]
    wide = PROGRESS.repeat(2)[::2]  # a view with strides
    assert scoring._by_formula(model, DIABETES, wide) == pytest.approx(
        model.score(DIABETES, PROGRESS), rel=1e-14
    )
    for targets in (
        PROGRESS.tolist(),
        PROGRESS[:, None],
        PROGRESS[:1],
        names,
        np.ones(120),
        np.full(120, np.nan),
    ):
        assert scoring._by_formula(model, DIABETES, targets) is None


def test_the_parameters_are_those_of_get_params() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are deprecated, one cannot be made
        estimators = [each for _, cls in all_estimators() for each in _some(cls)]
    assert len(estimators) > 150
    for estimator in estimators:
        known = facts.params(estimator)
        assert list(known) == list(estimator.get_params(deep=True))
        assert all(value is known[key] for key, value in estimator.get_params(deep=True).items()), estimator


def test_a_constructor_that_changes_is_read_anew() -> None:
    class Changing(LinearRegression):
        pass

    def other(self: Any, shift: int = 3) -> None:
        self.shift = shift

    assert "copy_X" in facts.params(Changing())
    Changing.__init__ = other  # type: ignore[method-assign, assignment]
    assert facts.params(Changing()) == {"shift": 3}


NORMALS = [np.random.standard_normal, lambda: np.random.seed(7)]


@pytest.mark.parametrize(
    ("draw", "only_scikit_learn"),
    [
        *(
            (draw, True)
            for draw in (np.random.rand, lambda: np.random.choice(5), lambda: np.random.shuffle([1, 2]))
        ),
        *((draw, False) for draw in (np.random.rand, *NORMALS)),
    ],
)
@pytest.mark.parametrize("ready", [False, True], ids=["", "with a second normal number ready"])
def test_numpys_global_state_is_put_back_whatever_was_drawn(
    draw: Any, only_scikit_learn: bool, ready: bool
) -> None:
    np.random.seed(3)
    for _ in range(3):
        if ready:
            np.random.standard_normal()
        before = np.random.get_state(legacy=False)
        for count in (0, 1, 2, 624, 1248):
            states = RandomStates({}, only_scikit_learn)
            for _ in range(count):
                draw()
            moved = str(np.random.get_state(legacy=False)) != str(before)
            assert states.restore() is moved
            np.testing.assert_equal(np.random.get_state(legacy=False), before)


def test_another_generator_under_numpys_functions_is_put_back_too() -> None:
    original = np.random.get_bit_generator()
    try:
        np.random.set_bit_generator(np.random.PCG64(1))
        before = np.random.get_state(legacy=False)
        states = RandomStates({}, scikit_learns_only=True)
        np.random.rand()
        assert states.restore() is True
        assert np.random.get_state(legacy=False) == before
    finally:
        np.random.set_bit_generator(original)


def test_pythons_state_is_watched_where_a_users_code_may_draw() -> None:
    class Mine(RandomForestRegressor):
        def predict(self, X: Any) -> Any:
            random.random()
            return super().predict(X)

    given = {"X": DIABETES, "y": PROGRESS}
    model = Mine(n_estimators=2).fit(DIABETES, PROGRESS)
    before = random.getstate()
    score, why = scoring.train_score(model, facts.params(model), given, 0.01)
    assert score is None
    assert "random numbers" in str(why)
    assert random.getstate() == before


class Cleaning(KNeighborsClassifier):
    """Its fit takes what its score refuses."""

    def fit(self, X: Any, y: Any) -> "Cleaning":
        return super().fit(np.nan_to_num(X), y)


class Broken(LinearRegression):
    def predict(self, X: Any) -> Any:
        return np.append(super().predict(X)[1:], np.inf)


@pytest.mark.parametrize("model", [Cleaning(), Broken()])
def test_what_score_refuses_is_no_score(model: Any) -> None:
    targets = SPECIES if isinstance(model, Cleaning) else SPECIES.astype(float)
    samples = IRIS.copy()
    if isinstance(model, Cleaning):
        samples[3, 1] = np.nan
    model.fit(samples, targets)
    score, why = scoring.train_score(model, facts.params(model), {"X": samples, "y": targets}, 0.01)
    assert score is None
    assert "score() raised ValueError: Input" in str(why)


def test_a_score_of_ones_own_is_the_one_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LinearRegression().fit(DIABETES, PROGRESS)
    model.score = lambda X, y: -7.0
    given = {"X": DIABETES, "y": PROGRESS}
    assert scoring.train_score(model, {}, given, 0.01) == (-7.0, None)
    del model.score
    original = RegressorMixin.score
    monkeypatch.setattr(RegressorMixin, "score", lambda self, X, y: original(self, X, y) + 1)
    assert scoring.train_score(model, {}, given, 0.01)[0] == original(model, DIABETES, PROGRESS) + 1


def test_a_class_that_nobody_needs_any_more_can_go() -> None:
    def make() -> type:
        class Gone(LinearRegression):
            def __init__(self, extra: int = 1) -> None:
                super().__init__()
                self.extra = extra

        return Gone

    cls = make()
    assert facts.params(cls()) == {"extra": 1}
    watch = weakref.ref(cls)
    del cls
    gc.collect()
    assert watch() is None
