"""The values that Lightning holds in a result collection, by the names that its loggers get."""

import sys
from collections.abc import Mapping
from typing import Any


def scalar(value: Any) -> Any:
    """A tensor on the CPU as a number, read at once; one on another device as a detached 0-d tensor, not waited for.

    None for what is not one number here, such as a tensor of which each rank holds a part.
    """
    if type(value) is not sys.modules["torch"].Tensor:
        value = _whole(value)
    if value is None or value.numel() != 1:
        return None
    return value.item() if value.is_cpu else value.detach().reshape(())


def plain(value: Any) -> Any:
    """A tensor as `scalar` gives it, anything else as it is."""
    return scalar(value) if hasattr(value, "detach") else value


def _whole(value: Any) -> Any:
    if not hasattr(value, "detach") or not hasattr(value, "numel"):
        return None
    if not hasattr(value, "to_local"):
        return value
    return value.to_local() if all(place.is_replicate() for place in value.placements) else None


class StepValues:
    """What is logged with `on_step`: each value is handed out once, with the batch that logged it.

    Lightning keeps the values of earlier batches beside the new ones; an old one is known by being the same object.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def new(self, results: Mapping[str, Any] | None) -> dict[str, Any]:
        """Names and values of what was logged since the last call."""
        found: dict[str, Any] = {}
        known, tensor = self._known, sys.modules["torch"].Tensor
        for key, metric in (results or {}).items():
            before = known.get(key)
            if before is None or before.metric is not metric:
                before = known[key] = _Known(metric)
            value = metric._forward_cache
            name = before.name
            if value is before.value or name is None or value is None or metric.has_reset:
                continue
            before.value = value
            if type(value) is tensor and value.is_cpu and value.ndim == 0:
                found[name] = value.item()
            elif (number := scalar(value)) is not None:
                found[name] = number
        return found

    def clear(self) -> None:
        """Let go of the tensors."""
        self._known.clear()


class _Known:
    """A value that was logged: its name for a step, None where it has none, and the object that was handed out last."""

    __slots__ = ("metric", "name", "value")

    def __init__(self, metric: Any) -> None:
        self.metric = metric
        self.name = name_of(metric.meta, on_step=True) if metric.meta.on_step else None
        self.value: Any = None


def epoch_values(results: Mapping[str, Any] | None) -> dict[str, Any]:
    """Names and values that Lightning has computed for the epoch that ends."""
    found: dict[str, Any] = {}
    for metric in (results or {}).values():
        if metric.meta.on_epoch and not metric.has_reset:
            number = scalar(metric._computed)
            if number is not None:
                found[name_of(metric.meta, on_step=False)] = number
    return found


def brought_back(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Of callback metrics: the values that were not there before, under the names that Lightning gives its loggers.

    What is logged for steps and epochs is there twice, as `loss` and as `loss_epoch`.
    """
    new = {key: plain(value) for key, value in after.items() if value is not before.get(key)}
    found: dict[str, Any] = {}
    for key, value in new.items():
        name, mark, loader = key.partition("/dataloader_idx_")
        twin = new.get(f"{name}_epoch{mark}{loader}")
        if value is not None and repr(value) != repr(twin):
            found[key] = value
    return found


def name_of(meta: Any, on_step: bool) -> str:
    """The name that Lightning gives its loggers."""
    name = str(meta.forked_name(on_step))
    if meta.add_dataloader_idx and meta.dataloader_idx is not None:
        return f"{name}/dataloader_idx_{meta.dataloader_idx}"
    return name
