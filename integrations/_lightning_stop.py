"""Why a Lightning fit ended: facts for the config, under `stopped`."""

from typing import Any

from autotrack.callback import AutoTrack
from autotrack.guard import describe, reason
from autotrack.integrations._lightning_values import scalar
from autotrack.integrations._stopped import Reason, failure


def stop_facts(trainer: Any, error: BaseException | None = None) -> dict[str, Any]:
    """`by` and `reason` (see `_stopped`), epoch and step.

    Without an error it is the first of Lightning's own conditions that holds, in Lightning's order. How an EarlyStopping
    stood at the end is told in each case.
    """
    stoppers = [callback for callback in trainer.callbacks if _watches_a_metric(callback)]
    by, why = _why(trainer, stoppers) if error is None else (failure(error), describe(error))
    facts: dict[str, Any] = {
        "by": by,
        "reason": why,
        "epoch": _epochs(trainer.fit_loop),
        "step": trainer.global_step,
    }
    told = {_key(stoppers, callback): early_stopping(callback) for callback in stoppers}
    if len(told) == 1:
        (told,) = told.values()
    return facts | ({"early_stopping": told} if told else {})


def early_stopping(callback: Any) -> dict[str, Any]:
    """How an EarlyStopping stands: monitor, best score, checks without improvement, and its reason if it stopped."""
    facts = {name: getattr(callback, name, None) for name in ("monitor", "mode", "patience", "wait_count")}
    score = getattr(callback, "best_score", None)
    facts["best_score"] = scalar(score) if hasattr(score, "detach") else score
    if has_stopped(callback):
        facts["stopped_epoch"] = callback.stopped_epoch
        facts["reason"] = getattr(callback, "stopping_reason_message", None)
    return {name: value for name, value in facts.items() if value is not None}


def has_stopped(callback: Any) -> bool:
    """Whether this EarlyStopping has asked the trainer to stop; up to 2.5 it does not say so in words."""
    why = getattr(callback, "stopping_reason", None)
    if why is not None:
        return bool(getattr(why, "value", why))
    return bool(callback.stopped_epoch) or callback.wait_count >= callback.patience


def _why(trainer: Any, stoppers: list[Any]) -> tuple[Reason, str]:
    loop = trainer.fit_loop
    if 0 <= loop.max_steps <= trainer.global_step:
        return "max_steps", f"max_steps={loop.max_steps} reached"
    if loop.max_epochs is not None and 0 <= loop.max_epochs <= _epochs(loop):
        return "max_epochs", f"max_epochs={loop.max_epochs} done"
    if not trainer.should_stop:
        if loop.max_batches == 0:
            return "data", "there were no more batches"
        return "callback", "the loop was left by a StopIteration"
    early = next((callback for callback in stoppers if has_stopped(callback)), None)
    if early is not None:
        return "early_stopping", _no_better(early)
    if any(_has_run_out(callback) for callback in trainer.callbacks):
        return "max_time", "max_time is over"
    names = [type(each).__name__ for each in trainer.callbacks if not isinstance(each, AutoTrack)]
    who = f", by the module or by {' or '.join(names)}" if names else ", by the module"
    return "callback", f"trainer.should_stop was set{who}"


def _no_better(callback: Any) -> str:
    said = getattr(callback, "stopping_reason_message", None)
    name = type(callback).__name__
    return str(said) if said else f"{name}: {callback.monitor} was no better in {callback.wait_count} checks"


def _watches_a_metric(callback: Any) -> bool:
    return all(hasattr(callback, name) for name in ("wait_count", "patience", "stopped_epoch", "monitor"))


def _has_run_out(callback: Any) -> bool:
    left = reason(callback.time_remaining)[0] if hasattr(callback, "time_remaining") else None
    return left is not None and left <= 0


def _epochs(loop: Any) -> int:
    return int(loop.epoch_progress.current.processed)


def _key(stoppers: list[Any], callback: Any) -> str:
    monitors = [str(each.monitor) for each in stoppers]
    name = str(callback.monitor)
    return name if monitors.count(name) == 1 else f"{name}-{stoppers.index(callback) + 1}"
