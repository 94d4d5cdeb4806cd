"""One `Trainer.train` of transformers that is being recorded: its run, and what is known of the optimizer step under way."""

import sys
from collections.abc import Mapping
from contextvars import ContextVar
from operator import itemgetter
from time import perf_counter
from typing import Any

from autotrack.callback import AutoTrack, Recording
from autotrack.integrations._transformers_facts import data_ranks, plain_optimizer
from autotrack.integrations._transformers_loss import Parts, StepLoss, parts_of


class Train(Recording):
    """One training: steps are known where transformers' own loop, or one like it, drives it."""

    owner: AutoTrack
    steps: "Steps | None" = None
    """Gone with the end of the training: it holds the optimizer."""
    pending: dict[str, Any] | None = None
    """A step's values that wait for what the Trainer logs at the same step, which is the next thing it does."""
    pending_step: int = 0
    saved_in: dict[str, set[str]]
    """By folder: the checkpoints in it when the last one was saved there."""
    logged: tuple[int, Any] = (-1, ())
    """The step and the values that `on_log` was given last."""

    def __init__(self, training: Any, supervised: bool) -> None:
        super().__init__(training, supervised)
        self.saved_in = {}

    def record(self, values: dict[str, Any], step: int) -> None:
        """Record metrics, in one line with those of the step that wait."""
        pending = self.pending
        if pending is not None:
            if self.pending_step == step:
                self.pending = None
                pending.update(values)
                values = pending
            else:
                self.flush()
        if self.active and values:
            self.run.log(values, step)
        else:
            self.log(values, step)

    def flush(self) -> None:
        """Record what waits."""
        if self.pending is not None:
            values, self.pending = self.pending, None
            self.log(values, self.pending_step)

    def finish(self, error: BaseException | None = None) -> None:
        """The training is over."""
        self.flush()
        self.steps = None
        super().finish(error)


class Inside:
    """A `Trainer.train` that is on the stack; `train` and `state` once its run has begun."""

    __slots__ = ("checkpoint", "folders", "state", "train", "trainer")

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.train: Train | None = None
        self.state: Any = None
        self.checkpoint: str | None = None
        """What the training is resumed from."""
        self.folders: set[str] = set()
        """What the model was loaded from, where it says so."""


_rate_of = itemgetter("lr")

inside: ContextVar[Inside | None] = ContextVar("autotrack_transformers", default=None)


class Steps:
    """The optimizer step under way: losses, learning rates, gradient norm, rows and tokens of its micro-batches."""

    __slots__ = (
        "_in_tensors", "_key", "_optimizer", "_parts", "_ranks", "_rates", "_rows", "_seen", "_text", "_tokens", "began",
        "epoch_step", "loss", "norm", "owner", "tensor", "trainer_class",
    )  # fmt: skip

    def __init__(self, owner: type | None, trainer_class: type) -> None:
        self.owner = owner
        """The class whose `training_step` counts: the outermost one that the trainer has."""
        self.trainer_class = trainer_class
        self.loss = StepLoss()
        self.norm: Any = None
        """Of the gradients, as the Trainer was given it: a number or a tensor."""
        self.tensor = sys.modules["torch"].Tensor
        self.began = perf_counter()
        """When the last step, evaluation or save was over."""
        self.epoch_step = -1
        """The step at which the present epoch began."""
        self._parts = Parts()
        self._seen = False
        self._optimizer: Any = None
        self._rates: list[Any] = []
        self._in_tensors = False
        """Whether the optimizer holds rates in tensors, which schedulers change in place."""
        self._key: str | None = None
        self._text = False
        self._ranks = 1
        self._rows = self._tokens = 0

    def micro_batch(self, args: tuple[Any, ...], kwargs: dict[str, Any], loss: Any) -> None:
        """`trainer.training_step(model, inputs, num_items_in_batch)` has returned the loss of one micro-batch."""
        if not self._seen:
            self._learn(args[0], args, kwargs)
        if hasattr(loss, "is_cpu"):
            self.loss.add(loss)
        # The optimizer steps next, and the scheduler right after it: this is the rate that is used.
        rates = list(map(_rate_of, self._optimizer.param_groups))
        self._rates = [_as_it_is(rate) for rate in rates] if self._in_tensors else rates
        if self._key is not None:
            batch = (args[2] if len(args) > 2 else kwargs["inputs"]).get(self._key)
            if batch is not None:
                shape = batch.shape
                self._rows += shape[0]
                if self._text:
                    self._tokens += shape[0] * shape[-1]

    def take(self) -> dict[str, Any]:
        """The values of the step that is over; the next one begins."""
        now = perf_counter()
        took, self.began = now - self.began, now
        values: dict[str, Any] = {}
        if self.loss.batches:
            self.loss.take(self._parts, values)
        rates = self._rates
        if rates:
            first = values["auto/lr"] = rates[0]
            # Each group's own, where they may differ.
            if len(rates) > 1 and (
                self._in_tensors or type(first) is not float or rates.count(first) != len(rates)
            ):
                values.update({f"auto/lr/{number}": rate for number, rate in enumerate(rates)})
            self._rates = []
        norm = self.norm
        if norm is not None:
            self.norm = None
            if type(norm) is self.tensor and norm.is_cpu:
                values["auto/grad_norm"] = norm.item()
            elif type(norm) is float or not hasattr(
                norm, "placements"
            ):  # a DTensor's value may need all ranks
                values["auto/grad_norm"] = norm
        values["auto/step_time"] = took
        if self._rows:
            values["auto/samples_per_second"] = self._rows * self._ranks / took
            if self._tokens:
                values["auto/tokens_per_second"] = self._tokens * self._ranks / took
            self._rows = self._tokens = 0
        return values

    def _learn(self, trainer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """What holds for all steps, read off the first micro-batch."""
        self._seen = True
        given = dict(zip(("model", "inputs", "num_items_in_batch"), args[1:], strict=False)) | kwargs
        self._parts = parts_of(
            trainer, self.trainer_class, given.get("model"), given.get("num_items_in_batch")
        )
        self._optimizer = plain_optimizer(trainer.optimizer)
        self._in_tensors = any(hasattr(group["lr"], "detach") for group in self._optimizer.param_groups)
        self._ranks = data_ranks(trainer)
        inputs = given.get("inputs")
        if isinstance(inputs, Mapping):
            main = getattr(trainer.model, "main_input_name", "input_ids")
            names = [main, *inputs]
            self._key = next(
                (name for name in names if len(getattr(inputs.get(name), "shape", ())) > 0), None
            )
            self._text = self._key == "input_ids" and len(inputs[self._key].shape) == 2


def _as_it_is(rate: Any) -> Any:
    """A learning rate as it is now: a number, or a copy where its device would have to be waited for."""
    if not hasattr(rate, "detach") or hasattr(rate, "placements") or rate.numel() != 1:
        return rate
    return rate.item() if rate.is_cpu else rate.detach().reshape(()).clone()
