"""What is recorded for a trainer: a fit, or an evaluation without one."""

from collections.abc import Iterable
from time import perf_counter
from typing import Any
from weakref import ref

from autotrack import background
from autotrack.callback import AutoTrack, ByIdentity, Recording, open_run
from autotrack.integrations._lightning_facts import config_of, summary_of
from autotrack.integrations._lightning_steps import Rates, Window, rows_of
from autotrack.integrations._lightning_stop import stop_facts
from autotrack.integrations._lightning_values import StepValues, scalar
from autotrack.integrations._stopped import pruned
from autotrack.opening import attach
from autotrack.options import Options
from autotrack.process import is_worker
from autotrack.run import Run
from autotrack.training import begin_training


class Fit(Recording):
    """One `Trainer.fit` that trains."""

    def __init__(
        self, training: Any, supervised: bool, tracker: AutoTrack, trainer: Any, module: Any
    ) -> None:
        super().__init__(training, supervised)
        self.tracker: AutoTrack | None = tracker
        self.trainer: Any = trainer
        """None when the fit is over: that keeps no trainer alive."""
        self.strategy: Any = trainer.strategy
        self.kind = type(module)
        self.values = StepValues()
        self.window = Window()
        self.rates = Rates()
        self.window.begin()
        self.epoch_began = perf_counter()

    def begin_epoch(self) -> None:
        """An epoch of training begins."""
        self.epoch_began = perf_counter()
        self.window.begin()

    def take_output(self, trainer: Any, output: Any, arguments: Any) -> None:
        """What `training_step` returned, as Lightning hands it on, and the arguments that it was given."""
        loss = output.get("loss") if isinstance(output, dict) else output
        if loss is not None:
            loss = scalar(loss)
        accumulated = trainer.accumulate_grad_batches
        # Under automatic optimization Lightning has divided it by the number of accumulated batches.
        if loss is not None and accumulated != 1 and trainer.lightning_module.automatic_optimization:
            loss = loss * accumulated
        batch = arguments.get("batch")
        if batch is None:  # `training_step(self, dataloader_iter)`
            batch = getattr(getattr(trainer.fit_loop, "_data_fetcher", None), "_batch", None)
        self.window.add(loss, rows_of(batch))

    def record_batch(self, trainer: Any) -> None:
        """Record what is new of the step values, and what was measured where a window of accumulation ends."""
        loop = trainer.fit_loop.epoch_loop
        step = loop._batches_that_stepped
        due = self.every == 1 or self.due(step + 1)
        values = self.values.new(loop._results)
        if self.window.filled and (trainer.accumulate_grad_batches == 1 or not loop._should_accumulate()):
            self.window.close(values)
            if due and (self.rates.new or not self.rates.all_read):
                self.rates.take(values, trainer)
        if due and values:
            self.run.log(values, step)

    def epoch_times(self) -> dict[str, float]:
        """How long the epoch took that ends, validations included."""
        return {"auto/epoch_time": perf_counter() - self.epoch_began}

    def tell_stop(self, trainer: Any, error: BaseException | None = None) -> None:
        """Record what ended the training; a score on an accelerator is read by the helper thread."""
        facts = stop_facts(trainer, error)
        if _is_settled(facts):
            self.run.update_config({"stopped": facts}, source="lightning")
        else:
            run = self.run
            background.submit(lambda: run.update_config({"stopped": _settled(facts)}, source="lightning"))

    def finish(self, error: BaseException | None = None) -> None:
        if pruned(self.error or error):
            self.error = error = None
        super().finish(error)
        self.values.clear()
        self.tracker = self.trainer = self.strategy = None


class Evaluation:
    """One `validate` or `test` outside of a fit; it finds or opens its run with its first value."""

    def __init__(
        self, trainer: Any, tracker: AutoTrack, fits: ByIdentity[Fit], modules: ByIdentity[Fit]
    ) -> None:
        self.tracker = tracker
        self.values = StepValues()
        self.error: BaseException | None = None
        self._trainer = ref(trainer)
        self._fits = fits
        self._modules = modules
        self._target: Recording | Run | None = None
        self._own: Recording | None = None
        self._sought = False

    def log(self, values: dict[str, Any], step: int) -> None:
        """Record values where they belong."""
        if not values:
            return
        if not self._sought:
            self._sought = True
            self._target = self._seek(self._trainer())
        if self._target is not None:
            self._target.log(values, step=step)

    def epoch_times(self) -> dict[str, float]:
        """An evaluation has no epochs of training."""
        return {}

    def finish(self, error: BaseException | None = None) -> None:
        """The evaluation is over."""
        self.values.clear()
        if self._own is not None:
            self._own.finish(self.error or error)

    def _seek(self, trainer: Any) -> Recording | Run | None:
        """The run of the fit of this trainer or module; else the open run; else, for an AutoTrack made by hand, a new one."""
        module = trainer.lightning_module
        fit = self._fits.get(trainer)
        if fit is None or fit.kind is not type(module):
            fit = self._modules.get(module)
        target: Recording | Run | None = fit or open_run()
        options = self.tracker.options
        if target is None and self.tracker.by_hand and options is not None:
            self._own = _begin(trainer, module, options)
            target = self._own
        return target


class _Elsewhere:
    """The part of a training that another process began and will end."""

    def __init__(self, run: Run, log_every: int) -> None:
        self.run = run
        self.log_every = log_every

    def finish(self, error: BaseException | None = None) -> None:
        """The other process does that."""


def part_of_another(options: Options) -> Any:
    """In a process that was spawned or forked for a training: its part of the run that the parent opened; else None."""
    run = attach() if is_worker() else None
    return None if run is None else _Elsewhere(run, options.log_every)


def begin_recording(
    trainer: Any, module: Any, tracker: AutoTrack, supervised: bool, checkpoint: Any
) -> Fit | None:
    """A training begins, perhaps from a checkpoint: a run for it, or in a process that was spawned for it the parent's."""
    options = tracker.options
    if options is None:
        return None
    training = begin_training(
        "lightning",
        name=type(module).__name__,
        config=config_of(trainer, module, own=_ours(trainer.callbacks)),
        options=options,
        nested="child",
        checkpoint=checkpoint,
    )
    part = training or part_of_another(options)
    if part is None:
        return None
    fit = Fit(part, supervised, tracker, trainer, module)
    rows = summary_of(module)
    if rows and module is not None:
        # Writing the table is the helper thread's work; what closes the run waits behind it.
        background.submit(fit.run.log_table, "model_summary", rows)
    return fit


def steps_of(trainer: Any) -> int:
    """The step that Lightning gives its loggers."""
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


def _begin(trainer: Any, module: Any, options: Options) -> Recording | None:
    training = begin_training(
        "lightning",
        name=type(module).__name__,
        config=config_of(trainer, module, own=_ours(trainer.callbacks))
        | {"evaluation": trainer.state.fn.value},
        options=options,
        nested="child",
    )
    return Recording(training, supervised=True) if training is not None else None


def _ours(callbacks: Iterable[Any]) -> list[AutoTrack]:
    return [callback for callback in callbacks if isinstance(callback, AutoTrack)]


def _is_settled(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_settled(each) for each in value.values())
    return not hasattr(value, "detach")


def _settled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _settled(each) for name, each in value.items()}
    return float(value) if hasattr(value, "detach") else value
