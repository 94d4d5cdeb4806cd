"""Why a Keras fit stopped, and its best epoch: config, written at the end."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from autotrack.guard import describe, reason
from autotrack.integrations._stopped import Reason, failure
from autotrack.values import number


def outcome(
    callbacks: Iterable[Any],
    error: BaseException | None,
    saved: Mapping[int, dict[str, Any]],
    *,
    epoch: int,
    epochs: Any,
    step: int,
    loss: Any,
    told: bool,
    within: bool,
) -> dict[str, Any]:
    """`stopped`: {"by": …, "reason": …, "epoch": epochs done, "step": …, "restored_epoch": Keras's index}; `best`, where a callback
    compares epochs, of several that found different ones a list.

    `saved`: by the id of a callback, what it saved last, {"value": of its metric, "epoch": …, "checkpoint": path}.
    `epochs`: how many were to be done, as Keras counts them; `loss`: the last one of a batch; `told`: whether
    `model.stop_training` was set; `within`: whether a further epoch has begun.
    """
    callbacks = list(callbacks)
    if error is not None:
        at = f"in epoch {epoch + 1} of {epochs}" if within else f"after epoch {epoch} of {epochs}"
        by, why = failure(error), f"{describe(error)}, {at}"
    else:
        by, why = _stopped(callbacks, epoch, epochs, loss, told)
    stopped: dict[str, Any] = {"by": by, "reason": why, "epoch": epoch, "step": step}
    back = restored(callbacks) if error is None else None
    found = {"stopped": stopped | ({} if back is None else {"restored_epoch": back})}
    bests = _bests(callbacks, saved)
    return found | ({"best": bests[0] if len(bests) == 1 else bests} if bests else {})


def restored(callbacks: Iterable[Any]) -> int | None:
    """Keras's index of the epoch whose weights an EarlyStopping has put back when the training came to its end."""
    held = [one for one in callbacks if getattr(one, "restore_best_weights", False)]
    return next((one.best_epoch for one in reversed(held) if one.best_weights is not None), None)


def _stopped(callbacks: list[Any], epoch: int, epochs: Any, loss: Any, told: bool) -> tuple[Reason, str]:
    at = f"after epoch {epoch} of {epochs}"
    names = [name for name in (type(callback).__name__ for callback in callbacks) if name != "AutoTrack"]
    if told and "TerminateOnNaN" in names and isinstance(loss, float) and not math.isfinite(loss):
        return "callback", f"TerminateOnNaN: the loss was {loss} in epoch {epoch} of {epochs}"
    if not isinstance(epochs, int) or epoch >= epochs:
        return "max_epochs", f"epochs={epochs} done"
    for callback in callbacks:
        if told and hasattr(callback, "patience") and getattr(callback, "stopped_epoch", None):
            best = _short(getattr(callback, "best", None))
            waited = f"{callback.wait} epoch" + ("s" if callback.wait != 1 else "")
            return "early_stopping", f"{callback.monitor} was no better than {best} in {waited}, {at}"
    if not told:
        return "callback", f"it came to its end {at}"
    return "callback", f"model.stop_training was set, {at}" + (f", by {' or '.join(names)}" if names else "")


def _bests(callbacks: list[Any], saved: Mapping[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """What each callback found best; one entry of what several found alike."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for callback in callbacks:
        best = _best(callback, saved.get(id(callback)))
        if best:
            alike = found.setdefault(tuple(best[name] for name in ("metric", "value", "epoch")), best)
            alike.update(best)
    return list(found.values())


def _best(callback: Any, saved: dict[str, Any] | None) -> dict[str, Any]:
    """Metric, value and epoch (Keras's index) of an EarlyStopping, and of what a ModelCheckpoint saved last, with its path."""
    value, monitor = getattr(callback, "best", None), getattr(callback, "monitor", None)
    if value is None or not isinstance(monitor, str):
        return {}
    if hasattr(callback, "best_epoch"):
        return {"metric": monitor, "value": _plain(value), "epoch": callback.best_epoch}
    if saved is not None and getattr(callback, "save_best_only", False):
        return {"metric": monitor, **saved, "value": _plain(saved["value"])}
    return {}


def _plain(value: Any) -> Any:
    """The number, or the text of what is none: metrics may be arrays, also of one place."""
    found, problem = reason(number, value)
    return found if problem is None else str(value)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, (int, float)) else str(value)
