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

From scikit-learn 1.9 on `LogisticRegression().set_callbacks(AutoTrack()).fit(X, y)` records that estimator without
`autolog()`: the same run, also of a transformer, with the options of the `AutoTrack`, and the seconds that each task took of which
scikit-learn tells callbacks. The outermost one that has an `AutoTrack` is the run; it is not propagated. What fits copies of other
estimators (a search, an ensemble) is one run where one of them has it.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol
from weakref import WeakSet

from autotrack.callback import Adapter, Watch
from autotrack.guard import attempt
from autotrack.importhook import when_imported
from autotrack.importlib_bootstrap_frames import PortableMethod, after_subclassing, observing
from autotrack.integration import Integration
from autotrack.options import Options
from autotrack.patcher import Call, Hear, Patcher

if TYPE_CHECKING:
    from autotrack.integrations._sklearn_after import After
    from autotrack.integrations._sklearn_runs import Trainings
    from autotrack.integrations._sklearn_tasks import Tasks

End = Callable[[Call], object]

METHODS = ("fit", "fit_transform", "fit_predict", "partial_fit")
PREDICTIONS = ("predict", "predict_proba", "predict_log_proba", "decision_function")
SCORE = "score"
FUNCTIONS = (
    "cross_val_predict",
    "cross_val_score",
    "cross_validate",
    "learning_curve",
    "permutation_test_score",
    "validation_curve",
)
_SUPPORTS = {"scikit-learn": ">=1.6.1,<1.10"}
_THREADS = "joblib.parallel"
_FUNCTIONS = "sklearn.model_selection._validation"
_METRICS = (
    "sklearn.metrics._classification",
    "sklearn.metrics._ranking",
    "sklearn.metrics._regression",
    "sklearn.metrics.cluster._supervised",
    "sklearn.metrics.cluster._unsupervised",
)


class Observer(Protocol):
    """What is told of calls before they are made; what it returns is called behind them."""

    @property
    def after(self) -> "After":
        """What is told of scores and predictions that were made."""

    def begin(self, method: str, call: Call) -> End | None:
        """Of a method of an estimator."""

    def begin_function(self, name: str, call: Call) -> End | None:
        """Of a function."""


class SklearnWatch(Watch):
    """Observes the fit methods of the classes that take callbacks, which there are from scikit-learn 1.9 on, and of those that fit
    other estimators, and the cross-validation functions: what has an `AutoTrack`, or fits what has one, is recorded.
    """

    name: ClassVar[str] = "sklearn"
    targets: ClassVar[tuple[str, ...]] = ("sklearn.callback._callback_support",)
    supports: ClassVar[dict[str, str]] = _SUPPORTS

    _trainings: "Trainings | None" = None

    @property
    def trainings(self) -> "Trainings":
        """What is being recorded, here and by `autolog()`."""
        if self._trainings is None:
            # Not at the top: `autolog()` loads this module, and most programs that call it import one framework only.
            from autotrack.integrations._sklearn_runs import Trainings

            self._trainings = Trainings(self._autolog_options)
        return self._trainings

    @property
    def after(self) -> "After":
        """What is told of scores and predictions."""
        return self.trainings.after

    def tasks_of(self, estimator: Any) -> "Tasks | None":
        """Of a fit that is being recorded, if its estimator has an `AutoTrack`."""
        return self._trainings.tasks.get(estimator) if self._trainings is not None else None

    def follow(self, integration: Integration) -> None:
        """`autolog()` is on: it observes all estimators itself."""
        self.autolog = integration

    def unfollow(self) -> None:
        """`autolog()` is off."""
        if self._trainings is not None:
            self._trainings.close()
        super().unfollow()

    def begin(self, method: str, call: Call) -> End | None:
        """A fit method of an estimator that takes callbacks was called."""
        return self.trainings.begin(method, call)

    def begin_function(self, name: str, call: Call) -> End | None:
        """A cross-validation function was called."""
        return self.trainings.begin_function(name, call)

    def _install(self, module: ModuleType) -> None:
        for base in (module.CallbackSupportMixin, sys.modules["sklearn.base"].MetaEstimatorMixin):
            _watch_classes(self.patcher, base, self, parents=True)
        for name in (_THREADS, _FUNCTIONS):
            self._handles.append(when_imported(name, partial(_watch_module, self.patcher, self)))

    def _autolog_options(self) -> Options | None:
        return self.autolog.options if self.autolog is not None else None


class SklearnCallback(Adapter):
    """What `AutoTrack` does at scikit-learn's hooks: it times the tasks of a fit, whose beginning and end the watch sees."""

    watch: ClassVar[SklearnWatch] = SklearnWatch()

    @staticmethod
    def claims(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """(estimator=, context=), also without the names."""
        return "context" in kwargs or (len(args) == 2 and hasattr(args[1], "root_uuid"))

    def setup(self, estimator: Any, context: Any) -> None:
        """Nothing that the call of `fit` has not told, but scikit-learn asks for the hook."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """As `setup`; it tells no error."""

    def on_fit_task_begin(self, estimator: Any, context: Any, *, X: Any = ...) -> None:
        """A task begins: the fit, a step of a pipeline, an iteration of a solver. Without data X is None."""
        tasks = self._tasks(estimator)
        if tasks is not None:
            tasks.begin(context, X is not None)

    def on_fit_task_end(self, estimator: Any, context: Any, *, X: Any = ...) -> None:
        """A task has ended well."""
        tasks = self._tasks(estimator)
        if tasks is not None:
            tasks.end(context, X is not None)

    def _tasks(self, estimator: Any) -> "Tasks | None":
        tasks = self.watch.tasks_of(estimator)
        return tasks if tasks is not None and tasks.tracker is self.owner else None


class SklearnIntegration(Integration):
    """Observes the fit methods of every estimator class, existing or future, and the cross-validation
    functions.
    """

    name: ClassVar[str] = "sklearn"
    targets: ClassVar[tuple[str, ...]] = (_THREADS, "sklearn.base", _FUNCTIONS, *_METRICS)
    supports: ClassVar[dict[str, str]] = _SUPPORTS

    def _install(self, module: ModuleType) -> None:
        watch = SklearnCallback.watch
        watch.follow(self)
        if module.__name__ == "sklearn.base":
            _watch_classes(self.patcher, module.BaseEstimator, watch.trainings)
        else:
            _watch_module(self.patcher, watch.trainings, module)

    def _uninstall(self) -> None:
        SklearnCallback.watch.unfollow()


def _watch_module(patcher: Patcher, observer: Observer, module: ModuleType) -> None:
    from autotrack.integrations._sklearn_threads import follow_threads

    if module.__name__ == _THREADS:
        follow_threads(patcher, module)
        return
    if module.__name__ in _METRICS:
        from autotrack.integrations._sklearn_after import watch_metrics

        watch_metrics(patcher, observer.after, module)
        return

    def maker(name: str) -> Callable[[Any], Any]:
        return lambda original: observing(original, patcher, partial(observer.begin_function, name))

    makers = {name: maker(name) for name in FUNCTIONS if name in vars(module)}
    patcher.replace_functions(module, makers)


def _watch_classes(patcher: Patcher, base: Any, observer: Observer, parents: bool = False) -> None:
    """Watch `base` and what is derived from it, now or later. `parents`: and the estimators that these are derived from."""
    estimator = sys.modules["sklearn.base"].BaseEstimator
    seen: WeakSet[type] = WeakSet()

    def watch(cls: type) -> None:
        for kind in cls.__mro__:
            if kind in seen or kind is object:
                continue
            fits = issubclass(kind, (base, estimator)) if parents else issubclass(kind, base)
            what = f"watching the estimator class {kind.__name__}"
            if fits:
                attempt(what, _watch_class, patcher, kind, observer)
            attempt(what, _watch_uses, patcher, kind, observer.after)
            seen.add(kind)

    init_subclass = classmethod(after_subclassing(base, patcher, watch))
    patcher.replace(base, "__init_subclass__", lambda _: init_subclass)
    for cls in _with_subclasses(base):
        watch(cls)


def _watch_class(patcher: Patcher, cls: type, observer: Observer) -> None:
    for method in METHODS:
        place = _method(cls, method)
        if place is not None:
            patcher.observe(*place, partial(observer.begin, method), portable=True)


def _watch_uses(patcher: Patcher, cls: type, after: "After") -> None:
    """Also of what is no estimator, as most classifiers have their `score` from a mixin."""
    hears: dict[str, Hear] = dict.fromkeys(PREDICTIONS, after.hear_prediction) | {SCORE: after.hear_score}
    for method, hear in hears.items():
        place = _method(cls, method)
        if place is not None:
            patcher.listen(*place, hear, portable=True)


def _method(cls: type, method: str) -> tuple[Any, str] | None:
    """Where a method of the class's own stands: (owner, name)."""
    found: Any = cls.__dict__.get(method)
    if isinstance(found, FunctionType | PortableMethod):
        return cls, method
    if type(found).__name__ == "_AvailableIfDescriptor" and isinstance(
        found.fn, FunctionType | PortableMethod
    ):
        return found, "fn"
    return None


def _with_subclasses(base: type) -> Iterator[type]:
    waiting, seen = [base], set()
    while waiting:
        cls = waiting.pop()
        if cls not in seen:
            seen.add(cls)
            waiting += cls.__subclasses__()
            yield cls
