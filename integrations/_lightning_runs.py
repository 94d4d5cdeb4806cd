"""What is recorded for a trainer: a fit, or an evaluation without one."""

from collections.abc import Iterable
from time import perf_counter
from typing import Any
from weakref import ref

from autotrack import background
from autotrack.callback import AutoTrack, ByIdentity, Recording, open_run
from autotrack.integrations._lightning_facts import config_of, summary_of
from autotrack.integrations._lightning_steps import Rates, Window
from autotrack.integrations._lightning_stop import stop_facts
from autotrack.integrations._lightning_values import StepValues
from autotrack.opening import attach
from autotrack.options import Options
from autotrack.process import is_worker
from autotrack.run import Run
from autotrack.training import begin_training


class Fit(Recording):
    """One `Trainer.fit` that trains."""

    def __init__(self, training: Any, supervised: bool, tracker: AutoTrack, module: Any) -> None:
        super().__init__(training, supervised)
        self.tracker: AutoTrack | None = tracker
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

    def record_batch(self, trainer: Any) -> None:
        """Record what is new of the step values, and what was measured where a window of accumulation ends."""
        loop = trainer.fit_loop.epoch_loop
        values = self.values.new(loop._results)
        if not loop._should_accumulate():
            self.window.close(values)
            self.rates.take(values, trainer.optimizers)
        self.log(values, steps_of(trainer))

    def epoch_times(self) -> dict[str, float]:
        """How long the epoch took that ends, validations included."""
        return {"auto/epoch_time": perf_counter() - self.epoch_began}

    def tell_stop(self, trainer: Any) -> None:
        """Record what ended a training that went well; a score on an accelerator is read by the helper thread."""
        facts = stop_facts(trainer)
        if _is_settled(facts):
            self.run.update_config({"stopped": facts}, source="lightning")
        else:
            run = self.run
            background.submit(lambda: run.update_config({"stopped": _settled(facts)}, source="lightning"))

    def finish(self, error: BaseException | None = None) -> None:
        super().finish(error)
        self.values.clear()
        self.tracker = None


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

    def __init__(self, run: Run) -> None:
        self.run = run

    def finish(self, error: BaseException | None = None) -> None:
        """The other process does that."""


def begin_recording(trainer: Any, module: Any, tracker: AutoTrack, supervised: bool) -> Fit | None:
    """A training begins: a run for it, or in a process that was spawned for it the run that its parent opened."""
    options = tracker.options
    if options is None:
        return None
    training: Any = begin_training(
        "lightning",
        name=type(module).__name__,
        config=config_of(trainer, module, own=_ours(trainer.callbacks)),
        options=options,
        nested="child",
    )
    run = attach() if training is None and is_worker() else None
    if run is not None:
        training = _Elsewhere(run)
    if training is None:
        return None
    fit = Fit(training, supervised, tracker, module)
    rows = summary_of(module)
    if rows and module is not None:
        # Writing the table is the helper thread's work; what closes the run waits behind it.
        background.submit(fit.run.log_table, "model_summary", rows)
    return fit


def steps_of(trainer: Any) -> int:
    """The step that Lightning gives its loggers."""
    return int(getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", trainer.global_step))


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
