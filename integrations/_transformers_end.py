"""Why a training of transformers' Trainer stopped, and its best evaluation: config, written at the end."""

from collections.abc import Iterable
from typing import Any

from autotrack.guard import describe
from autotrack.integrations._stopped import Reason, failure

_OF_THE_TRAINER = ("DefaultFlowCallback", "PrinterCallback", "ProgressCallback", "NotebookProgressCallback")


def outcome(
    args: Any, state: Any, callbacks: Iterable[Any], error: BaseException | None, data_ended: bool = False
) -> dict[str, Any]:
    """`stopped`: why it ended (`_stopped`); `best`: metric, value, step and checkpoint, where the Trainer compares them.

    `data_ended`: the last epoch had no batch.
    """
    by, why = _stopped(args, state, list(callbacks), error, data_ended)
    found: dict[str, Any] = {"stopped": {"by": by, "reason": why}}
    if state.best_metric is not None:
        best = {
            "metric": metric_name(args),
            "value": state.best_metric,
            "step": getattr(state, "best_global_step", None),
            "checkpoint": state.best_model_checkpoint,
        }
        found["best"] = {name: value for name, value in best.items() if value is not None}
    return found


def metric_name(args: Any) -> str:
    """The metric that decides which evaluation is the best, as it is logged."""
    name = str(args.metric_for_best_model)
    return name if name.startswith("eval_") else f"eval_{name}"


def _stopped(
    args: Any, state: Any, callbacks: list[Any], error: BaseException | None, data_ended: bool
) -> tuple[Reason, str]:
    at = f"step {state.global_step} of {state.max_steps}"
    if error is not None:
        return failure(error), f"{describe(error)} at {at}"
    if state.global_step >= state.max_steps:
        if args.max_steps > 0:
            return "max_steps", f"max_steps={args.max_steps} reached"
        return "max_epochs", f"num_train_epochs={_short(args.num_train_epochs)} done"
    for callback in callbacks:
        patience = getattr(callback, "early_stopping_patience", None)
        waited = getattr(callback, "early_stopping_patience_counter", None)
        if isinstance(patience, int) and isinstance(waited, int) and waited >= patience:
            return "early_stopping", f"{_no_better(args, state, waited)}, {at}"
    if state.epoch is not None and state.epoch >= state.num_train_epochs:
        return "max_epochs", f"num_train_epochs={_short(args.num_train_epochs)} done at {at}"
    if data_ended:
        return "data", f"the data ended at {at}"
    names = [type(callback).__name__ for callback in callbacks]
    possible = [name for name in names if name not in _OF_THE_TRAINER and not name.startswith("AutoTrack")]
    who = f", by {' or '.join(possible)}" if possible else ""
    return "callback", f"control.should_training_stop was set at {at}{who}"


def _no_better(args: Any, state: Any, waited: int) -> str:
    times = f"{waited} evaluation" + ("s" if waited != 1 else "")
    best = f" than {state.best_metric:.6g}" if isinstance(state.best_metric, (int, float)) else ""
    return f"{metric_name(args)} was no better{best} in {times}"


def _short(number: Any) -> str:
    return f"{number:g}" if isinstance(number, (int, float)) else str(number)
