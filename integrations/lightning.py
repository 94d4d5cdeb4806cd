"""Lightning, as `lightning.pytorch` and as `pytorch_lightning`, and its Fabric.

A run begins at `on_train_start`, so that a sanity check, `fast_dev_run`, or a fit that has nothing left to train opens none;
it ends when `Trainer.fit` returns or raises. Recorded are:

- what `self.log` was given with `on_step`, at each batch, and the epoch values of training and validation, under the names
  and steps that Lightning gives its own loggers (`loss_step`, `loss_epoch`, `val_loss/dataloader_idx_1`; the step counts
  optimizer steps from 0, that of a validation batch counts validation batches), also with `logger=False`;
- `epoch` beside the epoch values, and what a LearningRateMonitor gives the loggers;
- at each optimizer step `auto/loss` (the mean of what `training_step` returned, over the accumulated batches), the learning
  rates that have changed (`auto/lr`, `auto/lr/<group>`), and the times (`auto/step_time`, `auto/data_time`,
  `auto/samples_per_second`); at each epoch's end `auto/epoch_time`;
- as config the hyper-parameters of module and datamodule, the facts of trainer, optimizers, model, callbacks and data, and at
  the end under `stopped` what ended the training; as a table the parts of the model.

`trainer.validate` and `trainer.test` log into the run of the module's last fit, at the step that it has reached, also from
another trainer; where `ckpt_path` names a checkpoint that the run wrote, at that one's step. What it names is an input of the run.
Without a fit they log into the run that is open, and a trainer with an AutoTrack of its own has a run for them if there is none.
Nothing is computed for it: the values are taken from Lightning's result collection just after Lightning has filled it,
so no rank waits for another, and no metric is computed or reset at another time than without us. Only global rank 0 records;
under `ddp_spawn` and `ddp_fork` the parent opens the run and rank 0 writes to it; of an evaluation rank 0 writes what its batches
logged, and the parent the epoch values that Lightning brings back to it.
"""

import sys
from collections.abc import Callable
from functools import partial, wraps
from types import ModuleType
from typing import Any, ClassVar

from autotrack import background, session
from autotrack.callback import Adapter, AutoTrack, ByIdentity, Watch, first_of
from autotrack.guard import guarded
from autotrack.integration import Integration
from autotrack.integrations._lightning_checkpoints import Checkpoints, load
from autotrack.integrations._lightning_evaluations import Evaluation, Evaluations
from autotrack.integrations._lightning_fabric import Fabrics
from autotrack.integrations._lightning_loaded import LoadedByCalls
from autotrack.integrations._lightning_runs import Fit, begin_recording, launches, steps_of
from autotrack.integrations._lightning_steps import Window
from autotrack.integrations._lightning_values import epoch_values, plain
from autotrack.integrations._lightning_writes import Writes
from autotrack.patcher import Call
from autotrack.process import is_worker
from autotrack.run import Run
from autotrack.trained import trained

_TARGETS = (
    "lightning.pytorch.trainer.trainer",
    "pytorch_lightning.trainer.trainer",
    "lightning.fabric.fabric",
)
_LOADERS = ("lightning.pytorch.core.saving", "pytorch_lightning.core.saving")
_SUPPORTS = {"lightning": ">=2.5,<2.7", "pytorch-lightning": ">=2.5,<2.7"}


class LightningWatch(Watch):
    """Sees fits and evaluations begin and end, and what Lightning hands to its loggers."""

    name: ClassVar[str] = "lightning"
    targets: ClassVar[tuple[str, ...]] = (*_TARGETS, *_LOADERS)
    supports: ClassVar[dict[str, str]] = _SUPPORTS

    def __init__(self) -> None:
        super().__init__()
        self.fits: ByIdentity[Fit] = ByIdentity()
        self.latest: Fit | None = None
        """The fit that began last, while it goes on: what is called at every step looks here first."""
        self.modules: ByIdentity[Fit] = ByIdentity()
        self.inside: ByIdentity[bool] = ByIdentity()
        self.writes = Writes()
        self.fabrics = Fabrics(self, self.writes)
        self.checkpoints = Checkpoints(self.run_of, self.writes)
        self.loaded = LoadedByCalls()
        self.evaluations = Evaluations(self.fits, self.modules, self.loaded)

    def _install(self, module: ModuleType) -> None:
        self.writes.install(self.patcher)
        if module.__name__ in _LOADERS:
            self.patcher.observe(module, "_load_from_checkpoint", load)
            return
        if "Trainer" not in vars(module):
            self.fabrics.install(self.patcher, module)
            return
        top = module.__name__.rpartition(".trainer.trainer")[0]
        self.patcher.observe(module.Trainer, "fit", self.begin_fit)
        for name in ("validate", "test", "predict"):
            self.patcher.observe(module.Trainer, name, partial(self.begin, name))
        connector = vars(module)["_LoggerConnector"]
        self.patcher.listen(connector, "update_train_step_metrics", self.batch_end)
        for kind, name in (("automatic", "_AutomaticOptimization"), ("manual", "_ManualOptimization")):
            loop = vars(sys.modules[f"{top}.loops.optimization.{kind}"])[name]
            self.patcher.listen(loop, "run", self.optimized)
        self.patcher.listen(connector, "on_epoch_end", self.epoch_end)
        self.patcher.listen(connector, "update_eval_step_metrics", self.eval_batch_end)
        epoch_loop = sys.modules[f"{top}.loops.training_epoch_loop"]._TrainingEpochLoop
        self.patcher.replace(epoch_loop, "_on_before_fetch", self.timed(Window.fetch))
        self.patcher.replace(epoch_loop, "_on_after_fetch", self.timed(Window.fetched))
        strategy = sys.modules[f"{top}.strategies.strategy"].Strategy
        self.patcher.listen(strategy, "optimizer_step", self.stepped)
        saver = sys.modules[f"{top}.callbacks.model_checkpoint"].ModelCheckpoint
        self.checkpoints.install(self.patcher, module.Trainer, saver, strategy)
        restorer = sys.modules[f"{top}.trainer.connectors.checkpoint_connector"]._CheckpointConnector
        self.loaded.install(self.patcher, restorer)
        monitor = sys.modules.get(f"{top}.callbacks.lr_monitor")
        if monitor is not None:
            self.patcher.listen(monitor.LearningRateMonitor, "_extract_stats", self.rates_read)
        fabric = sys.modules.get("lightning_fabric.fabric")
        if top == "pytorch_lightning" and fabric is not None:
            self.fabrics.install(self.patcher, fabric)

    def enter(self, call: Call) -> Callable[[Call], None] | None:
        """While autolog is on, a trainer without an AutoTrack has one for the time of the call, before its own callbacks."""
        trainer = call.args[0]
        if self.inside.get(trainer):
            return None
        tracker = first_of(trainer.callbacks)
        added = AutoTrack.for_autolog(self.autolog) if tracker is None and self.autolog is not None else None
        if added is not None:
            trainer.callbacks.insert(0, added)
        self.inside.set(trainer, True)
        self.loaded.forget(trainer)

        def end(call: Call) -> None:
            self.inside.drop(trainer)
            if added is not None:
                trainer.callbacks[:] = [each for each in trainer.callbacks if each is not added]
            with guarded("noting what another thread has saved"):
                self.writes.settle(trainer.strategy)
            fit = self.fits.get(trainer)
            if fit is not None:
                fit.finish(call.error)
            self.evaluations.end(trainer, call.error)
            if self.latest is not None and not self.latest.active:
                self.latest = None

        return end

    def begin(self, what: str, call: Call) -> Callable[[Call], None] | None:
        """`validate`, `test` or `predict`."""
        trainer = call.args[0]
        end = self.enter(call)
        tracker = first_of(trainer.callbacks)
        if end is None or tracker is None or trainer.fast_dev_run:
            return end
        record = self.evaluations.begin(what, call, tracker)
        if record is None:
            return end

        def record_and_end(call: Call) -> None:
            record(call)
            end(call)

        return record_and_end

    def begin_fit(self, call: Call) -> Callable[[Call], None] | None:
        """As `enter`; of a fit in processes that this one spawns or forks only what they write is left, so its run begins here."""
        trainer = call.args[0]
        end, before = self.enter(call), self.fits.get(trainer)
        tracker = first_of(trainer.callbacks)
        if end is None or tracker is None or trainer.fast_dev_run:
            return end
        if launches(trainer):
            self.record(trainer, (*call.args[1:], call.kwargs.get("model"))[0], tracker, launched=True)

        def note_and_end(call: Call) -> None:
            has_trained = self.fits.get(trainer) is not before
            with guarded("looking up the run of a fit that had nothing left to train"):
                self.evaluations.fitted(trainer, None if has_trained or call.error is not None else tracker)
            end(call)

        return note_and_end

    def record(self, trainer: Any, module: Any, tracker: AutoTrack, launched: bool = False) -> None:
        """A training begins, here or in processes that are launched for it."""
        supervised, loaded = self.inside.get(trainer) is not None, self.loaded.of(trainer)
        fit = begin_recording(
            trainer, module, tracker, supervised, loaded.path if loaded is not None else None
        )
        if fit is not None:
            if launched:
                fit.launch()
            self.fits.set(trainer, fit)
            self.modules.set(module, fit)
            trained(module, fit.run)
            self.latest = fit

    def optimized(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """`run(…, hook_kwargs)` of the loop around `training_step`: keep the batch's loss; `batch_end` records it."""
        trainer, fit = args[0].trainer, self.latest
        if fit is None or fit.trainer is not trainer:
            fit = self.fits.get(trainer)
        if fit is not None and fit.active:
            fit.take_output(trainer, result, kwargs["kwargs"] if "kwargs" in kwargs else args[-1])

    def batch_end(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Everything of a batch of training is logged."""
        trainer = args[0].trainer
        fit = self._active(trainer)
        if fit is not None:
            fit.record_batch(trainer)

    def eval_batch_end(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Lightning has logged a batch of validation or test; its step counts them."""
        trainer = args[0].trainer
        target = self._target(trainer)
        if target is not None:
            target.log(target.values.new(trainer._results), kwargs.get("step", args[-1]))

    def epoch_end(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Lightning has computed the values of an epoch of training, validation or test."""
        trainer = args[0].trainer
        target = self._target(trainer)
        if isinstance(target, Evaluation) and launches(trainer):
            target.note()  # what it gives is recorded by the process that has launched this one
        elif target is not None:
            target.log_epoch(trainer, epoch_values(trainer._results))

    def rates_read(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """A LearningRateMonitor has read what it gives the loggers."""
        trainer = kwargs.get("trainer", args[1] if len(args) > 1 else None)
        fit = self._active(trainer)
        if fit is not None and result:
            fit.log({name: plain(value) for name, value in result.items()}, steps_of(trainer))

    def stepped(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """An optimizer has stepped with the rates that it has now: what changes them does so before or after."""
        fit = self.latest
        if fit is None or fit.strategy is not args[0]:
            fit = self.modules.get(args[0].lightning_module)
        if fit is not None and fit.active:
            fit.rates.read(fit.trainer, args[1])

    def timed(self, tell: Callable[[Window], None]) -> Callable[[Any], Any]:
        """Makes what stands for a function that Lightning calls before or after it asks the data loader for a batch."""
        patcher = self.patcher

        def make(original: Any) -> Any:
            @wraps(original)
            def told(loop: Any) -> Any:
                if patcher.live:
                    fit = self.latest
                    if fit is None or fit.trainer is not loop.trainer:
                        fit = self.fits.get(loop.trainer)
                    if fit is not None:
                        tell(fit.window)
                return original(loop)

            return told

        return make

    def run_of(self, trainer: Any) -> Run | None:
        """The run of the trainer's last fit."""
        fit = self.fits.get(trainer)
        return None if fit is None else fit.run

    def _active(self, trainer: Any) -> Fit | None:
        """The recording of a fit that goes on; None while a search has put its own callbacks in the place of the trainer's, and
        in a process forked for another rank, which has the parent's recording too.
        """
        fit = self.latest
        if fit is None or fit.trainer is not trainer:
            fit = self.fits.get(trainer)
        # `trainer.is_global_zero` asks its strategy as well, through two calls more.
        if fit is None or not fit.active or not fit.strategy.is_global_zero:
            return None
        for callback in trainer.callbacks:
            if callback is fit.tracker:
                return fit
        fit.window.lose()
        return None

    def _target(self, trainer: Any) -> Fit | Evaluation | None:
        """Where what the trainer computes now belongs."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return None
        if trainer.state.fn == "fit":
            return self._active(trainer)
        tracker = first_of(trainer.callbacks)
        if tracker is None or trainer.fast_dev_run:
            return None
        return self.evaluations.of(trainer, tracker)


class LightningCallback(Adapter):
    """What `AutoTrack` does at Lightning's hooks."""

    bases: ClassVar[tuple[tuple[str, str], ...]] = (
        ("lightning.pytorch.callbacks.callback", "Callback"),
        ("pytorch_lightning.callbacks.callback", "Callback"),
    )
    passes_over: ClassVar[tuple[str, ...]] = (
        "on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_before_backward", "on_after_backward",
        "on_before_optimizer_step", "on_validation_batch_start", "on_validation_batch_end", "on_test_batch_start",
        "on_test_batch_end", "on_predict_batch_start", "on_predict_batch_end",
    )  # fmt: skip
    caller: ClassVar[str] = "_call_callback_hooks"
    watch: ClassVar[LightningWatch] = LightningWatch()

    @staticmethod
    def claims(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """(trainer, module, …): two, five or six arguments where others have the same hook, three where it ends in a stage."""
        if "pl_module" in kwargs:
            return True
        if len(args) == 3:
            return isinstance(args[2], str)
        if len(args) == 2:  # scikit-learn's (estimator, context)
            return not isinstance(args[0], int) and not hasattr(args[1], "root_uuid")
        return len(args) > 3 and not isinstance(args[0], int)

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """The training begins, behind sanity check and resuming."""
        if trainer.fast_dev_run or not trainer.is_global_zero:
            return
        known = self.watch.fits.get(trainer)
        if known is not None and known.active:
            if (
                known.launched and known.tracker is self.owner
            ):  # a process that was forked has the parent's recording
                known.describe_again(trainer, module)
        elif first_of(trainer.callbacks) is self.owner:
            self.watch.record(trainer, module, self.owner)

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        """An epoch begins."""
        fit = self._fit(trainer)
        if fit is not None:
            fit.begin_epoch()

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        """The time of a validation is not that of a step."""
        fit = self._fit(trainer)
        if fit is not None:
            fit.window.pause()

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Steps are timed again."""
        fit = self._fit(trainer)
        if fit is not None:
            fit.window.resume()

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """The training has come to its end."""
        fit = self._fit(trainer)
        if fit is not None:
            fit.tell_stop(trainer)

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Remember what went wrong: of a Ctrl-C, `fit` itself only lets a SystemExit out."""
        self._let_go(trainer)
        evaluation = self.watch.evaluations.get(trainer)
        if evaluation is not None:
            evaluation.error = exception
        fit = self._fit(trainer)
        if fit is None:
            return
        fit.error = exception
        if trainer.training:
            fit.record_batch(trainer)
        fit.tell_stop(trainer, exception)
        if not fit.supervised:
            fit.finish(exception)
            self.watch.latest = None

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        """The last hook of a fit that went well."""
        self._let_go(trainer)
        fit = self._fit(trainer)
        if fit is not None and stage == "fit" and not fit.supervised:
            fit.finish()
            self.watch.latest = None

    def _fit(self, trainer: Any) -> Fit | None:
        fit = self.watch.fits.get(trainer)
        if fit is None or not fit.active or fit.tracker is not self.owner or not trainer.is_global_zero:
            return None
        return fit

    def _let_go(self, trainer: Any) -> None:
        """Lightning hangs the module's `log` on every callback; ours may outlive the module. A process that was launched for this
        ends without a word: what it has logged is read before.
        """
        vars(self.owner).pop("log", None)
        vars(self.owner).pop("log_dict", None)
        if is_worker() and launches(trainer):
            background.drain(session.patience())


class LightningIntegration(Integration):
    """`autolog()` for Lightning."""

    name: ClassVar[str] = "lightning"
    targets: ClassVar[tuple[str, ...]] = _TARGETS
    supports: ClassVar[dict[str, str]] = _SUPPORTS

    def _install(self, module: ModuleType) -> None:
        LightningCallback.watch.follow(self)

    def _uninstall(self) -> None:
        LightningCallback.watch.unfollow()
