"""What is recorded of the fit of a trainer."""

from time import perf_counter
from typing import Any

from autotrack import background, marks
from autotrack.callback import AutoTrack, Recording
from autotrack.elsewhere import Elsewhere, Place, place_of
from autotrack.guard import attempt
from autotrack.integrations import _pretrained
from autotrack.integrations._lightning_facts import config_of, summary_of
from autotrack.integrations._lightning_steps import Rates, Window, rows_of
from autotrack.integrations._lightning_stop import stop_facts
from autotrack.integrations._lightning_values import StepValues, scalar
from autotrack.opening import attach
from autotrack.options import Options
from autotrack.process import is_worker
from autotrack.session import recording
from autotrack.training import begin_training, keeps_out


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
        self.launched = False
        """Whether other processes train, which this one launches: it knows nothing of their steps."""
        self._reached: tuple[int, int] | None = None
        """Steps and epochs at its end."""

    def describe_again(self, trainer: Any, module: Any) -> None:
        """In a process that was forked with the recording: optimizers and data are made here, and the one that began the run has none."""
        self.run.update_config(described(trainer, module), source="lightning")

    def launch(self) -> None:
        """Other processes are about to train; the first of them knows the run by the AutoTrack."""
        self.launched = True
        if self.tracker is not None:
            self.tracker.place = place_of(self.run)

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

    def log_epoch(self, trainer: Any, values: dict[str, Any]) -> None:
        """Record the values of an epoch of training or validation that ends, and how long it took, validations included."""
        step = steps_of(trainer)
        if values:
            values.setdefault("epoch", trainer.current_epoch)
        if trainer.training:
            values["auto/epoch_time"] = perf_counter() - self.epoch_began
            # The steps are counted on before the epoch's values go to the loggers, and Lightning counts back for them.
            step = max(0, step - 1)
        self.log(values, step)

    def log_after(self, values: dict[str, Any]) -> None:
        """Record what its module is found to be worth by another trainer, at the step that it has reached."""
        if self.trainer is not None and not self.launched:
            self._log_at(values, steps_of(self.trainer), self.trainer.current_epoch)
        elif self._reached is not None:
            self._log_at(values, *self._reached)
        elif recording():
            background.submit(lambda: self._log_looked_up(values))

    def _log_at(self, values: dict[str, Any], step: int, epoch: int) -> None:
        self.log({"epoch": epoch} | values, step)

    def _log_looked_up(self, values: dict[str, Any]) -> None:
        """On the helper thread: what other processes have reached is known from the record only."""
        if self._reached is None:
            self._reached = attempt("looking up the last step of a fit", self._look_up, default=(0, 0))
        self._log_at(values, *self._reached)

    def _look_up(self) -> tuple[int, int]:
        known = self.run.metrics
        found = [known[key] for key in ("auto/loss", "auto/epoch_time") if key in known]
        steps = max((each.last_step or 0 for each in found), default=-1) + 1
        epochs = known["auto/epoch_time"].count if "auto/epoch_time" in known else 0
        return steps, epochs

    def tell_stop(self, trainer: Any, error: BaseException | None = None) -> None:
        """Record what ended the training; a score on an accelerator is read by the helper thread."""
        facts = stop_facts(trainer, error)
        if _is_settled(facts):
            self.run.update_config({"stopped": facts}, source="lightning")
        else:
            run = self.run
            background.submit(lambda: run.update_config({"stopped": _settled(facts)}, source="lightning"))

    def finish(self, error: BaseException | None = None) -> None:
        if self.trainer is not None and not self.launched:
            self._reached = steps_of(self.trainer), self.trainer.current_epoch
        if self.launched and self.tracker is not None:
            self.tracker.place = None
        super().finish(error)
        self.values.clear()
        self.tracker = self.trainer = self.strategy = None


def part_of_another(options: Options, place: Place | None = None) -> Any:
    """In a process that was spawned or forked for a training: its part of the run that the parent opened; else None.

    `place`: that of the training's run, which may be a child.
    """
    child = None if place is None else place.run
    run = attach(child) if is_worker() and not keeps_out(marks.owner(), options) else None
    return None if run is None else Elsewhere(run, options.log_every or 1)


def begin_recording(
    trainer: Any, module: Any, tracker: AutoTrack, supervised: bool, checkpoint: Any
) -> Fit | None:
    """A training begins, perhaps from a checkpoint: a run for it, or in a process that was spawned for it the parent's."""
    options = tracker.options_for("lightning")
    if options is None:
        return None
    config = described(trainer, module)
    training = begin_training(
        "lightning",
        name=type(module).__name__,
        config=config,
        options=options,
        nested="child",
        checkpoint=checkpoint,
    )
    part = training or part_of_another(options, tracker.place)
    if part is None:
        return None
    if training is not None and checkpoint is None:
        _pretrained.begin(training.run, module, _pretrained.folders_of(module))
    fit = Fit(part, supervised, tracker, trainer, module)
    if training is None:  # the process that began the run has made no optimizers and data
        fit.run.update_config(config, source="lightning")
    rows = summary_of(module)
    if rows and module is not None:
        # Writing the table is the helper thread's work; what closes the run waits behind it.
        background.submit(fit.run.log_table, "model_summary", rows)
    return fit


def steps_of(trainer: Any) -> int:
    """The step that Lightning gives its loggers."""
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


def launches(trainer: Any) -> bool:
    """Whether it works in processes that it spawns or forks; in one of these it says so too."""
    return "MultiProcessing" in type(getattr(trainer.strategy, "launcher", None)).__name__


def described(trainer: Any, module: Any) -> dict[str, Any]:
    """The config of a run for a trainer."""
    own = [callback for callback in trainer.callbacks if isinstance(callback, AutoTrack)]
    config: dict[str, Any] = attempt("describing a trainer", config_of, trainer, module, own=own, default={})
    return config


def _is_settled(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_settled(each) for each in value.values())
    return not hasattr(value, "detach")


def _settled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _settled(each) for name, each in value.items()}
    return float(value) if hasattr(value, "detach") else value
