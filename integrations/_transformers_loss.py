"""The loss of an optimizer step of transformers' Trainer, from what `training_step` returns for each micro-batch.

The Trainer's own number is the sum of these divided by the steps since it last logged. That is the loss only where the
micro-batches' losses are shares of the step's loss. A model that takes `num_items_in_batch` and ignores it returns means
instead, and on several ranks the Trainer multiplies them by the number of ranks besides. Which of both it is, is read off
the code of whatever computes the loss, once a training.
"""

from collections.abc import Callable
from functools import partial
from operator import methodcaller
from typing import Any, NamedTuple

from autotrack.guard import reason

_ITEMS = "num_items_in_batch"
_TAKES_MORE = 0x04 | 0x08
"""The flags of a code object that has *args or **kwargs."""


class Parts(NamedTuple):
    """How the losses of a step's micro-batches make up its loss."""

    shares: bool = True
    """Whether they add up to it; else it is their mean."""
    times: int = 1
    """By what the Trainer has multiplied each of them."""


class StepLoss:
    """The micro-batches' losses of the optimizer step that is under way, added up where they are.

    A loss in host memory becomes a number at once. One on an accelerator stays there and nobody waits for it: it is added
    to a scalar of our own, because the memory of the original may be used again for the next micro-batch.
    """

    __slots__ = ("_device_nonfinite", "_told", "_total", "batches", "nonfinite")

    def __init__(self) -> None:
        self.batches = 0
        self.nonfinite = 0
        """Losses in host memory that were NaN or infinite, since the training began."""
        self._total: Any = 0.0
        self._device_nonfinite: Any = None
        self._told = -1

    def add(self, loss: Any) -> None:
        """One micro-batch's loss: a tensor with one element."""
        if loss.is_cpu:
            value = loss.item()
            if value - value != 0.0:
                self.nonfinite += 1
            self._total += value
        elif not hasattr(loss, "placements"):  # reading a DTensor may need all ranks
            self._add_on_device(loss.detach())
        else:
            return
        self.batches += 1

    def _add_on_device(self, loss: Any) -> None:
        if self.batches == 0:
            self._total = loss.float().clone()
        else:
            self._total.add_(loss)
        bad = loss.mul(0).ne(0)
        if self._device_nonfinite is None:
            self._device_nonfinite = bad.long()
        else:
            self._device_nonfinite.add_(bad)

    def take(self, parts: Parts, into: dict[str, Any]) -> None:
        """Put the step's loss, and the count of non-finite ones where it may have changed, into its values; begin the next."""
        by = (1 if parts.shares else self.batches) * parts.times
        into["auto/loss"] = self._total / by if by != 1 else self._total
        if self._device_nonfinite is not None:
            into["auto/nonfinite"] = self._device_nonfinite
        elif self.nonfinite != self._told:
            into["auto/nonfinite"] = self._told = self.nonfinite
        self._total, self.batches = 0.0, 0


def parts_of(trainer: Any, trainer_class: type, model: Any, items: Any) -> Parts:
    """How the losses that this trainer's `training_step` returns make up a step's loss; when in doubt, as shares.

    `trainer_class`: transformers' own. `items`: the `num_items_in_batch` that `training_step` was given.
    """
    found, _ = reason(_parts, trainer, trainer_class, model, items)
    return found or Parts()


def _parts(trainer: Any, trainer_class: Any, model: Any, items: Any) -> Parts:
    scaled = getattr(trainer, "loss_is_scaled_for_ga", None)
    custom = getattr(trainer, "compute_loss_func", None)
    taken = bool(trainer.model_accepts_loss_kwargs) and items is not None
    if scaled is None:
        scaled = taken or custom is not None
    elif scaled:
        return Parts()
    if not scaled:
        return Parts()  # the Trainer has divided each by their number
    inherited = _hands_on(trainer, trainer_class)
    multiplied = (
        inherited and items is not None and getattr(trainer.args, "average_tokens_across_devices", False)
    )
    if not inherited:
        counts = _mentions(type(trainer).compute_loss)
    elif custom is not None:
        counts = _mentions(custom)
    elif getattr(trainer, "label_smoother", None) is not None:
        counts = _mentions(type(trainer.label_smoother).__call__)
    else:
        counts = bool(getattr(trainer.args, "use_liger_kernel", False)) or _model_counts(trainer, model)
    return Parts() if counts else Parts(shares=False, times=_ranks(trainer) if multiplied else 1)


def _ranks(trainer: Any) -> int:
    """By what `compute_loss` multiplies the loss on several devices."""
    if trainer.args.n_gpu > 1:
        return int(trainer.args.n_gpu)
    tensor_parallel, _ = reason(trainer.get_tp_size)
    return max(1, int(trainer.accelerator.num_processes) // (tensor_parallel or 1))


def _hands_on(trainer: Any, trainer_class: Any) -> bool:
    """Whether the loss is computed by transformers' `compute_loss`, directly or through `super()`, with the item count."""
    function = _plain(type(trainer).compute_loss)
    if function is _plain(trainer_class.compute_loss):
        return True
    code = function.__code__
    calls = "super" in code.co_names and "compute_loss" in code.co_names
    return bool(calls and (code.co_flags & _TAKES_MORE or _mentions(function)))


def _model_counts(trainer: Any, model: Any) -> bool:
    """Whether the model's `forward` hands its labels to a loss function that counts the items of the step."""
    model = trainer.accelerator.unwrap_model(model)
    model = getattr(model, "_orig_mod", model)  # torch.compile
    base, _ = reason(methodcaller("get_base_model"), model)  # PEFT
    model = model if base is None else base
    forward = _plain(type(model).forward)
    return "loss_function" in forward.__code__.co_names and _mentions(model.loss_function)


def _mentions(function: Any) -> bool:
    """Whether a function's code reads the count of items, as a parameter or by its name."""
    from dis import get_instructions

    code = _plain(function).__code__
    return any(
        step.argval == _ITEMS or (isinstance(step.argval, tuple) and _ITEMS in step.argval)
        for step in get_instructions(code)
        if step.opname.startswith("LOAD")
    ) or any(_ITEMS in names for names in (code.co_cellvars, code.co_freevars))


def _plain(function: Any) -> Any:
    """The function with the code, under decorators, `partial`, methods and objects that are called."""
    while True:
        if isinstance(function, partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif hasattr(function, "__func__"):
            function = function.__func__
        elif not hasattr(function, "__code__"):
            called: Callable[..., Any] = type(function).__call__
            function = called
        else:
            return function
