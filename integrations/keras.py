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
A training loop of the user's own around a `CallbackList` that holds an AutoTrack is recorded too, but for how it fails.
"""

import sys
from collections.abc import Callable
from threading import Lock
from types import ModuleType
from typing import Any, ClassVar
from weakref import ref

from autotrack.callback import Adapter, AutoTrack, ByIdentity, Recording, Watch, first_of
from autotrack.guard import guarded, reason
from autotrack.integration import Integration
from autotrack.patcher import Call
from autotrack.session import active_run
from autotrack.training import Options, begin_training

_TARGETS = ("keras.src.models.model",)
_SUPPORTS = {"keras": ">=3.6,<4"}


class Fit:
    """One `fit` of one model, told by hooks; its run begins with the first epoch."""

    def __init__(self, watch: "KerasWatch", options: Options, arguments: dict[str, Any], supervised: bool) -> None:
        self.recording: Recording | None = None
        self.step = 0
        self.losses = Losses(_sizes(arguments))
        self._watch = watch
        self._options = options
        self._arguments = {name: value for name, value in arguments.items() if _is_setting(value)}
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

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """A batch (or `steps_per_execution` of them) is done; in a worker thread, in any order."""
        mean = (logs or {}).get("loss")
        if self.recording is None or mean is None:
            return
        if self._loss_name != "auto/loss":
            self._log({self._loss_name: mean}, self.step + batch + 1)
            return
        for count, loss in self.losses.add(batch + 1, mean):
            self._log({"auto/loss": loss}, self.step + count)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Count batches where no loss is reported."""
        self.losses.begun = max(self.losses.begun, batch + 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """All batches of the epoch are done, and its validation."""
        for count, loss in self.losses.rest():
            self._log({"auto/loss": loss}, self.step + count)
        self.step += self.losses.batches()
        self._log({**(logs or {}), "epoch": epoch}, self.step)

    def log_test(self, logs: Any) -> None:
        """What `evaluate` found after the fit."""
        self._log({f"test_{name}": value for name, value in (logs or {}).items()}, self.step)

    def finish(self, error: BaseException | None = None) -> None:
        """The fit has returned, or raised."""
        if self.recording is not None:
            self.recording.finish(error)

    @property
    def active(self) -> bool:
        """Whether it goes on."""
        return self.recording is not None and self.recording.active

    def _begin(self) -> None:
        model = self._model()
        training = begin_training(
            "keras",
            name=getattr(model, "name", None),
            config=_config(model, self._params | self._arguments),
            options=self._options,
            nested="child",
        )
        if training is None:
            return
        self.recording = Recording(training, self._supervised)
        self.losses.stride = max(1, int(getattr(model, "steps_per_execution", 1) or 1))
        if _has_own_train_step(model):
            self._loss_name = "auto/reported_loss"
        self._watch.fits.set(model, self)

    def _log(self, values: dict[str, Any], step: int) -> None:
        if self.recording is not None:
            self.recording.log(values, step)


class Losses:
    """The losses of single batches, out of running means that come in any order."""

    def __init__(self, sizes: tuple[int, int] | None) -> None:
        self.stride = 1
        self.begun = 0
        self._sizes = sizes
        self._lock = Lock()
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Keras begins a new mean."""
        self.begun = self._done = 0
        self._mean = 0.0
        self._waiting: dict[int, float] = {}

    def batches(self) -> int:
        """How many batches the epoch had."""
        return max(self.begun, self._done)

    def add(self, count: int, mean: float) -> list[tuple[int, float]]:
        """The mean after `count` batches is known; (count, loss) of what follows without a gap."""
        with self._lock:
            self._waiting[count] = mean
            found = []
            while (after := self._done + self.stride) in self._waiting:
                found.append(self._take(after))
            return found

    def rest(self) -> list[tuple[int, float]]:
        """(count, loss) of what stands behind a gap: the end of an epoch whose last execution was shorter."""
        with self._lock:
            return [self._take(count) for count in sorted(self._waiting)]

    def _take(self, count: int) -> tuple[int, float]:
        before, after = self._weight(self._done), self._weight(count)
        mean = self._waiting.pop(count)
        loss = mean if before == 0 else (after * mean - before * self._mean) / (after - before)
        self._done, self._mean = count, mean
        return count, loss

    def _weight(self, count: int) -> int:
        if self._sizes is None:
            return count
        batch, samples = self._sizes
        return min(count * batch, samples)


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
        elif (run := active_run()) is not None:
            run.log({f"test_{name}": value for name, value in (logs or {}).items()})


class KerasWatch(Watch):
    """Adds the callback that records to calls of `fit` and `evaluate`."""

    name: ClassVar[str] = "keras"
    targets: ClassVar[tuple[str, ...]] = _TARGETS
    supports: ClassVar[dict[str, str]] = _SUPPORTS

    def __init__(self) -> None:
        super().__init__()
        self.fits: ByIdentity[Fit] = ByIdentity()
        self.inside: ByIdentity[bool] = ByIdentity()

    def _install(self, module: ModuleType) -> None:
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
        """A loop of the user's own begins."""
        model, options = self._model(), self.owner.options
        self._fit = None
        if model is not None and options is not None and not self.watch.inside.get(model):
            self._fit = Fit(self.watch, options, {}, supervised=False)
            self._fit.set_model(model)
            self._fit.set_params(self._params)

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


def _is_setting(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _sizes(arguments: dict[str, Any]) -> tuple[int, int] | None:
    """(batch size, samples) of a fit on arrays or tensors; None where Keras is given something that makes batches."""
    x: Any = arguments.get("x")
    while isinstance(x, list | tuple | dict) and x:
        x = next(iter(x.values() if isinstance(x, dict) else x))
    shape = getattr(x, "shape", None)
    if not shape or arguments.get("steps_per_epoch") is not None:
        return None
    samples, split = int(shape[0]), arguments.get("validation_split") or 0.0
    if split and arguments.get("validation_data") is None:
        samples = int(samples * (1.0 - split))
    return int(arguments.get("batch_size") or 32), samples


def _has_own_train_step(model: Any) -> bool:
    owner = next((kind for kind in type(model).__mro__ if "train_step" in vars(kind)), None)
    return owner is not None and not owner.__module__.startswith("keras.src.")


def _config(model: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    optimizer: Any = getattr(model, "optimizer", None)
    keras = sys.modules.get("keras.src.backend.config")
    config: dict[str, Any] = {
        "model": {"class": type(model).__name__, "name": getattr(model, "name", None)} | _size(model),
        "optimizer": {"class": type(optimizer).__name__},
        "compile": _compiled(model),
        "fit": arguments,
    }
    own, _ = reason(optimizer.get_config) if optimizer is not None else (None, None)
    config["optimizer"] |= own or {}
    if keras is not None:
        config["backend"] = keras.backend()
    return config


def _size(model: Any) -> dict[str, Any]:
    def count(weights: Any) -> int:
        total = 0
        for weight in weights:
            size = 1
            for length in weight.shape:
                size *= int(length)
            total += size
        return total

    sizes, _ = reason(lambda: (count(model.weights), count(model.trainable_weights)))
    return {"parameters": sizes[0], "trainable_parameters": sizes[1]} if sizes else {}


def _compiled(model: Any) -> dict[str, Any]:
    """What `compile` was given, without the optimizer. Keras's own serialisation warns about lambdas, so it is not asked."""
    given: Any = getattr(getattr(model, "_compile_config", None), "config", None)
    if not isinstance(given, dict):
        return {}
    return {name: _told(value) for name, value in given.items() if name != "optimizer"}


def _told(value: Any) -> Any:
    """Names for objects: a loss or a metric by its class, a function by its name."""
    if _is_setting(value):
        return value
    if isinstance(value, list | tuple):
        return [_told(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _told(item) for key, item in value.items()}
    return getattr(value, "__name__", None) or type(value).__name__
