"""What is recorded of a `fit`, an `evaluate` and a `predict` of Keras: what their hooks are handed to."""

from collections.abc import Callable
from sys import maxsize
from time import perf_counter
from typing import Any
from weakref import ref

from autotrack import background
from autotrack.callback import Recording, open_run
from autotrack.guard import guarded, reason
from autotrack.integrations._keras_batches import Batches, is_coarse, means_of
from autotrack.integrations._keras_checkpoints import backup_of
from autotrack.integrations._keras_config import config_of, has_own_train_step, layers_of, optimizer_of
from autotrack.integrations._keras_end import outcome, restored
from autotrack.integrations._keras_loops import begins_anew, key_of
from autotrack.integrations._keras_sizes import counted, sizes_of
from autotrack.options import Options
from autotrack.run import Run
from autotrack.training import begin_training


class Fit:
    """One `fit` of one model, told by hooks; its run begins with the first epoch.

    The user's callbacks stand between `first` and `last`: what a callback of theirs adds to the logs of an epoch is seen,
    and a batch or an epoch in which one of them raises is not lost. `began` is called with the model when the run begins.
    """

    def __init__(
        self, options: Options, arguments: dict[str, Any], callbacks: list[Any], supervised: bool,
        began: Callable[[Any, "Fit"], None],
    ) -> None:  # fmt: skip
        self.recording: Recording | None = None
        self.step = 0
        """How many batches were trained before this epoch."""
        self.batches = Batches((), None)
        self.own_batches = False
        """Whether the batches of a loop of the user's own are trained by `train_on_batch`."""
        self.saved: dict[int, dict[str, Any]] = {}
        """By the id of a callback: what it saved last."""
        self.validating = False
        """Whether the validation at the end of an epoch goes on."""
        self._options = options
        self._arguments = arguments
        self._callbacks = callbacks
        self.supervised = supervised
        """Whether it is a call of `fit`; else a loop of the user's own around a `CallbackList`."""
        self._own_step = False
        self._unnamed = False
        """Whether the config has not named the optimizer of `compile`, because others may do its work."""
        self._began = began
        self._model: Any = lambda: None
        self._params: dict[str, Any] = {}
        self._steps: int = maxsize
        """How many batches an epoch has, where that is known."""
        self._index = self._epochs = 0
        self._ends: dict[int, int] = {}
        """By Keras's index of an epoch: the step at its end."""
        self._back: int | None = None
        """The epoch whose weights the model has again."""
        self._epoch_began = 0.0
        self._epoch: dict[str, Any] | None = None
        self._loss: Any = None

    @property
    def first(self) -> dict[str, Callable[..., None]]:
        """The hooks that come before those of the user's callbacks."""
        return {
            "set_model": self.set_model,
            "set_params": self.set_params,
            "on_epoch_begin": self.begin_epoch,
            "on_train_batch_end": self.end_batch,
            "on_epoch_end": self.end_batches,
        }

    @property
    def last(self) -> dict[str, Callable[..., None]]:
        """The hooks that come behind those of the user's callbacks."""
        return {
            "on_epoch_begin": self.read_rate,
            "on_train_batch_begin": self.begin_batch,
            "on_epoch_end": self.end_epoch,
        }

    @property
    def active(self) -> bool:
        """Whether it goes on."""
        return self.recording is not None and self.recording.active

    @property
    def run(self) -> Run | None:
        """Its run, once it has begun, also when it is over."""
        return None if self.recording is None else self.recording.run

    @property
    def place(self) -> dict[str, int]:
        """The step that it has reached, and Keras's index of the epoch: those that the weights of the model are of."""
        if self._back is not None and self._back in self._ends:
            return {"step": self._ends[self._back], "epoch": self._back}
        return {"step": self.step + self.batches.done, "epoch": self._index}

    def set_model(self, model: Any) -> None:
        """Which model: kept weakly."""
        self._model = ref(model)

    def set_params(self, params: Any) -> None:
        """`epochs`, `steps`, `verbose`."""
        self._params = dict(params or {})
        self._steps = self._params.get("steps") or maxsize

    def begin_epoch(self, epoch: int, logs: Any = None) -> None:
        """An epoch begins, and with the first one the run."""
        if self.recording is None:
            self._begin(epoch)
        self._index = epoch
        self._epoch_began = perf_counter()
        self.batches.begin_epoch()

    def read_rate(self, epoch: int, logs: Any = None) -> None:
        """Every callback has set what it sets at the beginning of an epoch."""
        if self.recording is None:
            return
        self.batches.rates.begin_epoch(self._model(), own_step=self._own_step)
        self.batches.rates.report(self.recording.run)

    def begin_batch(self, batch: int, logs: Any = None) -> None:
        """A batch (or `steps_per_execution` of them) is about to be trained; in the thread that trains."""
        rates = self.batches.rates
        rates.batch = batch
        if rates.variable is not None:
            rates.before(batch)

    def end_batch(self, batch: int, logs: Any = None) -> None:
        """A batch (or `steps_per_execution` of them) is done; perhaps in a worker thread, in any order."""
        done = batch + 1
        if (
            done > self._steps
        ):  # a last execution that is shorter than `steps_per_execution`, reported as if it were whole
            done = self._steps
        logs = logs or {}
        self._loss = logs.get("loss")
        if self.own_batches:
            own = begins_anew() and not self._own_step
            logs = {key_of(name, own): one for name, one in logs.items()}
        told = self.batches.add(done, logs)
        if (recording := self.recording) is not None:
            for count, values in told:
                recording.log_step(values, self.step + count)

    def end_batches(self, epoch: int, logs: Any = None) -> None:
        """All batches of the epoch are done, and its validation; the user's callbacks see its logs after us."""
        if self.recording is not None:
            for count, values in self.batches.rest():
                self.recording.log_step(values, self.step + count)
            self.recording.log(self.batches.times_of_epoch(), self.place["step"])
        self.step += self.batches.done
        self.batches.done = 0
        self._epochs, self._ends[epoch] = epoch + 1, self.step
        self._epoch = {} if logs is None else logs
        self._times = {"epoch": epoch, "auto/epoch_time": perf_counter() - self._epoch_began}

    def end_epoch(self, epoch: int = 0, logs: Any = None) -> None:
        """The user's callbacks have seen the logs of the epoch, and have added to them what they add."""
        if self._epoch is not None and self.recording is not None:
            values, self._epoch = {**self._epoch, **(logs or {}), **self._times}, None
            self.recording.log(values, self.step)
            if self._unnamed and not self.batches.rates.idle:
                self._unnamed = False
                self.recording.run.update_config(optimizer_of(self._model()), source="keras")

    def metrics_mixed(self) -> None:
        """The model's metrics have begun anew, or hold another batch: within an epoch that was a callback's doing."""
        if not self.validating:
            self.batches.mix()

    def log_test(self, logs: Any) -> None:
        """What `evaluate` found: behind the fit at the step that the weights are of, inside of it at the present one."""
        if self.recording is not None:
            found = {f"test_{name}": value for name, value in (logs or {}).items()}
            self.recording.log(found, self.place["step"])

    def finish(self, error: BaseException | None = None) -> None:
        """The fit has returned, or raised."""
        self.batches.rates.close(self.run)
        if not self.active or self.recording is None:
            return
        with guarded("recording how a fit ended"):
            self.end_epoch()
            model = self._model()
            told = bool(getattr(model, "stop_training", False))
            facts = outcome(
                self._callbacks,
                error,
                self.saved,
                epoch=self._epochs,
                epochs=self._params.get("epochs"),
                step=self.place["step"],
                loss=self._loss,
                told=told,
                within=self._index == self._epochs,
            )
            self.recording.run.update_config(facts, source="keras")
            self._back = restored(self._callbacks) if error is None else None
        self.recording.finish(error)
        self._callbacks, self._arguments = [], {}

    def _begin(self, epoch: int) -> None:
        model, arguments = self._model(), self._arguments
        config = config_of(model, arguments, self._params, self._callbacks)
        self._unnamed = "optimizers" in config and "optimizer" not in config
        training = begin_training(
            "keras",
            name=getattr(model, "name", None),
            config=config,
            options=self._options,
            nested="child",
            checkpoint=backup_of(self._callbacks),
        )
        self._arguments = {}
        if training is None:
            return
        self.recording = Recording(training, self.supervised)
        self._begin_batches(model, arguments)
        self.step = self._steps_before(model, epoch)
        self._epochs = epoch
        self._began(model, self)
        rows, _ = reason(layers_of, model)
        if rows:
            background.submit(training.run.log_table, "model_summary", rows)

    def _begin_batches(self, model: Any, arguments: dict[str, Any]) -> None:
        data = arguments.get("x")
        weights = [arguments.get(name) for name in ("sample_weight", "class_weight")]
        weighted = any(one is not None for one in weights) or not (
            hasattr(data, "shape") or isinstance(data, list)
        )
        self._own_step = has_own_train_step(model)
        alone = self._own_step or not self.supervised or is_coarse()
        means = [] if alone else reason(means_of, model, weighted)[0] or []
        sizes = sizes_of(arguments)
        rows = reason(counted, self._steps)[0] if sizes is None and self.supervised else None
        self.batches = Batches(means, sizes, rows, alone, self._due)
        self.batches.stride = max(1, int(getattr(model, "steps_per_execution", 1) or 1))

    def _due(self, count: int) -> bool:
        """Whether the values that come after so many batches of the epoch are recorded."""
        return self.recording is not None and self.recording.due(self.step + count)

    def _steps_before(self, model: Any, epoch: int) -> int:
        """The batches of the epochs that `initial_epoch`, or a backup that was restored, leaves out."""
        if epoch == 0:
            return 0
        steps = self._params.get("steps")
        if isinstance(steps, int):
            return epoch * steps
        return reason(lambda: int(model.optimizer.iterations))[0] or 0


class Test:
    """One `evaluate` outside of a fit, told by hooks; `begin` opens a run for it where there is none."""

    def __init__(self, fit: Fit | None, begin: Callable[[Any], Recording | None]) -> None:
        self._fit = fit
        self._begin = begin
        self._model: Any = lambda: None
        self._own: Recording | None = None

    @property
    def hooks(self) -> dict[str, Callable[..., None]]:
        """Its hooks."""
        return {"set_model": self.set_model, "on_test_begin": self.begin, "on_test_end": self.end}

    def set_model(self, model: Any) -> None:
        """Which model: kept weakly."""
        self._model = ref(model)

    def begin(self, logs: Any = None) -> None:
        """The data are there, and the model is built."""
        if self._fit is None and open_run() is None:
            self._own = self._begin(self._model())

    def end(self, logs: Any = None) -> None:
        """The values are there."""
        if self._fit is not None:
            self._fit.log_test(logs)
        elif (run := self._own.run if self._own is not None else open_run()) is not None:
            run.log({f"test_{name}": value for name, value in (logs or {}).items()})

    def finish(self, error: BaseException | None) -> None:
        """`evaluate` has returned, or raised."""
        if self._own is not None:
            self._own.finish(error)
