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
from typing import Any, ClassVar

from autotrack.guard import attempt
from autotrack.importlib_bootstrap_frames import after_subclassing, observing
from autotrack.integration import Integration
from autotrack.integrations._sklearn_runs import FUNCTIONS, Trainings
from autotrack.integrations._sklearn_threads import follow_threads

METHODS = ("fit", "fit_transform", "fit_predict", "partial_fit")


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
    supports: ClassVar[dict[str, str]] = {"scikit-learn": ">=1.5,<2"}

    def __init__(self) -> None:
        super().__init__()
        self.trainings = Trainings(lambda: self.options)

    def _install(self, module: ModuleType) -> None:
        if module.__name__ == "joblib.parallel":
            follow_threads(self.patcher, module)
        elif module.__name__ == "sklearn.base":
            self._watch_classes(module.BaseEstimator)
        else:
            self._watch_functions(module)

    def _uninstall(self) -> None:
        self.trainings.close()

    def _watch_classes(self, base: type) -> None:
        patcher = self.patcher

        def watch(cls: type) -> None:
            attempt(f"watching the estimator class {cls.__name__}", self._watch_class, cls)

        init_subclass = classmethod(after_subclassing(base, patcher, watch))
        patcher.replace(base, "__init_subclass__", lambda _: init_subclass)
        for cls in _with_subclasses(base):
            watch(cls)

    def _watch_class(self, cls: type) -> None:
        for method in METHODS:
            found: Any = cls.__dict__.get(method)
            begin = partial(self.trainings.begin, method)
            if isinstance(found, FunctionType):
                self.patcher.observe(cls, method, begin, portable=True)
            elif type(found).__name__ == "_AvailableIfDescriptor" and isinstance(found.fn, FunctionType):
                self.patcher.observe(found, "fn", begin, portable=True)

    def _watch_functions(self, module: ModuleType) -> None:
        patcher, trainings = self.patcher, self.trainings

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
