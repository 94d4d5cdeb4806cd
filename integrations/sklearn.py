"""scikit-learn, and everything built on its `BaseEstimator` (xgboost, lightgbm, your own estimators).

    import autotrack
    autotrack.autolog()                     # or autotrack.sklearn.autolog(), or `autotrack run script.py`
    LogisticRegression(C=0.5).fit(X, y)     # a run: parameters, shape of the data, fit time, training score

Every outermost `fit`, `fit_transform`, `fit_predict` of an estimator is a run; what it fits inside (pipeline
steps, candidates, trees, in threads too) is part of it. A search makes one run with a child run per
candidate.
`cross_val_score` and its kin make one run with the folds as a table. `partial_fit` makes one run an
estimator, with a step a call; it ends with the estimator (or `fit`, or the process). Transformers alone make
none.
"""

from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from autotrack.guard import attempt
from autotrack.importlib_bootstrap_frames import after_subclassing, observing
from autotrack.integration import Integration

if TYPE_CHECKING:
    from autotrack.integrations._sklearn_runs import Trainings

METHODS = ("fit", "fit_transform", "fit_predict", "partial_fit")
FUNCTIONS = (
    "cross_val_predict",
    "cross_val_score",
    "cross_validate",
    "learning_curve",
    "permutation_test_score",
    "validation_curve",
)


class SklearnIntegration(Integration):
    """Observes the fit methods of every estimator class, existing or future, and the cross-validation
    functions.
    """

    name: ClassVar[str] = "sklearn"
    targets: ClassVar[tuple[str, ...]] = (
        "joblib.parallel",
        "sklearn.base",
        "sklearn.model_selection._validation",
    )
    supports: ClassVar[dict[str, str]] = {"scikit-learn": ">=1.6.1,<1.10"}

    _trainings: "Trainings | None" = None

    def _install(self, module: ModuleType) -> None:
        # Not at the top: `autolog()` loads this module, and most programs that call it import one framework only.
        from autotrack.integrations._sklearn_runs import Trainings
        from autotrack.integrations._sklearn_threads import follow_threads

        if self._trainings is None:
            self._trainings = Trainings(lambda: self.options)
        if module.__name__ == "joblib.parallel":
            follow_threads(self.patcher, module)
        elif module.__name__ == "sklearn.base":
            self._watch_classes(module.BaseEstimator, self._trainings)
        else:
            self._watch_functions(module, self._trainings)

    def _uninstall(self) -> None:
        if self._trainings is not None:
            self._trainings.close()

    def _watch_classes(self, base: type, trainings: "Trainings") -> None:
        patcher = self.patcher

        def watch(cls: type) -> None:
            attempt(f"watching the estimator class {cls.__name__}", self._watch_class, cls, trainings)

        init_subclass = classmethod(after_subclassing(base, patcher, watch))
        patcher.replace(base, "__init_subclass__", lambda _: init_subclass)
        for cls in _with_subclasses(base):
            watch(cls)

    def _watch_class(self, cls: type, trainings: "Trainings") -> None:
        for method in METHODS:
            found: Any = cls.__dict__.get(method)
            begin = partial(trainings.begin, method)
            if isinstance(found, FunctionType):
                self.patcher.observe(cls, method, begin, portable=True)
            elif type(found).__name__ == "_AvailableIfDescriptor" and isinstance(found.fn, FunctionType):
                self.patcher.observe(found, "fn", begin, portable=True)

    def _watch_functions(self, module: ModuleType, trainings: "Trainings") -> None:
        patcher = self.patcher

        def maker(name: str) -> Callable[[Any], Any]:
            return lambda original: observing(original, patcher, partial(trainings.begin_function, name))

        makers = {name: maker(name) for name in FUNCTIONS if name in vars(module)}
        patcher.replace_functions(module, makers)


def _with_subclasses(base: type) -> Iterator[type]:
    waiting, seen = [base], set()
    while waiting:
        cls = waiting.pop()
        if cls not in seen:
            seen.add(cls)
            waiting += cls.__subclasses__()
            yield cls
