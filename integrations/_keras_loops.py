"""Loops of the user's own around `train_on_batch`, while `autolog()` is on: a run a model, open from its first batch on.

It ends when the model is fitted otherwise or no longer needed, or when the process does. Between the batches it is not the
current run, so that what else the loop does is recorded as without it.
"""

import sys
from functools import cache
from time import perf_counter
from typing import Any
from weakref import finalize

from autotrack import background, session
from autotrack.callback import ByIdentity, Recording
from autotrack.guard import guarded, reason
from autotrack.integrations._keras_config import config_of, has_own_train_step, layers_of
from autotrack.integrations._keras_rates import Rates
from autotrack.options import Options
from autotrack.training import begin_training


class Loop:
    """The batches of one model."""

    def __init__(self, recording: Recording, model: Any) -> None:
        self.recording = recording
        self._rates = Rates()
        own_step = has_own_train_step(model)
        self._rates.begin_epoch(model, done=1, own_step=own_step)
        self._rates.report(recording.run)
        self._names = _names(model)
        self._own = begins_anew() and not own_step
        self._last: float | None = None
        self._batches = 0

    def batch(self, x: Any, result: Any) -> None:
        """`train_on_batch` has returned."""
        now, done = perf_counter(), self._batches
        self._batches += 1
        values = {key_of(name, self._own): value for name, value in self._named(result).items()}
        if self._rates.variable is not None:
            self._rates.before(done)
        self._rates.take(done, self._batches, values)
        if self._last is not None:
            values["auto/step_time"] = now - self._last
            shape = getattr(x, "shape", None)
            if shape:
                values["auto/samples_per_second"] = int(shape[0]) / (now - self._last)
        self._last = now
        self._rates.batch = self._batches
        self.recording.log_step(values, self._batches)

    def finish(self) -> None:
        """The loop is over."""
        self._rates.close(self.recording.run)
        self.recording.finish()

    def _named(self, result: Any) -> dict[str, Any]:
        if isinstance(result, dict):
            return result
        found = list(result) if isinstance(result, list | tuple) else [result]
        names = self._names if len(self._names) == len(found) else ["loss"]
        return dict(zip(names, found, strict=False))


class Loops:
    """The loops of this process."""

    def __init__(self) -> None:
        self._loops: ByIdentity[Loop] = ByIdentity()
        self._open: list[Loop] = []

    def batch(self, model: Any, x: Any, result: Any, options: Options) -> None:
        """A model was trained on a batch."""
        loop = self._loops.get(model)
        if loop is None or not loop.recording.active:
            loop = self._begin(model, options)
        if loop is not None:
            loop.batch(x, result)

    def end(self, model: Any) -> None:
        """The model is trained in another way now."""
        loop = self._loops.get(model)
        if loop is not None:
            self._finish(loop)
            self._loops.drop(model)

    def close(self) -> None:
        """End them all."""
        for loop in list(self._open):
            self._finish(loop)

    def _begin(self, model: Any, options: Options) -> Loop | None:
        training_before, run_before = session.training(), session.set_current(None)
        session.set_current(run_before)
        training = begin_training(
            "keras",
            name=getattr(model, "name", None),
            config=None,
            options=options,
            nested="child",
        )
        session.set_training(training_before)
        session.set_current(run_before)
        if training is None:
            return None
        with guarded("describing a model"):
            training.run.update_config(config_of(model, {}, {}, ()), source="keras")
        loop = Loop(Recording(training, supervised=False), model)
        rows, _ = reason(layers_of, model)
        if rows:
            background.submit(training.run.log_table, "model_summary", rows)
        self._loops.set(model, loop)
        self._open.append(loop)
        # The garbage collector may not wait for a lock: the helper thread ends the run.
        finalize(model, background.submit, lambda: self._finish(loop)).atexit = False
        return loop

    def _finish(self, loop: Loop) -> None:
        if loop in self._open:
            self._open.remove(loop)
        loop.finish()


@cache
def begins_anew() -> bool:
    """Whether `train_on_batch` tells the values of its batch alone, as from Keras 3.15 on; else means since the last reset."""
    function = sys.modules["keras.src.models.model"].Model.train_on_batch
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return "reset_metrics" in function.__code__.co_names


def key_of(name: str, own: bool) -> str:
    """The key of a value that `train_on_batch` has returned: of its batch alone (`own`), or as Keras tells it."""
    if not own:
        return f"auto/reported/{name}"
    return "auto/loss" if name == "loss" else f"auto/batch/{name}"


def _names(model: Any) -> list[str]:
    """The names of what `train_on_batch` returns, in Keras's order."""
    names: list[str] = []
    for metric in model.metrics:
        inner = getattr(metric, "metrics", None)
        names += [one.name for one in inner] if isinstance(inner, list) else [metric.name]
    return names if len(set(names)) == len(names) else []
