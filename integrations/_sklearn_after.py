"""What the user's own code computes with an estimator behind its fit: `score`, and the metrics of its predictions.

It goes to the run of the fit. What is computed of predictions that no fit of ours is known for goes to the run that is open, if no
two estimators were fitted in it, as nobody could tell whose it is; else it is left alone. What scikit-learn calls itself, in a search
or a cross-validation, is not the user's.
"""

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy import ndarray

from autotrack import importlib_bootstrap_frames, session
from autotrack.callback import ByIdentity
from autotrack.importlib_bootstrap_frames import heard
from autotrack.integrations._call_sites import Site, sites, spelled
from autotrack.integrations._sklearn_facts import PLAIN, is_number
from autotrack.integrations._sklearn_threads import inside
from autotrack.late import log_late
from autotrack.trained import trained
from autotrack.training import in_training

if TYPE_CHECKING:
    from autotrack.patcher import Patcher
    from autotrack.run import Run

_FEW = 3
_BETWEEN = vars(importlib_bootstrap_frames)
_ROOM = 4
"""An estimator's result may be a view of an array that is larger by so much: `proba[:, :n]`. A column of it is a view of that, too."""
_COMPARED = ("y_true", "labels_true", "y1", "X")
"""The first parameter of a metric; the second is the prediction, or the labels of a clustering."""


class Fitted:
    """The run that an estimator was fitted in: `own`, or somebody's whose steps are not ours; `calls`: how often so far, of one that
    is fitted in parts.
    """

    def __init__(self, run: "Run", own: bool, calls: Callable[[], int] | None = None) -> None:
        self.run = run
        self._own = own
        self._calls = calls
        self._next: dict[str, int] = {}
        """By metric the least step that it has not had."""

    def log(self, key: str, value: float) -> None:
        """At the step of the last part; in a run of the fit's own counted from 0; else at the step that the run has reached, or, if
        it has been there, at the next one. The steps that the user counts are left alone.
        """
        if self._calls is not None:
            step = max(self._calls() - 1, 0)
        else:
            step = self._next.get(key, 0)
            if not self._own:
                step = max(step, self.run.last_step or 0)
            self._next[key] = step + 1
        if self.run.ended:
            log_late(self.run, {key: value}, step)
        else:
            self.run.log_beside({key: value}, step)


class _Estimator(NamedTuple):
    fitted: Fitted
    score: str
    """What its score is called: the best one of a search may score by something else than the search."""


class _Prediction(NamedTuple):
    fitted: Fitted
    sites: tuple[Site, ...]
    """Where it was asked for; () if the fit itself gave it."""


class After:
    """What the observed functions report to, once an estimator has been fitted."""

    def __init__(self) -> None:
        self._estimators: ByIdentity[_Estimator] = ByIdentity()
        self._predictions: ByIdentity[_Prediction] = ByIdentity()
        self._open: ByIdentity[Fitted] = ByIdentity()
        """By run, of what belongs to no fit."""
        self._fits: Counter[str] = Counter()
        """By folder of a run: how many fits it holds, those of its children too."""
        self._last: Fitted | None = None

    def add(self, estimator: Any, fitted: Fitted) -> None:
        """An estimator was fitted, and with it the best one of a search; a clustering has predicted labels at that."""
        self._fits[fitted.run.dir.name] += 1
        self._last = fitted
        best = getattr(estimator, "best_estimator_", None)
        for one, score in ((estimator, "score"), (best, "best_estimator_.score")):
            if one is not None:
                self._estimators.set(one, _Estimator(fitted, score))
                trained(one, fitted.run)
        self.add_prediction(getattr(estimator, "labels_", None), fitted)

    def add_prediction(self, predicted: Any, fitted: Fitted, where: tuple[Site, ...] = ()) -> None:
        """An array of predictions; an estimator's other results cannot be recognised later."""
        if type(predicted) is ndarray:
            prediction = _Prediction(fitted, where)
            self._predictions.set(predicted, prediction)
            whole = predicted.base
            if type(whole) is ndarray and whole.nbytes <= _ROOM * predicted.nbytes:
                self._predictions.set(whole, prediction)

    def hear_prediction(self, args: tuple[Any, ...], _: dict[str, Any], result: Any) -> None:
        """An estimator has predicted."""
        known = self._estimators.get(args[0]) if args else None
        if known is not None and inside.get() is None:
            self.add_prediction(result, known.fitted, sites(_caller()))

    def hear_score(self, args: tuple[Any, ...], _: dict[str, Any], result: Any) -> None:
        """An estimator has scored itself."""
        frame = _caller()
        if not args or not is_number(result) or not _is_users(frame):
            return
        known = self._estimators.get(args[0])
        fitted = known.fitted if known is not None else self._of_open_run(most=0)
        if fitted is not None:
            name = known.score if known is not None else "score"
            fitted.log(_key(name, spelled(sites(frame), 0, "X")), float(result))

    def hear_metric(
        self, names: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """A function of `sklearn.metrics` was called; `names`: its own, and those of what it compares."""
        frame = _caller()
        if not is_number(result) or not _is_users(frame):
            return
        name, *compared = names
        given = dict(zip(compared, args, strict=False)) | kwargs
        found = [self._prediction(given.get(each)) for each in reversed(compared)]
        prediction = next((one for one in found if one is not None), None)
        fitted = prediction.fitted if prediction is not None else self._of_open_run(most=1)
        if fitted is None:
            return
        data = spelled(prediction.sites, 0, "X") if prediction is not None else None
        data = data or spelled(sites(frame), 0, compared[0])
        settings = {key: value for key, value in kwargs.items() if key not in compared}
        fitted.log(_key(name + _suffix(settings), data), float(result))

    def _prediction(self, values: Any) -> _Prediction | None:
        """Of an array, or of the one that it is a view of: `predict_proba(X)[:, 1]`."""
        base = getattr(values, "base", None)
        return self._predictions.get(values) or (self._predictions.get(base) if base is not None else None)

    def _of_open_run(self, most: int) -> Fitted | None:
        """The run that is open, if no more than `most` estimators were fitted in it; of one that was, its run."""
        run = session.unasked(session.enclosing_run())
        fits = self._fits[run.dir.name] if run is not None else 0
        if run is None or fits > most:
            return None
        if fits and self._last is not None and self._last.run.dir == run.dir:
            return self._last
        known = self._open.get(run)
        if known is None:
            known = Fitted(run, own=False)
            self._open.set(run, known)
        return known


def watch_metrics(patcher: "Patcher", after: After, module: ModuleType) -> None:
    """Hear of the metrics that a module defines, wherever they were imported to."""

    def maker(names: tuple[str, ...]) -> Callable[[Any], Any]:
        return lambda original: heard(original, patcher, partial(after.hear_metric, names))

    makers = {}
    for name, function in vars(module).items():
        if isinstance(function, FunctionType) and function.__module__ == module.__name__ and name[0] != "_":
            compared = _compared(function)
            if compared[:1] and compared[0] in _COMPARED:
                makers[name] = maker((name, *compared))
    patcher.replace_functions(module, makers)


def _compared(function: FunctionType) -> tuple[str, ...]:
    code = inspect.unwrap(function).__code__
    names: tuple[str, ...] = code.co_varnames[: min(code.co_argcount, 2)]
    return names


def _caller() -> FrameType | None:
    """The frame that called what we observe, seen from what hears of it: the frames of `heard` and of a `PortableMethod` lie between.

    None where it is heard of twice, by `autolog()` and for the `AutoTrack` of some estimator, and this is the inner one.
    """
    frame: FrameType | None = sys._getframe(3)
    heard_by = 0
    while frame is not None and frame.f_globals is _BETWEEN:
        heard_by += frame.f_code.co_name == "listened"
        frame = frame.f_back
    return frame if heard_by == 1 else None


def _is_users(frame: FrameType | None) -> bool:
    """Whether it is the user's own code that calls: nothing is being fitted or trained here, and no function of scikit-learn, or
    method of an estimator that is observed, has called it.
    """
    if frame is None or inside.get() is not None or in_training() or not session.recording():
        return False
    while frame is not None:
        if (
            frame.f_globals is _BETWEEN
            or str(frame.f_globals.get("__name__", "")).partition(".")[0] == "sklearn"
        ):
            return False
        frame = frame.f_back
    return True


def _suffix(settings: Mapping[str, Any]) -> str:
    """What tells one use of a metric from another: "_macro" of average="macro", "_beta_2" of beta=2."""
    words = []
    for key, value in settings.items():
        if type(value) is str:
            words.append(value)
        elif type(value) in (list, tuple) and len(value) <= _FEW and all(type(one) in PLAIN for one in value):
            words.append("_".join(map(str, (key, *value))))
        elif value is not None:
            words.append(f"{key}_{value}" if type(value) in PLAIN else key)
    return "".join(f"_{word}" for word in words)


def _key(name: str, data: str | None) -> str:
    return f"{name}/{data}" if data else name
