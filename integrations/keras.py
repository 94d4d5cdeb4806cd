"""Keras 3, on any of its backends: `Model.fit` and `Model.evaluate`.

A run begins with the first epoch of a `fit`, and ends when `fit` returns or raises. Recorded are:

- at the end of each epoch what Keras puts into its own history (`loss`, `val_loss`, metrics, what other callbacks add to the
  logs), under the same names, and `epoch` (Keras's index). The step is the number of batches trained by then, so that these
  values and the next lie on one axis;
- `auto/loss` at each batch: the loss of that batch alone. Keras tells callbacks the mean of the epoch so far, m_n after n
  batches; the batch's own is (w_n·m_n − w_(n−1)·m_(n−1)) / (w_n − w_(n−1)), where w_n counts the samples. The counts are known
  for arrays and tensors; for datasets and generators all batches count alike, which is exact but for a shorter last one. The
  m_n are rounded to 32 bits, so the n-th value is good to about n·10⁻⁷ of the mean. After a NaN it is NaN until the epoch ends.
  With a `train_step` of the user's own the reported loss may be anything: it is recorded as it is, as `auto/reported_loss`;
- as config the optimizer's, the arguments of `compile` and `fit`, the model's name and size.

`model.evaluate` after the fit of that model logs `test_loss`, … into its run, at the step that the fit reached; without one,
into the run that is active, if any. `predict` records nothing. Hooks run in worker threads, in any order; nothing is
asked of model or optimizer in them, so no backend has to bring its state back.
Wrapped are `Model.fit` and `Model.evaluate`: a callback of ours is added, in a new list, behind the user's own.
The wraps come with the first AutoTrack, and `model.fit(…, callbacks=[autotrack.AutoTrack()])` has looked up `fit` before. That
call, and a loop of the user's own around a `CallbackList`, are recorded by the AutoTrack itself; that they failed is known
when their `CallbackList` goes without `on_train_end`, but not with which exception, unless that ends the process.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar
from weakref import finalize, ref

from autotrack.callback import Adapter, AutoTrack, ByIdentity, Recording, Watch, first_of, open_run
from autotrack.guard import guarded
from autotrack.integration import Integration
from autotrack.integrations._keras_checkpoints import Checkpoints
from autotrack.integrations._keras_config import config_of, has_own_train_step, is_setting
from autotrack.integrations._keras_losses import Losses, sizes_of
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


class Fit:
    """One `fit` of one model, told by hooks; its run begins with the first epoch."""

    def __init__(
        self, watch: "KerasWatch", options: Options, arguments: dict[str, Any], supervised: bool
    ) -> None:
        self.recording: Recording | None = None
        self.step = 0
        self.epoch = 0
        self._in_epoch = False
        self.losses = Losses(sizes_of(arguments))
        self._watch = watch
        self._options = options
        self._arguments = {name: value for name, value in arguments.items() if is_setting(value)}
        self._supervised = supervised
        self._model: Any = lambda: None
        self._params: dict[str, Any] = {}
        self._loss_name = "auto/loss"

    def set_model(self, model: Any) -> None:
        """Which model: kept weakly."""
        self._model = ref(model)

    def set_params(self, params: Any) -> None:
        """`epochs`, `steps`, `verbose`."""
        self._params = dict(params or {})

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """An epoch begins, and with the first one the run."""
        if self.recording is None:
            self._begin()
        self.losses.begin_epoch()
        self.epoch, self._in_epoch = epoch, True

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """A batch (or `steps_per_execution` of them) is done; in a worker thread, in any order."""
        mean = (logs or {}).get("loss")
        if self.recording is None or mean is None:
            return
        # A last execution that is shorter than `steps_per_execution` is reported as if it were whole.
        done = min(batch + 1, self._params.get("steps") or batch + 1)
        if self._loss_name != "auto/loss":
            self._log({self._loss_name: mean}, self.step + done)
            return
        for count, loss in self.losses.add(done, mean):
            self._log({"auto/loss": loss}, self.step + count)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Count batches where no loss is reported."""
        self.losses.begun = max(self.losses.begun, batch + 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """All batches of the epoch are done, and its validation."""
        for count, loss in self.losses.rest():
            self._log({"auto/loss": loss}, self.step + count)
        self.step += self.losses.batches()
        self._in_epoch = False
        self._log({**(logs or {}), "epoch": epoch}, self.step)

    def log_test(self, logs: Any) -> None:
        """What `evaluate` found after the fit."""
        self._log({f"test_{name}": value for name, value in (logs or {}).items()}, self.step)

    def finish(self, error: BaseException | None = None) -> None:
        """The fit has returned, or raised."""
        if self.recording is not None:
            self.recording.finish(error)

    @property
    def run(self) -> Run | None:
        """The run, once it has begun."""
        return None if self.recording is None else self.recording.run

    @property
    def place(self) -> dict[str, int]:
        """How many batches were trained so far, and the index of the last epoch."""
        return {"step": self.step + (self.losses.batches() if self._in_epoch else 0), "epoch": self.epoch}

    @property
    def active(self) -> bool:
        """Whether it goes on."""
        return self.recording is not None and self.recording.active

    def _begin(self) -> None:
        model = self._model()
        training = begin_training(
            "keras",
            name=getattr(model, "name", None),
            config=config_of(model, self._params | self._arguments),
            options=self._options,
            nested="child",
        )
        if training is None:
            return
        self.recording = Recording(training, self._supervised)
        self.losses.stride = max(1, int(getattr(model, "steps_per_execution", 1) or 1))
        if has_own_train_step(model):
            self._loss_name = "auto/reported_loss"
        self._watch.fits.set(model, self)

    def _log(self, values: dict[str, Any], step: int) -> None:
        if self.recording is not None:
            self.recording.log(values, step)


class Test:
    """One `evaluate`, told by hooks."""

    def __init__(self, fit: Fit | None) -> None:
        self._fit = fit

    def set_model(self, model: Any) -> None:
        """Nothing is kept of it."""

    def set_params(self, params: Any) -> None:
        """Nothing is kept of them."""

    def on_test_end(self, logs: Any = None) -> None:
        """The values are there."""
        if self._fit is not None:
            self._fit.log_test(logs)
        elif (run := open_run()) is not None:
            run.log({f"test_{name}": value for name, value in (logs or {}).items()})


class KerasWatch(Watch):
    """Adds the callback that records to calls of `fit` and `evaluate`."""

    name: ClassVar[str] = "keras"
    targets: ClassVar[tuple[str, ...]] = (*_TARGETS, *_SAVERS)
    supports: ClassVar[dict[str, str]] = _SUPPORTS

    def __init__(self) -> None:
        super().__init__()
        self.fits: ByIdentity[Fit] = ByIdentity()
        self.inside: ByIdentity[bool] = ByIdentity()
        self.checkpoints = Checkpoints(self.fits.get)

    def _install(self, module: ModuleType) -> None:
        if module.__name__ in _SAVERS:
            self.checkpoints.install(self.patcher, module)
            return
        for name, begin in (("fit", self._begin_fit), ("evaluate", self._begin_evaluate)):
            self.patcher.observe(module.Model, name, begin)

    def _begin_fit(self, call: Call) -> Callable[[Call], None] | None:
        model = call.args[0]
        arguments = _arguments("fit", call)
        options = self._options_for(arguments.get("callbacks"))
        if options is None or self.inside.get(model):
            return None
        fit = Fit(self, options, arguments, supervised=True)
        self.inside.set(model, True)
        _put_callbacks(call, "fit", _with(arguments.get("callbacks"), fit, model))

        def end(call: Call) -> None:
            self.inside.drop(model)
            fit.finish(call.error)

        return end

    def _begin_evaluate(self, call: Call) -> None:
        model = call.args[0]
        if self.inside.get(model):
            return  # the validation of a fit: its values come with the epoch's
        arguments = _arguments("evaluate", call)
        fit = self.fits.get(model)
        if fit is None and self._options_for(arguments.get("callbacks")) is None:
            return
        if fit is not None and fit.active:
            return
        _put_callbacks(call, "evaluate", _with(arguments.get("callbacks"), Test(fit), model))

    def _options_for(self, callbacks: Any) -> Options | None:
        """Those of the user's AutoTrack among the callbacks, else those of `autolog()`, else None."""
        tracker = first_of(_flat(callbacks))
        if tracker is not None:
            return tracker.options
        return self.autolog.options if self.autolog is not None else None


class KerasCallback(Adapter):
    """What `AutoTrack` does at Keras's hooks: nothing inside of `Model.fit`, where a callback of one fit records."""

    bases: ClassVar[tuple[tuple[str, str], ...]] = (("keras.src.callbacks.callback", "Callback"),)
    attributes: ClassVar[dict[str, Any]] = {"async_safe": True}
    watch: ClassVar[KerasWatch] = KerasWatch()

    def __init__(self, owner: AutoTrack) -> None:
        super().__init__(owner)
        self._model: Any = lambda: None
        self._params: Any = None
        self._fit: Fit | None = None

    @staticmethod
    def claims(args: tuple[Any, ...]) -> bool:
        """(logs), (epoch, logs), (batch, logs=…)."""
        return len(args) < 2 or isinstance(args[0], int)

    def set_model(self, model: Any) -> None:
        """Which model; a loop of the user's own is told from a `fit` when the training begins."""
        self._model = ref(model)

    def set_params(self, params: Any) -> None:
        """`epochs`, `steps`, `verbose`, in a loop of the user's own."""
        self._params = params

    def on_train_begin(self, logs: Any = None) -> None:
        """A training begins that no wrap sees."""
        model, options = self._model(), self.owner.options
        self._fit = None
        if model is None or options is None or self.watch.inside.get(model):
            return
        callbacks, arguments = _callers(self.owner, model)
        if callbacks is not None and first_of(callbacks.callbacks) is not self.owner:
            return
        fit = self._fit = Fit(self.watch, options, arguments, supervised=False)
        fit.set_model(model)
        fit.set_params(self._params)
        if callbacks is not None:
            finalize(callbacks, _lost, fit).atexit = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """As in `Fit`."""
        if self._fit is not None:
            self._fit.on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """As in `Fit`."""
        if self._fit is not None:
            self._fit.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """As in `Fit`."""
        if self._fit is not None:
            self._fit.on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """As in `Fit`."""
        if self._fit is not None:
            self._fit.on_epoch_end(epoch, logs)

    def on_train_end(self, logs: Any = None) -> None:
        """The loop went well."""
        if self._fit is not None:
            self._fit.finish()
            self._fit = None


def _callers(owner: AutoTrack, model: Any) -> tuple[Any, dict[str, Any]]:
    """The `CallbackList` that is calling, and the arguments of the `fit` that calls that, as far as they are on the stack."""
    frame = sys._getframe(1)
    callbacks: Any = None
    for _ in range(12):
        if frame.f_back is None:
            break
        frame = frame.f_back
        caller = frame.f_locals.get("self")
        if callbacks is None and any(one is owner for one in _flat(getattr(caller, "callbacks", None))):
            callbacks = caller
        if caller is model and frame.f_code.co_name == "fit":
            names = set(_parameters("fit")) - {"self", "callbacks"}
            found = {name: value for name, value in frame.f_locals.items() if name in names}
            return callbacks, found
    return callbacks, {}


def _lost(fit: Fit) -> None:
    fit.finish(RuntimeError("the training ended without a word to its callbacks: it raised, or was stopped"))


class KerasIntegration(Integration):
    """`autolog()` for Keras."""

    name: ClassVar[str] = "keras"
    targets: ClassVar[tuple[str, ...]] = _TARGETS
    supports: ClassVar[dict[str, str]] = _SUPPORTS

    def _install(self, module: ModuleType) -> None:
        KerasCallback.watch.follow(self)

    def _uninstall(self) -> None:
        KerasCallback.watch.unfollow()


_HOOKS = ("on_epoch_begin", "on_epoch_end", "on_train_batch_begin", "on_train_batch_end", "on_test_end")


def _listener(told: Any) -> Any:
    """A Keras callback that hands its hooks to `told`; what `told` does not want keeps Keras's default."""
    base = sys.modules["keras.src.callbacks.callback"].Callback
    methods: dict[str, Any] = {"async_safe": True}
    for name in ("set_model", "set_params", *_HOOKS):
        wanted = getattr(told, name, None)
        if wanted is not None:
            methods[name] = _guarded_hook(name, wanted)
    return type("AutoTrackListener", (base,), methods)()


def _guarded_hook(name: str, wanted: Callable[..., None]) -> Any:
    def hook(self: Any, *args: Any, **kwargs: Any) -> None:
        with guarded(f"the keras hook {name}"):
            wanted(*args, **kwargs)

    return hook


def _with(callbacks: Any, told: Any, model: Any) -> Any:
    """New callbacks that also tell `told`, behind the user's own, so that it sees what they add to the logs."""
    listener = _listener(told)
    if callbacks is None:
        return [listener]
    if isinstance(callbacks, list | tuple):
        return [*callbacks, listener]
    if isinstance(getattr(callbacks, "callbacks", None), list):
        import copy

        listener.set_model(model)
        listener.set_params(callbacks.params)
        copied = copy.copy(callbacks)
        copied.callbacks = [*callbacks.callbacks, listener]
        return copied
    # Only in a list or a tuple does Keras look for callbacks that cannot be called from other threads.
    return {"0": callbacks, "1": listener}


def _flat(callbacks: Any) -> list[Any]:
    inner = getattr(callbacks, "callbacks", callbacks)
    if isinstance(inner, list | tuple):
        return list(inner)
    return list(inner.values()) if isinstance(inner, dict) else [] if inner is None else [inner]


def _parameters(method: str) -> list[str]:
    import inspect

    return list(inspect.signature(getattr(sys.modules["keras.src.models.model"].Model, method)).parameters)


def _arguments(method: str, call: Call) -> dict[str, Any]:
    return dict(zip(_parameters(method), call.args, strict=False)) | call.kwargs


def _put_callbacks(call: Call, method: str, callbacks: Any) -> None:
    place = _parameters(method).index("callbacks")
    if place < len(call.args):
        call.args = (*call.args[:place], callbacks, *call.args[place + 1 :])
    else:
        call.kwargs = {**call.kwargs, "callbacks": callbacks}
