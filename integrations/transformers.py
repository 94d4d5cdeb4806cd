"""Hugging Face transformers: `Trainer` and its subclasses.

A run begins at `on_train_begin`, unless the resumed state has no step left, and ends when `Trainer.train` returns or raises.
Recorded are:

- at each optimizer step `auto/loss` (the mean loss of its micro-batches on this rank), `auto/lr` (the rate that it used),
  `auto/grad_norm` (before clipping, as the Trainer has computed it), `auto/step_time`, `auto/samples_per_second`,
  `auto/tokens_per_second`; and `auto/nonfinite`, the count of NaN or infinite losses so far, whenever it grows;
- everything that `Trainer.log` is given, under its own name at `state.global_step`, as it is logged: a resumed training's
  older `log_history` belongs to the run that wrote it; the results of `evaluate` and `predict` also where `log` is
  overridden and does not hand them on; of nested ones (`{"PER": {"f1": …}}`) each number, as `eval_PER/f1`;
- as config what `_transformers_facts` finds at the beginning, and `stopped` and `best` at the end.

`trainer.evaluate`, `trainer.predict` and `trainer.log` after the training log into its run, or into that of the checkpoint where
no step was left; without one, into the run that is active, if any. Only the world's rank 0 records. Losses are added up where they
are; nobody waits for a device.
Wrapped are `Trainer.train`, `training_step`, `hyperparameter_search` and `Accelerator.clip_grad_norm_`; `autolog()` adds a
class to `transformers.trainer.DEFAULT_CALLBACKS`.
"""

from collections.abc import Callable
from time import perf_counter
from types import ModuleType
from typing import Any, ClassVar

from autotrack import saves
from autotrack.callback import Adapter, AutoTrack, ByIdentity, Watch, first_of, open_run
from autotrack.elsewhere import Elsewhere
from autotrack.guard import guarded
from autotrack.integration import Integration
from autotrack.integrations import _nothing_left, _pretrained
from autotrack.integrations._transformers_checkpoints import Checkpoints, folders, tell_going, tell_rotated
from autotrack.integrations._transformers_end import outcome
from autotrack.integrations._transformers_facts import config_of
from autotrack.integrations._transformers_search import begin_search, searching, trial_number
from autotrack.integrations._transformers_steps import Inside, Steps, Train, inside
from autotrack.integrations._transformers_values import flat
from autotrack.options import Options
from autotrack.patcher import Call, Hear
from autotrack.trained import trained
from autotrack.training import begin_training

_TARGETS = ("transformers.trainer",)
_MODELS = "transformers.modeling_utils"
_SUPPORTS = {"transformers": ">=4.57.1,<6"}


class TransformersWatch(Watch):
    """Sees trainings end, and the losses of micro-batches, which no callback is told of."""

    name: ClassVar[str] = "transformers"
    targets: ClassVar[tuple[str, ...]] = (*_TARGETS, _MODELS)
    supports: ClassVar[dict[str, str]] = _SUPPORTS

    def __init__(self) -> None:
        super().__init__()
        self.trains: ByIdentity[Train] = ByIdentity()
        """By `TrainerState`: hooks are given that, and not the trainer."""
        self.last_logs: Any = None
        self.checkpoints = Checkpoints(self.train_of)
        self.trainer_class: Any = None

    def _install(self, module: ModuleType) -> None:
        if module.__name__ == _MODELS:
            self.patcher.observe(vars(module)["PreTrainedModel"], "save_pretrained", _pretrained.saved)
            self.patcher.observe(vars(module)["PreTrainedModel"], "from_pretrained", _pretrained.load)
            return
        self.trainer_class = trainer = module.Trainer
        self.patcher.observe(trainer, "train", self.begin_train)
        self.checkpoints.install(self.patcher, trainer)
        self.patcher.observe(trainer, "hyperparameter_search", self.begin_search)
        for name in ("_load_from_checkpoint", "_load_optimizer_and_scheduler", "_load_scaler"):
            self.patcher.observe(trainer, name, self.resume)
        self.patcher.listen(trainer, "training_step", self.micro_batches(trainer))
        self.patcher.listen(vars(module)["Accelerator"], "clip_grad_norm_", self.gradient_norm)

    def train_of(self, trainer: Any) -> Train | None:
        """The recording of the trainer's training, also when it is over."""
        return self.trains.get(trainer.state)

    def begin_train(self, call: Call) -> Callable[[Call], None] | None:
        """One AutoTrack a trainer: the user's own, else the one that `autolog()` gave it, else one for this call."""
        trainer = call.args[0]
        tracker, added = self._tracker(trainer)
        if tracker is None:
            return None
        here = Inside(trainer)
        here.folders = _pretrained.folders_of(trainer.model)
        token = inside.set(here)

        def end(call: Call) -> None:
            inside.reset(token)
            if here.train is not None and here.train.active:
                _finish(here, call.error)
            if added:
                self._take_out(trainer, tracker)

        return end

    def resume(self, call: Call) -> Callable[[Call], None] | None:
        """`trainer._load_optimizer_and_scheduler(checkpoint)` and its kin: the folder that a training goes on from, None for none.

        The files that are read of it are no checkpoints of their own.
        """
        here = inside.get()
        if here is None or here.trainer is not call.args[0]:
            return None
        named = call.kwargs.get("checkpoint", call.kwargs.get("resume_from_checkpoint"))
        here.checkpoint = call.args[1] if len(call.args) > 1 else named
        release = saves.enclose()
        return lambda call: release()

    def begin_search(self, call: Call) -> Callable[[Call], None] | None:
        """A run for the search; its trainings find it open, and are its children."""
        trainer = call.args[0]
        tracker, added = self._tracker(trainer)
        options = None if tracker is None else tracker.options_for("transformers")
        search = None if options is None else begin_search(trainer, options, call.args[1:], call.kwargs)
        token = searching.set(search) if search is not None else None

        def end(call: Call) -> None:
            if search is not None and token is not None:
                searching.reset(token)
                search.end(call.result, call.error)
            if added:
                self._take_out(trainer, tracker)

        return end

    def _tracker(self, trainer: Any) -> tuple[AutoTrack | None, bool]:
        """The AutoTrack that acts for this trainer, and whether it was added for this call: just behind the Trainer's own flow."""
        callbacks = trainer.callback_handler.callbacks
        tracker = first_of(callbacks)
        if tracker is not None:
            if tracker.by_hand:
                callbacks[:] = [one for one in callbacks if not isinstance(one, AutoTrack) or one.by_hand]
            return tracker, False
        if self.autolog is None:
            return None, False
        tracker = AutoTrack.for_autolog(self.autolog)
        callbacks.insert(
            1 if callbacks and type(callbacks[0]).__name__ == "DefaultFlowCallback" else 0, tracker
        )
        return tracker, True

    def _take_out(self, trainer: Any, tracker: AutoTrack | None) -> None:
        callbacks = trainer.callback_handler.callbacks
        callbacks[:] = [callback for callback in callbacks if callback is not tracker]

    def steps_of(self, trainer: Any) -> Steps:
        """The steps of a training that begins. Where a subclass has a `training_step` of its own, that one is listened to."""
        owner: Any = next((kind for kind in type(trainer).__mro__ if "training_step" in vars(kind)), None)
        if owner is not None and owner is not self.trainer_class:
            self.patcher.listen(owner, "training_step", self.micro_batches(owner), portable=True)
        return Steps(owner, self.trainer_class)

    def micro_batches(self, owner: type) -> Hear:
        """What hears that a `training_step` of this class has returned the loss of one micro-batch."""

        def micro_batch(args: tuple[Any, ...], kwargs: dict[str, Any], loss: Any) -> None:
            here = inside.get()
            if here is not None and (train := here.train) is not None and here.trainer is args[0]:
                steps = train.steps
                if steps is not None and steps.owner is owner:
                    steps.micro_batch(args, kwargs, loss)

        return micro_batch

    def gradient_norm(self, args: tuple[Any, ...], kwargs: dict[str, Any], norm: Any) -> None:
        """The gradients have been clipped; this was their norm."""
        here = inside.get()
        if here is not None and (train := here.train) is not None and here.trainer.accelerator is args[0]:
            steps = train.steps
            if steps is not None and (type(norm) is float or hasattr(norm, "is_cpu")):
                steps.norm = norm


class TransformersCallback(Adapter):
    """What `AutoTrack` does at transformers' hooks; each is given (args, state, control) and keywords."""

    bases: ClassVar[tuple[tuple[str, str], ...]] = (("transformers.trainer_callback", "TrainerCallback"),)
    watch: ClassVar[TransformersWatch] = TransformersWatch()

    @staticmethod
    def claims(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """(args, state, control): always three."""
        return len(args) == 3 and not isinstance(args[2], str)

    def on_train_begin(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
        """The training begins; its state is restored already when it is resumed."""
        options, here = self.owner.options_for("transformers"), inside.get()
        if options is None or not state.is_world_process_zero:
            return
        if here is not None and here.trainer.state is not state:
            here = None
        if here is not None and first_of(here.trainer.callback_handler.callbacks) is not self.owner:
            return
        if state.global_step < state.max_steps:
            self._start(args, state, here, facts, options)
        elif here is not None:
            here.state = state
            path = here.checkpoint
            run = _nothing_left.run_of("transformers", path, options) if path is not None else None
            if run is not None:
                train = Train(Elsewhere(run), supervised=True)
                train.active, train.owner = False, self.owner
                self.watch.trains.set(state, train)

    def _start(
        self, args: Any, state: Any, here: Inside | None, facts: dict[str, Any], options: Options
    ) -> None:
        known = self.watch.trains.get(state) if here is None else here.train
        if known is None or not known.active:
            known = self._begin(args, state, here, facts, options)
        if known is None:
            return
        self.watch.trains.set(state, known)
        if here is not None:  # perhaps once more, with a smaller batch
            known.steps = self.watch.steps_of(here.trainer)
            here.train, here.state = known, state
            trained(here.trainer.model, known.run)

    def _begin(
        self, args: Any, state: Any, here: Inside | None, facts: dict[str, Any], options: Options
    ) -> Train | None:
        trainer = None if here is None else here.trainer
        name = getattr(args, "run_name", None) or type(facts.get("model")).__name__
        config = config_of(args, state, trainer, facts)
        search = searching.get()
        if search is not None and search.trainer is trainer:
            search.note_objectives()
            number = trial_number(trainer)
            name = state.trial_name or f"trial {number}"
            config["trial"] = {"number": number, "params": dict(state.trial_params or {})}
            options = options._replace(name=None)
        training = begin_training(
            "transformers",
            name=name,
            config=config,
            options=options,
            nested="child",
            checkpoint=None if here is None else here.checkpoint,
        )
        if training is None:
            return None
        train = Train(training, supervised=here is not None)
        train.owner = self.owner
        if here is not None and here.checkpoint is None:
            _pretrained.begin(train.run, here.trainer.model, here.folders)
        if search is not None and search.trainer is trainer:
            search.add(number, train, state)
        return train

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
        """An epoch begins; one without a batch ends the training."""
        options, here = self.owner.options_for("transformers"), inside.get()
        if here is not None and here.train is None and here.state is state and options is not None:
            self._start(args, state, here, facts, options)  # resumed inside of an epoch: one step more
        train = self._train(state)
        if train is not None and train.steps is not None:
            train.steps.epoch_step = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
        """The optimizer has stepped, and the step is counted. What the Trainer logs of it comes next, if it does."""
        here = inside.get()
        train = here.train if here is not None and here.state is state else self.watch.trains.get(state)
        if train is None or train.owner is not self.owner or train.steps is None or not train.active:
            return
        values, step = train.steps.take(), state.global_step
        if train.every != 1 and not train.due(step):
            values = {name: value for name, value in values.items() if name == "auto/nonfinite"}
        if not control.should_log:
            train.record(values, step)
            return
        if train.pending is not None:
            train.flush()
        train.pending, train.pending_step = values, step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **facts: Any) -> None:
        """`Trainer.log` was called, by the trainer or by the user."""
        if not logs:
            return
        here = inside.get()
        train = here.train if here is not None and here.state is state else self.watch.trains.get(state)
        if train is None:
            self._log_outside(here, state, logs)
        elif train.owner is self.owner:
            if "train_runtime" in logs and args.save_total_limit == 1:
                for known in (
                    train.saved_in.values()
                ):  # the Trainer now deletes all but the best one, if it compares them
                    tell_going(train.run, known)
            train.logged = (state.global_step, logs)
            train.record(flat(logs), state.global_step)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **facts: Any) -> None:
        """An evaluation is over. The Trainer has logged it, unless its `log` is a subclass's that hands nothing on."""
        train = self.watch.trains.get(state)
        if train is None or train.owner is not self.owner or not metrics:
            return
        step, logged = train.logged
        unknown = {
            key: value for key, value in metrics.items() if step != state.global_step or key not in logged
        }
        train.record(flat(unknown), state.global_step)
        self._pause(train)

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **facts: Any) -> None:
        """`Trainer.predict` has computed metrics, which it does not log."""
        self.on_log(args, state, control, metrics)

    def on_save(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
        """A checkpoint is written: that time is no part of a step."""
        train = self._train(state)
        if train is not None:
            train.flush()
            self._pause(train)

    def on_train_end(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
        """The training went well; where `Trainer.train` is on the stack, the end is there."""
        train = self._train(state)
        if train is not None and not train.supervised:
            train.run.update_config(outcome(args, state, (), None), source="transformers")
            train.finish()

    def _train(self, state: Any) -> Train | None:
        here = inside.get()
        train = here.train if here is not None and here.state is state else self.watch.trains.get(state)
        return train if train is not None and train.active and train.owner is self.owner else None

    def _pause(self, train: Train) -> None:
        if train.steps is not None:
            train.steps.began = perf_counter()

    def _log_outside(self, here: Inside | None, state: Any, values: Any) -> None:
        """What is logged without a training: by a lone evaluation, or before the training begins."""
        if not state.is_world_process_zero or self.owner.options is None:
            return
        run = open_run() if here is None and self.watch.last_logs is not values else None
        if run is not None:
            self.watch.last_logs = values  # a second AutoTrack of this trainer is told of the same
            run.log(flat(values), step=state.global_step)


class TransformersIntegration(Integration):
    """`autolog()` for transformers."""

    name: ClassVar[str] = "transformers"
    targets: ClassVar[tuple[str, ...]] = (*_TARGETS, _MODELS)
    supports: ClassVar[dict[str, str]] = _SUPPORTS

    def __init__(self) -> None:
        super().__init__()
        self._default: tuple[list[Any], type] | None = None

    def _install(self, module: ModuleType) -> None:
        TransformersCallback.watch.follow(self)
        if module.__name__ == _MODELS:
            return
        integration = self

        class AutoTrackByDefault(AutoTrack):
            """The AutoTrack that `autolog()` gives to each new Trainer."""

            def __init__(self) -> None:
                super().__init__()
                self.belong_to(integration)

        defaults: list[Any] = module.DEFAULT_CALLBACKS
        defaults.append(AutoTrackByDefault)
        self._default = (defaults, AutoTrackByDefault)

    def _uninstall(self) -> None:
        TransformersCallback.watch.unfollow()
        if self._default is not None:
            defaults, ours = self._default
            defaults[:] = [callback for callback in defaults if callback is not ours]
            self._default = None


def _finish(here: Inside, error: BaseException | None) -> None:
    """A `Trainer.train` is over: why, and what was its best, and then the end of its run."""
    train, trainer, state = here.train, here.trainer, here.state
    if train is None:
        return
    with guarded("recording the end of a training"):
        train.flush()
        ended = train.steps is not None and train.steps.epoch_step == state.global_step
        facts = outcome(trainer.args, state, trainer.callback_handler.callbacks, train.error or error, ended)
        train.run.update_config(facts, source="transformers")
        for folder, known in train.saved_in.items():
            tell_rotated(train.run, known, folders(folder))
    train.finish(error)
