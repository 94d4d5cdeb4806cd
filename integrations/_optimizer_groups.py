"""The settings of an optimizer's parameter groups, as config."""

from collections.abc import Iterable, Mapping
from typing import Any

_LEFT_OUT = ("params", "lr", "initial_lr")


def settings(group: Mapping[str, Any], scheduled: Iterable[Any] = ()) -> dict[str, Any]:
    """All but the weights; `lr` is the rate that the group began with, also where its scheduler has changed it since.

    `scheduled`: the rates that schedulers gave the optimizer's groups last. Where this group's is none of them, somebody
    else has set it, and it counts.
    """
    found = {"lr": _rate(group, [rate for rate in scheduled if type(rate) is float])} if "lr" in group else {}
    return found | {name: value for name, value in group.items() if name not in _LEFT_OUT}


def _rate(group: Mapping[str, Any], scheduled: list[float]) -> Any:
    rate = group["lr"]
    if scheduled and type(rate) is float and rate not in scheduled:
        return rate
    return group.get("initial_lr", rate)
