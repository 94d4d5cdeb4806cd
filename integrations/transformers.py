"""Hugging Face transformers: `Trainer` and its subclasses.

A run begins at `on_train_begin`, unless the resumed state has no step left, and ends when `Trainer.train` returns or raises.
Recorded are:

- `auto/loss` at each optimizer step: the mean loss of its micro-batches. transformers logs nothing before `logging_steps`
  (500 by default), and its logged `loss` is the sum over the micro-batches for models that ignore `num_items_in_batch`;
- everything that `Trainer.log` is given, under its own name at `state.global_step`, as it is logged: a resumed training's
  older `log_history` belongs to the run that wrote it;
- as config `args.to_dict()` (transformers masks its tokens), and under model that model's own config.

`trainer.evaluate`, `trainer.predict` and `trainer.log` after the training log into its run; without one, into the run that is
active, if any. Only the world's rank 0 records. Losses are summed where they are; nobody waits for a device.
Wrapped are `Trainer.train` and `Trainer.training_step`; `autolog()` adds a class to `transformers.trainer.DEFAULT_CALLBACKS`.
"""

from collections.abc import Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Any, ClassVar

from autotrack.callback import Adapter, AutoTrack, ByIdentity, Recording, Watch, first_of, open_run
from autotrack.guard import reason
from autotrack.integration import Integration
from autotrack.patcher import Call
from autotrack.training import begin_training

_TARGETS = ("transformers.trainer",)
_SUPPORTS = {"transformers": ">=4.57.1,<6"}


class Train(Recording):
    """One `Trainer.train`: the loss of the optimizer step that is under way."""

    owner: AutoTrack
    loss: Any = None
    batches: int = 0
    adds_up: bool = False
    """Whether the micro-batches' losses are shares of the step's loss, and not losses of their own."""


class _Inside:
    """A `Trainer.train` that is on the stack; `train` once its run has begun."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.train: Train | None = None


_inside: ContextVar[_Inside | None] = ContextVar("autotrack_transformers", default=None)


class TransformersWatch(Watch):
    """Sees trainings end, and the losses of micro-batches, which no callback is told of."""

    name: ClassVar[str] = "transformers"
    targets: ClassVar[tuple[str, ...]] = _TARGETS
    supports: ClassVar[dict[str, str]] = _SUPPORTS

    def __init__(self) -> None:
        super().__init__()
        self.trains: ByIdentity[Train] = ByIdentity()
        """By `TrainerState`: hooks are given that, and not the trainer."""
        self.last_logs: Any = None

    def _install(self, module: ModuleType) -> None:
        self.patcher.observe(module.Trainer, "train", self.begin_train)
        self.patcher.observe(module.Trainer, "training_step", lambda _: self.micro_batch)

    def begin_train(self, call: Call) -> Callable[[Call], None] | None:
        """One AutoTrack a trainer: the user's own, else the one that `autolog()` gave it, else one for this call."""
        trainer = call.args[0]
        callbacks = trainer.callback_handler.callbacks
        tracker, added = first_of(callbacks), False
        if tracker is None and self.autolog is not None:
            tracker, added = AutoTrack.for_autolog(self.autolog), True
            callbacks.insert(0, tracker)
        elif tracker is not None and tracker.by_hand:
            callbacks[:] = [one for one in callbacks if not isinstance(one, AutoTrack) or one.by_hand]
        if tracker is None:
            return None
        inside = _Inside(trainer)
        token = _inside.set(inside)

        def end(call: Call) -> None:
            _inside.reset(token)
            if added:
                callbacks[:] = [callback for callback in callbacks if callback is not tracker]
            if inside.train is not None:
                inside.train.finish(call.error)

        return end

    def micro_batch(self, call: Call) -> None:
        """`training_step` has returned the loss of one micro-batch."""
        trainer, loss = call.args[0], call.result
        train = self.trains.get(trainer.state)
        if train is None or not train.active or not hasattr(loss, "detach"):
            return
        train.loss = loss.detach() if train.loss is None else train.loss + loss.detach()
        train.batches += 1
        train.adds_up = _adds_up(trainer, call)


class TransformersCallback(Adapter):
    """What `AutoTrack` does at transformers' hooks; each is given (args, state, control) and keywords."""

    bases: ClassVar[tuple[tuple[str, str], ...]] = (("transformers.trainer_callback", "TrainerCallback"),)
    watch: ClassVar[TransformersWatch] = TransformersWatch()

    @staticmethod
    def claims(args: tuple[Any, ...]) -> bool:
        """(args, state, control): always three."""
        return len(args) == 3

    def on_train_begin(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
        """The training begins; its state is restored already when it is resumed."""
        options, inside = self.owner.options, _inside.get()
        if options is None or not state.is_world_process_zero or state.global_step >= state.max_steps:
            return
        if inside is not None and inside.trainer.state is not state:
            inside = None
        if inside is not None and first_of(inside.trainer.callback_handler.callbacks) is not self.owner:
            return
        if inside is not None and inside.train is not None:
            self.watch.trains.set(state, inside.train)  # once more, with a smaller batch
            return
        known = self.watch.trains.get(state)
        if known is not None and known.active:
            return
        training = begin_training(
            "transformers",
            name=getattr(args, "run_name", None) or type(facts.get("model")).__name__,
            config=_config(args, inside, facts),
            options=options,
            nested="child",
        )
        if training is None:
            return
        train = Train(training, supervised=inside is not None)
        train.owner = self.owner
        self.watch.trains.set(state, train)
        if inside is not None:
            inside.train = train

    def on_step_end(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
        """The optimizer has stepped, and the step is counted."""
        train = self._train(state)
        if train is None or not train.batches:
            return
        loss = train.loss if train.adds_up or train.batches == 1 else train.loss / train.batches
        train.loss, train.batches = None, 0
        train.log({"auto/loss": loss}, state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **facts: Any) -> None:
        """`Trainer.log` was called, by the trainer or by the user."""
        self._log(state, logs)

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **facts: Any) -> None:
        """`Trainer.predict` has computed metrics, which it does not log."""
        self._log(state, metrics)

    def on_train_end(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
        """The training went well; where `Trainer.train` is on the stack, the end is there."""
        train = self._train(state)
        if train is not None and not train.supervised:
            train.finish()

    def _train(self, state: Any) -> Train | None:
        train = self.watch.trains.get(state)
        return train if train is not None and train.active and train.owner is self.owner else None

    def _log(self, state: Any, values: Any) -> None:
        if not values or not state.is_world_process_zero or self.owner.options is None:
            return
        train = self.watch.trains.get(state)
        if train is not None:
            if train.owner is self.owner:
                train.log(dict(values), state.global_step)
            return
        run = open_run() if _inside.get() is None and self.watch.last_logs is not values else None
        if run is not None:
            self.watch.last_logs = values  # a second AutoTrack of this trainer is told of the same
            run.log(dict(values), step=state.global_step)


class TransformersIntegration(Integration):
    """`autolog()` for transformers."""

    name: ClassVar[str] = "transformers"
    targets: ClassVar[tuple[str, ...]] = _TARGETS
    supports: ClassVar[dict[str, str]] = _SUPPORTS

    def __init__(self) -> None:
        super().__init__()
        self._default: tuple[list[Any], type] | None = None

    def _install(self, module: ModuleType) -> None:
        integration = self

        class AutoTrackByDefault(AutoTrack):
            """The AutoTrack that `autolog()` gives to each new Trainer."""

            def __init__(self) -> None:
                super().__init__()
                self.belong_to(integration)

        defaults: list[Any] = module.DEFAULT_CALLBACKS
        defaults.append(AutoTrackByDefault)
        self._default = (defaults, AutoTrackByDefault)
        TransformersCallback.watch.follow(self)

    def _uninstall(self) -> None:
        TransformersCallback.watch.unfollow()
        if self._default is not None:
            defaults, ours = self._default
            defaults[:] = [callback for callback in defaults if callback is not ours]
            self._default = None


def _adds_up(trainer: Any, call: Call) -> bool:
    """Whether the losses of one step's micro-batches sum up to its loss.

    They do when the trainer has divided each by their number, and when the loss is normalised by the number of items in the
    whole step. A model says that it takes `num_items_in_batch` also when its loss ignores it; then they are means.
    """
    scaled = getattr(trainer, "loss_is_scaled_for_ga", None)
    items = call.kwargs.get("num_items_in_batch", call.args[3] if len(call.args) > 3 else None)
    custom = getattr(trainer, "compute_loss_func", None) is not None
    if scaled is None:
        scaled = custom or (trainer.model_accepts_loss_kwargs and items is not None)
    if not scaled or custom:
        return True
    uses, _ = reason(_uses_item_count, trainer.accelerator.unwrap_model(call.args[1]))
    return bool(uses)


def _uses_item_count(model: Any) -> bool:
    """Whether the model's `forward` hands its labels to a loss function that counts the items of the step."""
    forward = type(model).forward
    while hasattr(forward, "__wrapped__"):
        forward = forward.__wrapped__
    return "loss_function" in forward.__code__.co_names and (
        "num_items_in_batch" in model.loss_function.__code__.co_varnames
    )


def _config(args: Any, inside: _Inside | None, facts: dict[str, Any]) -> dict[str, Any]:
    """`args` under their own names; model, optimizer and trainer under theirs."""
    model: Any = facts.get("model")
    optimizer: Any = facts.get("optimizer")
    optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate's shell around it
    config: dict[str, Any] = dict(args.to_dict())
    own: Any = getattr(model, "config", None)
    config["model"] = {"class": type(model).__name__, "parameters": _parameters(model)}
    config["model"] |= own.to_dict() if hasattr(own, "to_dict") else {}
    config["optimizer"] = type(optimizer).__name__
    if inside is not None:
        config["trainer"] = type(inside.trainer).__name__
    return config


def _parameters(model: Any) -> int | None:
    return reason(lambda: sum(weight.numel() for weight in model.parameters()))[0]
