"""The runs of scikit-learn: one for each outermost fit, for each estimator that is fitted in parts, and for
each
cross-validation."""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any
from weakref import ref

from autotrack import background, session
from autotrack.callback import AutoTrack, ByIdentity
from autotrack.guard import attempt, guarded, reason
from autotrack.integrations import _sklearn_facts as facts
from autotrack.integrations._sklearn_after import After, Fitted
from autotrack.integrations._sklearn_search import CrossValidation, fits_others, is_search, record_search
from autotrack.integrations._sklearn_tasks import Tasks, tracker_of, tracker_within
from autotrack.integrations._sklearn_threads import here, inside, move
from autotrack.late import report
from autotrack.options import Options
from autotrack.training import Training, begin_training, in_training

if TYPE_CHECKING:
    from autotrack.patcher import Call
    from autotrack.run import Run

End = Callable[["Call"], object]


class Trainings:
    """What the observed functions report to: `begin` for methods of estimators, `begin_function` for
    functions. Recorded is what was given an `AutoTrack`, and all else while `autolog` has options.
    """

    def __init__(self, autolog: Callable[[], Options | None]) -> None:
        self._autolog = autolog
        self._partial: dict[int, _Partial] = {}
        self.after = After()
        """What is told of scores and predictions behind a fit."""
        self.tasks: ByIdentity[Tasks] = ByIdentity()
        """By estimator: of the fits of those that have an `AutoTrack`."""

    def begin(self, method: str, call: "Call") -> End | None:
        """A fit method was called."""
        if inside.get() is not None or in_training() or not session.recording():
            return None
        estimator = call.args[0]
        tracker = tracker_within(estimator) if fits_others(estimator) else tracker_of(estimator)
        if tracker is None and self._autolog() is None:
            return None
        token = inside.set(self)
        end: End | None = None
        if tracker is not None or not attempt(
            "looking at an estimator", _only_transforms, estimator, default=False
        ):
            begin = self._begin_partial if method == "partial_fit" else self._begin_fit
            end = attempt("recording a fit", begin, estimator, method, call, tracker)

        def leave(call: "Call") -> None:
            try:
                if end is not None:
                    end(call)
            finally:
                inside.reset(token)

        return leave

    def begin_function(self, name: str, call: "Call") -> End | None:
        """A cross-validation function was called."""
        outer = inside.get()
        if isinstance(outer, CrossValidation) and name == "cross_validate":
            return outer.take_folds
        if outer is not None or in_training() or not session.recording():
            return None
        tracker = tracker_within(call.args[0] if call.args else call.kwargs.get("estimator"))
        if tracker is None and self._autolog() is None:
            return None
        validation = CrossValidation(name, call)
        token = inside.set(validation)
        training = attempt("recording a cross-validation", self._open, validation.title, tracker)
        if training is not None:
            with guarded("recording a cross-validation"):
                training.run.update_config(validation.config(), source="sklearn")
        started = perf_counter()

        def leave(call: "Call") -> None:
            try:
                if training is not None:
                    _close(training, call, perf_counter() - started, validation.record)
                    self.after.add_prediction(
                        call.result, Fitted(training.run, training.owned)
                    )  # of cross_val_predict
            finally:
                inside.reset(token)

        return leave

    def close(self) -> None:
        """`autolog()` ends: so do its runs of estimators that are fitted in parts."""
        for key, part in list(self._partial.items()):
            if not part.by_hand:
                self._partial.pop(key, None)
                part.training.finish()

    def _open(self, name: str, tracker: AutoTrack | None) -> Training | None:
        options = self._autolog() if tracker is None else tracker.options_for("sklearn")
        if options is None:
            return None
        return begin_training("sklearn", name=name, config=None, options=options, nested="ignore")

    def _begin_fit(self, estimator: Any, method: str, call: "Call", tracker: AutoTrack | None) -> End | None:
        earlier = self._partial.pop(id(estimator), None)
        if earlier is not None:
            earlier.training.finish()
        with background.held():
            training = self._open(type(estimator).__name__, tracker)
            if training is None:
                return None
            fit = _Fit(estimator, method, call)
            with guarded("recording the parameters of an estimator"):
                training.run.update_config(fit.config(), source="sklearn")
            if tracker is not None:
                with guarded("recording the tasks of a fit"):
                    fit.tasks = Tasks(training, tracker)
                    self.tasks.set(estimator, fit.tasks)
        started = perf_counter()

        def end(call: "Call") -> None:
            seconds = perf_counter() - started
            self.tasks.drop(estimator)
            _close(training, call, seconds, fit.record)
            if call.error is None:
                fitted = Fitted(training.run, training.owned)
                self.after.add(estimator, fitted)
                self.after.add_prediction(call.result, fitted)  # of fit_predict

        return end

    def _begin_partial(
        self, estimator: Any, method: str, call: "Call", tracker: AutoTrack | None
    ) -> End | None:
        key = id(estimator)
        known = self._partial.get(key)
        outside = here()
        if known is None or known.estimator() is not estimator or known.training.run.status != "running":
            training = self._open(type(estimator).__name__, tracker)
            if training is None:
                return None
            with guarded("recording the parameters of an estimator"):
                training.run.update_config(_Fit(estimator, method, call).config(), source="sklearn")
            why = "an estimator that is fitted in parts sees its data a part at a time"
            _report(training.run, "train_score", "skipped", why, 0.0)
            gone = partial(self._gone, key)
            known = self._partial[key] = _Partial(estimator, training, tracker is not None, gone)
        else:
            move(outside._replace(training=known.training, run=known.training.run))
        part, started = known, perf_counter()

        def end(call: "Call") -> None:
            seconds = perf_counter() - started
            move(outside._replace(inside=inside.get()))
            part.training.run.log({"auto/fit_time": seconds}, step=part.calls)
            part.calls += 1
            if call.error is None and part.calls == 1:
                self.after.add(estimator, Fitted(part.training.run, part.training.owned, lambda: part.calls))
            if call.error is not None:
                self._partial.pop(key, None)
                part.training.finish(call.error)

        return end

    def _gone(self, key: int, gone: object) -> None:
        """The garbage collector has taken an estimator: no lock may be waited for here, so the helper ends
        its run.
        """
        part = self._partial.pop(key, None)
        if part is not None and not part.training.run.ended:
            background.submit(part.training.finish)


class _Partial:
    """An estimator that is fitted in parts: its run stays open between the calls, without being the current
    one.
    """

    def __init__(
        self, estimator: Any, training: Training, by_hand: bool, gone: Callable[[Any], None]
    ) -> None:
        self.estimator = ref(estimator, gone)
        self.training = training
        self.by_hand = by_hand
        self.calls = 0


class _Fit:
    """One outermost fit. It holds no data: what it needs of them it takes from the call, which ends with the
    fit.
    """

    def __init__(self, estimator: Any, method: str, call: "Call") -> None:
        self.method = method
        self.estimator = estimator
        self.tasks: Tasks | None = None
        self.params, self.problem = reason(facts.params, estimator)
        function = getattr(type(estimator), method, None)
        self.given = facts.arguments(call.args, call.kwargs, function) if function is not None else {}

    def config(self) -> dict[str, Any]:
        """What is known before the fit."""
        return facts.config(self.estimator, self.method, self.params or {}, self.given)

    def record(self, run: "Run", call: "Call", seconds: float) -> None:
        """What is known after it."""
        given, self.given = self.given, {}
        if self.problem is not None:
            _report(run, "params", "failed", f"get_params() raised {self.problem}", 0.0)
        values = {"auto/fit_time": seconds}
        if call.error is None:
            self._record_result(run, given, values)
        run.log(values)
        if self.tasks is not None:
            with guarded("recording the scores of a fit's tasks"):
                self.tasks.log_scores(self.estimator)

    def _record_result(self, run: "Run", given: dict[str, Any], values: dict[str, float]) -> None:
        from autotrack.integrations._sklearn_score import train_score

        known, _ = reason(facts.classes, self.estimator)
        if known is not None:
            run.update_config({"data": {"n_classes": known}}, source="sklearn")
        started = perf_counter()
        score, why = train_score(self.estimator, self.params or {}, given, values["auto/fit_time"])
        if score is not None:
            values["auto/train_score"] = score
        status = "captured" if score is not None else "skipped"
        _report(run, "train_score", status, why, perf_counter() - started)
        if is_search(self.estimator):
            values |= record_search(run, self.estimator)
        self._record_model(run, values["auto/fit_time"])

    def _record_model(self, run: "Run", fit_seconds: float) -> None:
        from autotrack.integrations._sklearn_model import pickled
        from autotrack.memory import keep_model, stores_models

        if not stores_models(run):
            return
        started = perf_counter()
        data, why = pickled(self.estimator, fit_seconds)
        if data is not None:
            name = type(self.estimator).__name__
            keep_model(run, f"{name}.pkl", data, "pickle", name)
        status = "captured" if data is not None else "skipped"
        _report(run, "model", status, why, perf_counter() - started)


def _close(
    training: Training, call: "Call", seconds: float, record: Callable[["Run", "Call", float], None]
) -> None:
    with background.held():
        try:
            with guarded("recording the end of a fit"):
                record(training.run, call, seconds)
        finally:  # also when Ctrl-C comes while the score is computed
            training.finish(call.error)


def _report(run: "Run", what: str, status: str, why: str | None, seconds: float) -> None:
    """Say in the run what was captured, on the helper thread: nobody who fits waits for that."""
    background.submit(report, run, what, status, why, seconds)


def _only_transforms(estimator: Any) -> bool:
    """Whether fitting it trains nothing that predicts: a scaler, an encoder, a pipeline of such."""
    return hasattr(estimator, "transform") and not hasattr(estimator, "predict") and not is_search(estimator)
