"""Keras 3, on any of its backends: `Model.fit`, `evaluate`, `predict` and `train_on_batch`.

A run begins with the first epoch of a `fit`, and ends when `fit` returns or raises. Recorded are:

- at the end of each epoch what Keras puts into its own history (`loss`, `val_loss`, metrics, what other callbacks add to the
  logs), under the same names, with `epoch` (Keras's index) and `auto/epoch_time`. The step is the number of batches trained by
  then, so that these values and the next lie on one axis; epochs that `initial_epoch` leaves out count;
- at each batch `auto/loss`, and `auto/batch/<metric>` of metrics that are means: those of that batch alone. Keras tells
  callbacks the mean of the epoch so far, m_n after n batches; the batch's own is
  (w_n·m_n − w_(n−1)·m_(n−1)) / (w_n − w_(n−1)), where w_n counts the samples, as `_keras_sizes` finds them. The m_n are
  rounded to 32 bits, so the n-th value is good to n·2⁻²² of the mean; where that is more than 0.1 %, several batches are
  told together. After a NaN it is NaN until the epoch ends.
  What cannot be taken apart (other metrics, batches of unknown size, the rest of an epoch in which a callback has begun the means
  anew, the logs of a `train_step` of the user's own) is recorded as Keras tells it, as `auto/reported/<name>`;
- `auto/lr` when it changes; `auto/step_time`, `auto/samples_per_second`, of short batches together where worker threads tell of them;
- every save of the model, by the user or a callback, as a checkpoint;
- as config what `_keras_config` finds at the beginning, `stopped` and `best` at the end; as a table the layers.

`model.evaluate` after the fit of that model, or inside of it, logs `test_loss`, … into its run, at the step that the fit has
reached; where an EarlyStopping has put the best weights back, at the step that those are of, as what is saved then;
without a fit into the run that is active; without one an AutoTrack among its own callbacks has a run for it.
`predict` records something, its time, only with an AutoTrack among its own callbacks. While `autolog()` is on,
`train_on_batch` outside of a fit is recorded too. Hooks of batches run in worker threads, in any order; nothing is asked of
model or optimizer in them, so no backend has to bring its state back.
Wrapped are methods of `Model`: callbacks of ours are added, in a new list, before and behind the user's own. `fit` is wrapped
below Keras's shell too (`_keras_calls.Inner`). A loop of the user's own around a `CallbackList` is recorded by the AutoTrack in
it; that it failed is known when the list goes without `on_train_end`, but not with which exception, unless that ends the
process.
"""

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any, ClassVar
from weakref import finalize, ref

from autotrack.callback import Adapter, AutoTrack, ByIdentity, Recording, Watch, first_of, open_run
from autotrack.errors import PickleRefused
from autotrack.integration import Integration
from autotrack.integrations._keras_calls import (
    Inner,
    arguments_of,
    callbacks_of,
    flat,
    inner_of,
    put_callbacks,
    with_hooks,
)  # fmt: skip
from autotrack.integrations._keras_checkpoints import Checkpoints
from autotrack.integrations._keras_config import config_of
from autotrack.integrations._keras_fits import Fit, Test
from autotrack.integrations._keras_loops import Loops
from autotrack.options import Options
from autotrack.patcher import Call
from autotrack.run import Run
from autotrack.training import begin_training

_TARGETS = ("keras.src.models.model",)
_SAVERS = (
    "keras.src.saving.saving_api",
    "keras.src.callbacks.model_checkpoint",
    "keras.src.callbacks.backup_and_restore",
)
_SUPPORTS = {"keras": ">=3.11,<3.16"}
_WORDS = {"epoch", "batch", "logs"}

End = Callable[[Call], None]


class KerasWatch(Watch):
    """Adds the callbacks that record to calls of `fit` and `evaluate`."""

    name: ClassVar[str] = "keras"
    targets: ClassVar[tuple[str, ...]] = (*_TARGETS, *_SAVERS)
    supports: ClassVar[dict[str, str]] = _SUPPORTS

    def __init__(self) -> None:
        super().__init__()
        self.fits: ByIdentity[Fit] = ByIdentity()
        self.inside: ByIdentity[bool] = ByIdentity()
        self.loops = Loops()
        self.checkpoints = Checkpoints(self.fits.get, self._fit_in, self.inside.get)
        self._begun: list[Fit] = []
        self._inner: Inner | None = None

    def _install(self, module: ModuleType) -> None:
        if module.__name__ in _SAVERS:
            self.checkpoints.install(self.patcher, module)
            return
        model = module.Model
        self._inner = inner_of(model, "fit")
        if self._inner is not None:
            self.patcher.observe(self._inner, "fit", self._begin_fit)
        self.patcher.observe(model, "fit", self._begin_fit)
        self.patcher.observe(model, "evaluate", self._begin_evaluate)
        self.patcher.observe(model, "predict", self._begin_predict)
        self.patcher.listen(model, "train_on_batch", self._trained_on_batch)
        self.patcher.listen(model, "test_on_batch", self._metrics_mixed)
        self.patcher.listen(model, "reset_metrics", self._metrics_mixed)

    def unfollow(self) -> None:
        """`autolog()` is off: so are the loops that it records."""
        self.loops.close()
        super().unfollow()

    def _begin_fit(self, call: Call) -> End | None:
        model, callbacks = call.args[0], callbacks_of("fit", call)
        options = self._options_for(callbacks)
        if self.inside.get(model):
            return None
        self.fits.drop(model)  # recorded or not: from now on its weights are those of this fit
        if options is None:
            return None
        self.loops.end(model)
        fit = Fit(options, arguments_of("fit", call), flat(callbacks), True, self.began)
        self.inside.set(model, True)
        put_callbacks(call, "fit", with_hooks(callbacks, model, fit.first, fit.last))

        def end(call: Call) -> None:
            self.inside.drop(model)
            fit.finish(call.error)

        return end

    def began(self, model: Any, fit: Fit) -> None:
        """The run of a fit has begun."""
        self.fits.set(model, fit)
        self._begun = [*(one for one in self._begun if one.active), fit]

    def _fit_in(self, run: Run) -> Fit | None:
        """The fit that goes on in a run."""
        return next((one for one in reversed(self._begun) if one.active and one.run is run), None)

    def _begin_evaluate(self, call: Call) -> End | None:
        fit = self.fits.get(call.args[0])
        if call.kwargs.get("_use_cached_eval_dataset"):
            return None if fit is None else _validation(fit)
        model, callbacks = call.args[0], callbacks_of("evaluate", call)
        options = self._options_for(callbacks)
        if self.inside.get(model) and (fit is None or not fit.active):
            return None
        if fit is None and options is None:
            return None
        test = Test(fit, lambda model: self._own_run(callbacks, model, "evaluate"))
        put_callbacks(call, "evaluate", with_hooks(callbacks, model, {}, test.hooks))
        return lambda call: test.finish(call.error)

    def _begin_predict(self, call: Call) -> End | None:
        model, callbacks = call.args[0], callbacks_of("predict", call)
        tracker = first_of(flat(callbacks))
        if tracker is None or not tracker.by_hand:
            return None
        fit, began = self.fits.get(model), perf_counter()
        known = fit.recording.run if fit is not None and fit.recording is not None else open_run()
        own = self._own_run(callbacks, model, "predict") if known is None else None

        def end(call: Call) -> None:
            values = {"auto/predict_time": perf_counter() - began} if call.error is None else {}
            if fit is not None and fit.recording is not None:
                fit.recording.log(values, fit.place["step"])
            elif values and (run := own.run if own is not None else known) is not None:
                run.log(values)
            if own is not None:
                own.finish(call.error)

        return end

    def _trained_on_batch(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        model = args[0]
        fit = self.fits.get(model)
        if fit is not None and fit.active:
            fit.own_batches = not fit.supervised
            fit.metrics_mixed()
            return
        self.fits.drop(model)
        if self.autolog is not None and not self.inside.get(model):
            x = args[1] if len(args) > 1 else kwargs.get("x")
            self.loops.batch(model, x, result, self.autolog.options)

    def _metrics_mixed(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        fit = self.fits.get(args[0])
        if fit is not None and fit.active:
            fit.metrics_mixed()

    def _own_run(self, callbacks: Any, model: Any, what: str) -> Recording | None:
        """A run for what is done without a training, where the user gave an AutoTrack for it."""
        tracker = first_of(flat(callbacks))
        options = self._options_for(callbacks)
        if tracker is None or not tracker.by_hand or options is None:
            return None
        config = config_of(model, {}, {}, flat(callbacks)) | {"evaluation": what}
        training = begin_training("keras", name=model.name, config=config, options=options, nested="child")
        return None if training is None else Recording(training, supervised=True)

    def _options_for(self, callbacks: Any) -> Options | None:
        """Those of the user's AutoTrack among the callbacks, else those of `autolog()`, else None."""
        tracker = first_of(flat(callbacks))
        if tracker is not None:
            return tracker.options_for("keras")
        return self.autolog.options if self.autolog is not None else None


class KerasCallback(Adapter):
    """What `AutoTrack` does at Keras's hooks: nothing inside of `Model.fit`, where callbacks of one fit record."""

    bases: ClassVar[tuple[tuple[str, str], ...]] = (("keras.src.callbacks.callback", "Callback"),)
    attributes: ClassVar[dict[str, Any]] = {"async_safe": True}
    watch: ClassVar[KerasWatch] = KerasWatch()

    def __init__(self, owner: AutoTrack) -> None:
        super().__init__(owner)
        self._model: Any = lambda: None
        self._params: Any = None
        self._fit: Fit | None = None

    @staticmethod
    def claims(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """(logs), (epoch, logs), (batch, logs=…)."""
        if kwargs and not kwargs.keys() <= _WORDS:
            return False
        return len(args) < 2 or isinstance(args[0], int)

    def set_model(self, model: Any) -> None:
        """Which model; a loop of the user's own is told from a `fit` when the training begins."""
        self._model = ref(model)

    def set_params(self, params: Any) -> None:
        """`epochs`, `steps`, `verbose`, in a loop of the user's own."""
        self._params = params

    def on_train_begin(self, logs: Any = None) -> None:
        """A training begins that no wrap sees."""
        model, options = self._model(), self.owner.options_for("keras")
        self._fit = None
        if model is None or options is None or self.watch.inside.get(model):
            return
        callbacks = _caller(self.owner)
        others = flat(callbacks)
        if callbacks is not None and first_of(others) is not self.owner:
            return
        self.watch.loops.end(model)
        self.watch.fits.drop(model)
        fit = self._fit = Fit(options, {}, others, False, self.watch.began)
        fit.set_model(model)
        fit.set_params(self._params)
        if callbacks is not None:
            finalize(callbacks, _lost, fit).atexit = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """As in `Fit`."""
        if self._fit is not None:
            self._fit.begin_epoch(epoch, logs)
            self._fit.read_rate(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """As in `Fit`."""
        if self._fit is not None:
            self._fit.begin_batch(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """As in `Fit`."""
        if self._fit is not None:
            self._fit.end_batch(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """As in `Fit`."""
        if self._fit is not None:
            self._fit.end_batches(epoch, logs)
            self._fit.end_epoch(epoch, logs)

    def on_train_end(self, logs: Any = None) -> None:
        """The loop went well."""
        if self._fit is not None:
            self._fit.finish()
            self._fit = None


def _validation(fit: Fit) -> End:
    """The validation of a fit begins: its values come with the epoch's."""
    fit.validating = True

    def end(call: Call) -> None:
        fit.validating = False

    return end


def _caller(owner: AutoTrack) -> Any:
    """The `CallbackList` that is calling."""
    frame = sys._getframe(1)
    for _ in range(6):
        if frame.f_back is None:
            break
        frame = frame.f_back
        caller = frame.f_locals.get("self")
        if any(one is owner for one in flat(getattr(caller, "callbacks", None))):
            return caller
    return None


def _lost(fit: Fit) -> None:
    fit.finish(RuntimeError("the training ended without a word to its callbacks: it raised, or was stopped"))


def load(path: Path, pickle: bool, **options: Any) -> Any:
    """The model of a `.keras` file, in Keras' safe mode unless `pickle` allows code (lambdas) in it."""
    keras = _on_a_backend_that_is_there()
    try:
        return keras.saving.load_model(path, **{"safe_mode": not pickle, **options})
    except ValueError as error:
        if pickle or "safe_mode" not in str(error):
            raise
        raise PickleRefused(path, "a Keras model with Python code in it") from error


def _on_a_backend_that_is_there() -> Any:
    """Keras; on another backend than it is set up for (TensorFlow, where nobody has chosen) if only another one is installed."""
    if "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ and find_spec(_backend()) is None:
        installed = next((name for name in ("torch", "jax", "tensorflow") if find_spec(name)), None)
        if installed is not None:
            os.environ["KERAS_BACKEND"] = installed
            try:
                return import_module("keras")
            finally:
                del os.environ["KERAS_BACKEND"]
    return import_module("keras")


def _backend() -> str:
    """What Keras' settings name (keras.src.backend.config: `keras.json` in KERAS_HOME, else in ~/.keras)."""
    place = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser()) / "keras.json"
    try:
        return str(json.loads(place.read_text(encoding="utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def load_hdf5(path: Path, pickle: bool, **options: Any) -> Any:
    """The arrays of an HDF5 file by their paths in it, as `.weights.h5` has them; `pickle` changes nothing there."""
    import h5py

    found: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, one: found.update({name: one[()]}) if isinstance(one, h5py.Dataset) else None
        )
    return found


class KerasIntegration(Integration):
    """`autolog()` for Keras."""

    name: ClassVar[str] = "keras"
    targets: ClassVar[tuple[str, ...]] = _TARGETS
    supports: ClassVar[dict[str, str]] = _SUPPORTS

    def _install(self, module: ModuleType) -> None:
        KerasCallback.watch.follow(self)

    def _uninstall(self) -> None:
        KerasCallback.watch.unfollow()
