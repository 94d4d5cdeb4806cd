"""Lightning, as `lightning.pytorch` and as `pytorch_lightning`.

A run begins at `on_train_start`, so that a sanity check, `fast_dev_run`, or a fit that has nothing left to train opens none;
it ends when `Trainer.fit` returns or raises. Recorded are:

- what `self.log` was given with `on_step`, at each batch, and the epoch values of training and validation, under the names
  and steps that Lightning gives its own loggers (`loss_step`, `loss_epoch`, `val_loss/dataloader_idx_1`; the step counts
  optimizer steps from 0, that of a validation batch counts validation batches), also with `logger=False`;
- `auto/loss` at each optimizer step: the mean of what `training_step` returned, over the accumulated batches;
- `epoch` beside the epoch values;
- as config the hyper-parameters of the module and the datamodule, and the facts of trainer, optimizers and model.

`trainer.validate` and `trainer.test` after the fit log into its run; without one, into the run that is active, if any.
Nothing is computed for it: the values are taken from Lightning's result collection just after Lightning has filled it,
so no rank waits for another, and no metric is computed or reset at another time than without us. Only global rank 0 records;
under `ddp_spawn` and `ddp_fork` the parent opens the run and rank 0 writes to it.
Wrapped are `Trainer.fit` and three methods of `_LoggerConnector`.
"""

from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, ClassVar

from autotrack.callback import Adapter, AutoTrack, ByIdentity, Recording, Watch, first_of, open_run
from autotrack.guard import reason
from autotrack.integration import Integration
from autotrack.opening import attach
from autotrack.options import Options
from autotrack.patcher import Call
from autotrack.process import is_worker
from autotrack.run import Run
from autotrack.training import begin_training

_TARGETS = ("lightning.pytorch.trainer.trainer", "pytorch_lightning.trainer.trainer")
_SUPPORTS = {"lightning": ">=2.5,<2.7", "pytorch-lightning": ">=2.5,<2.7"}

_TRAINER_FACTS = (
    "max_epochs", "min_epochs", "max_steps", "min_steps", "num_training_batches", "accumulate_grad_batches",
    "gradient_clip_val", "gradient_clip_algorithm", "precision", "num_devices", "num_nodes", "world_size",
    "check_val_every_n_epoch", "val_check_interval", "log_every_n_steps", "overfit_batches",
    "limit_train_batches", "limit_val_batches", "reload_dataloaders_every_n_epochs", "default_root_dir",
)  # fmt: skip


class Fit(Recording):
    """One `Trainer.fit` that trains."""

    seen: dict[int, Any]
    """The step values that are recorded already, by metric: Lightning keeps the old ones beside the new."""
    loss: Any = None
    batches: int = 0


class _Elsewhere:
    """The part of a training that another process began and will end."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def finish(self, error: BaseException | None = None) -> None:
        """The other process does that."""


class LightningWatch(Watch):
    """Sees fits end, and what Lightning hands to its loggers."""

    name: ClassVar[str] = "lightning"
    targets: ClassVar[tuple[str, ...]] = _TARGETS
    supports: ClassVar[dict[str, str]] = _SUPPORTS

    def __init__(self) -> None:
        super().__init__()
        self.fits: ByIdentity[Fit] = ByIdentity()
        self.inside: ByIdentity[AutoTrack] = ByIdentity()

    def _install(self, module: ModuleType) -> None:
        connector = vars(module)["_LoggerConnector"]
        self.patcher.observe(module.Trainer, "fit", self.begin_fit)
        self.patcher.observe(connector, "on_batch_end", lambda _: self.batch_end)
        self.patcher.observe(connector, "on_epoch_end", lambda _: self.epoch_end)
        self.patcher.observe(connector, "update_eval_step_metrics", lambda _: self.eval_batch_end)

    def begin_fit(self, call: Call) -> Callable[[Call], None] | None:
        """While autolog is on, a trainer without an AutoTrack has one for the time of the fit, before its own callbacks."""
        trainer = call.args[0]
        tracker = first_of(trainer.callbacks)
        added = tracker is None and self.autolog is not None
        if tracker is None and self.autolog is not None:
            tracker = AutoTrack.for_autolog(self.autolog)
            trainer.callbacks.insert(0, tracker)
        if tracker is None or self.inside.get(trainer) is not None:
            return None
        self.inside.set(trainer, tracker)
        if _spawns(trainer) and tracker.options is not None and not trainer.fast_dev_run:
            self.begin(trainer, (*call.args[1:], call.kwargs.get("model"))[0], tracker.options)

        def end(call: Call) -> None:
            self.inside.drop(trainer)
            if added:
                trainer.callbacks[:] = [callback for callback in trainer.callbacks if callback is not tracker]
            fit = self.fits.get(trainer)
            if fit is not None:
                fit.finish(call.error)
                fit.seen.clear()

        return end

    def begin(self, trainer: Any, module: Any, options: Options) -> None:
        """A training begins: a run for it, or in a process that was spawned for it the run that its parent opened."""
        training: Any = begin_training(
            "lightning",
            name=type(module).__name__,
            config=_config(trainer, module),
            options=options,
            nested="child",
        )
        run = attach() if training is None and is_worker() else None
        if run is not None:
            training = _Elsewhere(run)
        if training is not None:
            fit = Fit(training, supervised=self.inside.get(trainer) is not None)
            fit.seen = {}
            self.fits.set(trainer, fit)

    def acts(self, owner: AutoTrack, trainer: Any) -> bool:
        """Whether this AutoTrack is the one that records this trainer."""
        return first_of(trainer.callbacks) is owner

    def batch_end(self, call: Call) -> None:
        """Lightning has taken in what was logged in a batch."""
        trainer = call.args[0].trainer
        fit = self.fits.get(trainer)
        if fit is not None and fit.active and trainer.training and trainer.is_global_zero:
            self.record_batch(trainer, fit)

    def record_batch(self, trainer: Any, fit: Fit) -> None:
        """Record what is new of the step values, and the loss where a window of accumulation ends."""
        values = dict(_step_values(trainer, fit.seen))
        if fit.batches and not _accumulates(trainer):
            values["auto/loss"] = fit.loss if fit.batches == 1 else fit.loss / fit.batches
            fit.loss, fit.batches = None, 0
        fit.log(values, _stepped(trainer))

    def eval_batch_end(self, call: Call) -> None:
        """Lightning has logged a batch of validation or test; its step counts them."""
        trainer, step = call.args[0].trainer, call.kwargs.get("step", call.args[-1])
        fit = self.fits.get(trainer)
        if fit is not None and trainer.is_global_zero and not trainer.sanity_checking:
            fit.log(dict(_step_values(trainer, fit.seen)), step)

    def epoch_end(self, call: Call) -> None:
        """Lightning has computed the values of an epoch of training, validation or test."""
        trainer = call.args[0].trainer
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        values = dict(_epoch_values(trainer))
        if not values:
            return
        values.setdefault("epoch", trainer.current_epoch)
        # The steps are counted on before the epoch's values go to the loggers, and Lightning counts back for them.
        step = max(0, _stepped(trainer) - 1) if trainer.training else _stepped(trainer)
        fit = self.fits.get(trainer)
        if fit is not None:
            fit.log(values, step)
        elif not _is_fit(trainer) and (self.autolog is not None or first_of(trainer.callbacks) is not None):
            run = open_run()
            if run is not None:
                run.log(values, step=step)


class LightningCallback(Adapter):
    """What `AutoTrack` does at Lightning's hooks."""

    bases: ClassVar[tuple[tuple[str, str], ...]] = (
        ("lightning.pytorch.callbacks.callback", "Callback"),
        ("pytorch_lightning.callbacks.callback", "Callback"),
    )
    watch: ClassVar[LightningWatch] = LightningWatch()

    @staticmethod
    def claims(args: tuple[Any, ...]) -> bool:
        """(trainer, module, …): two, five or six arguments where others have the same hook."""
        return len(args) not in (0, 1, 3) and not isinstance(args[0], int)

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """The training begins, behind sanity check and resuming."""
        options = self.owner.options
        known = self.watch.fits.get(trainer)
        if options is None or trainer.fast_dev_run or not trainer.is_global_zero:
            return
        if (known is not None and known.active) or not self.watch.acts(self.owner, trainer):
            return
        self.watch.begin(trainer, module, options)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the batch's loss; it is recorded with the batch's other values."""
        fit = self._fit(trainer)
        loss: Any = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if fit is None or not _is_scalar(loss):
            return
        # Under automatic optimization Lightning has divided it by the number of accumulated batches.
        share = trainer.accumulate_grad_batches if module.automatic_optimization else 1
        loss = loss.detach().reshape(()) * share if share != 1 else loss.detach().reshape(())
        fit.loss = loss if fit.loss is None else fit.loss + loss
        fit.batches += 1

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Remember what went wrong: of a Ctrl-C, `fit` itself only lets a SystemExit out."""
        self._let_go()
        fit = self._fit(trainer)
        if fit is None:
            return
        fit.error = exception
        if trainer.training and trainer.is_global_zero:
            self.watch.record_batch(trainer, fit)
        if not fit.supervised:
            fit.finish(exception)

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        """The last hook of a fit that went well."""
        self._let_go()
        fit = self._fit(trainer)
        if fit is not None and stage == "fit" and not fit.supervised:
            fit.finish()

    def _fit(self, trainer: Any) -> Fit | None:
        fit = self.watch.fits.get(trainer)
        return fit if fit is not None and fit.active and self.watch.acts(self.owner, trainer) else None

    def _let_go(self) -> None:
        """Lightning hangs the module's `log` on every callback; ours may outlive the module."""
        vars(self.owner).pop("log", None)
        vars(self.owner).pop("log_dict", None)


class LightningIntegration(Integration):
    """`autolog()` for Lightning."""

    name: ClassVar[str] = "lightning"
    targets: ClassVar[tuple[str, ...]] = _TARGETS
    supports: ClassVar[dict[str, str]] = _SUPPORTS

    def _install(self, module: ModuleType) -> None:
        LightningCallback.watch.follow(self)

    def _uninstall(self) -> None:
        LightningCallback.watch.unfollow()


def _spawns(trainer: Any) -> bool:
    """Whether the fit runs in processes that this one spawns or forks; only what is written is left of them."""
    return "MultiProcessing" in type(getattr(trainer.strategy, "launcher", None)).__name__


def _is_fit(trainer: Any) -> bool:
    return bool(trainer.state.fn == "fit")


def _results(trainer: Any) -> Any:
    return getattr(trainer, "_results", None)


def _stepped(trainer: Any) -> int:
    """The step that Lightning gives its loggers."""
    return int(getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", trainer.global_step))


def _accumulates(trainer: Any) -> bool:
    """Whether the optimizer waits for more batches."""
    wait = getattr(trainer.fit_loop, "_should_accumulate", None)
    return bool(wait()) if wait is not None else False


def _step_values(trainer: Any, seen: dict[int, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values of what was logged with `on_step` since the last call."""
    for metric in _metrics(trainer):
        value: Any = getattr(metric, "_forward_cache", None)
        if metric.meta.on_step and _is_scalar(value) and seen.get(id(metric)) is not value:
            seen[id(metric)] = value
            yield _name(metric, on_step=True), value.detach().reshape(())


def _epoch_values(trainer: Any) -> Iterator[tuple[str, Any]]:
    """Names and values that Lightning has computed for the epoch that ends."""
    for metric in _metrics(trainer):
        value: Any = getattr(metric, "_computed", None)
        if metric.meta.on_epoch and _is_scalar(value):
            yield _name(metric, on_step=False), value.detach().reshape(())


def _is_scalar(value: Any) -> bool:
    return hasattr(value, "detach") and value.numel() == 1


def _metrics(trainer: Any) -> Iterable[Any]:
    results = _results(trainer)
    return [metric for metric in results.values() if not metric.has_reset] if results else []


def _name(metric: Any, on_step: bool) -> str:
    meta = metric.meta
    suffix = (
        f"/dataloader_idx_{meta.dataloader_idx}"
        if meta.add_dataloader_idx and meta.dataloader_idx is not None
        else ""
    )
    return f"{meta.forked_name(on_step)}{suffix}"


def _config(trainer: Any, module: Any) -> dict[str, Any]:
    """Hyper-parameters under their own names; what is Lightning's under trainer, optimizer, model, datamodule."""
    config: dict[str, Any] = {
        "trainer": {name: getattr(trainer, name) for name in _TRAINER_FACTS if hasattr(trainer, name)}
        | {name: type(getattr(trainer, name, None)).__name__ for name in ("strategy", "accelerator")},
        "model": {"class": type(module).__name__} | _parameters(module),
        "optimizer": [_optimizer(optimizer) for optimizer in trainer.optimizers],
    }
    if len(config["optimizer"]) == 1:
        config["optimizer"] = config["optimizer"][0]
    schedulers = [type(entry.scheduler).__name__ for entry in trainer.lr_scheduler_configs]
    if schedulers:
        config["lr_scheduler"] = schedulers[0] if len(schedulers) == 1 else schedulers
    datamodule = trainer.datamodule
    if datamodule is not None:
        config["datamodule"] = {"class": type(datamodule).__name__} | dict(datamodule.hparams)
    return config | dict(module.hparams)


def _parameters(module: Any) -> dict[str, Any]:
    counts, _ = reason(lambda: [(weight.numel(), weight.requires_grad) for weight in module.parameters()])
    if counts is None:  # lazy layers have no size yet
        return {}
    return {
        "parameters": sum(n for n, _ in counts),
        "trainable_parameters": sum(n for n, grad in counts if grad),
    }


def _optimizer(optimizer: Any) -> dict[str, Any]:
    groups = [
        {key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups
    ]
    facts: dict[str, Any] = {"class": type(optimizer).__name__}
    return facts | groups[0] if len(groups) == 1 else facts | {"groups": groups}
