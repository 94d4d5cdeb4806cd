"""Why a Lightning fit that went well ended: facts for the config, under `stopped`."""

from typing import Any

from autotrack.guard import reason
from autotrack.integrations._lightning_values import scalar


def stop_facts(trainer: Any) -> dict[str, Any]:
    """`by`: max_steps, max_epochs, EarlyStopping (the class that it was), max_time, or should_stop, with epoch and step.

    It is the first of Lightning's own conditions that holds, in Lightning's order. How an EarlyStopping stood at the end is
    told in each case.
    """
    loop = trainer.fit_loop
    stoppers = [callback for callback in trainer.callbacks if _watches_a_metric(callback)]
    facts: dict[str, Any] = {
        "by": _by(trainer, stoppers),
        "epoch": _epochs(loop),
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


def _by(trainer: Any, stoppers: list[Any]) -> str:
    loop = trainer.fit_loop
    if 0 <= loop.max_steps <= trainer.global_step:
        return "max_steps"
    if loop.max_epochs is not None and 0 <= loop.max_epochs <= loop.epoch_progress.current.processed:
        return "max_epochs"
    if not trainer.should_stop:
        return "end"
    early = next((callback for callback in stoppers if has_stopped(callback)), None)
    if early is not None:
        return type(early).__name__
    if any(_has_run_out(callback) for callback in trainer.callbacks):
        return "max_time"
    return "should_stop"


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
