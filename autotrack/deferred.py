"""Scalars on an accelerator: copied to the host without waiting for the device, and read when the copy is there.

`tensor.to("cpu", non_blocking=True)` queues the copy on the tensor's stream, behind what computes it and before what changes
it in place, into page-locked memory from PyTorch's own pool (`pin_out` in its `_to_copy`). An event that is recorded behind it
tells when it is done: until then the memory holds anything. Backends without events (XLA) get a copy on the device, which
the helper thread reads. JAX's arrays are results to come, and tell themselves when they are ready.
"""

import os
import sys
from collections.abc import Callable, Mapping
from time import monotonic, sleep
from typing import Any

from autotrack import background
from autotrack.guard import warn

MOST_WAITING = 10_000
"""So many calls may wait for their device; then the caller waits, too, up to a second for room."""

_POLL_SECONDS = 0.001
_LONGEST_SECONDS = 1.0
_waiting: list[None] = []


def read_later(values: Mapping[str, Any], take: Callable[[dict[str, Any]], object]) -> None:
    """Hand the values to `take` on the helper thread as soon as they are on the host, after those that were logged before."""
    copies = _Copies(values)
    _make_room()
    _waiting.append(None)
    background.submit(_read, copies, take)


def _read(copies: "_Copies", take: Callable[[dict[str, Any]], object]) -> None:
    try:
        while not copies.ready():
            background.idle(_POLL_SECONDS)
    finally:
        if _waiting:
            _waiting.pop()
    take(copies.values)


class _Copies:
    """The scalars of one call on their way to the host."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values: dict[str, Any] = {}
        self._devices: dict[Any, Any] = {}
        self._arrays: list[Any] = []
        for key, value in values.items():
            self._copy(key, value)
        self._events = [_recorded(module, device) for device, module in self._devices.items()]

    def ready(self) -> bool:
        """Whether all of them have arrived."""
        return all(event.query() for event in self._events) and all(
            array.is_ready() for array in self._arrays
        )

    def _copy(self, key: str, value: Any) -> None:
        if tuple(value.shape) != ():
            self.values[key] = value  # refused when it is read, before anything is copied
        elif not hasattr(value, "detach"):
            value.copy_to_host_async()
            self._arrays.append(value)
            self.values[key] = value
        elif (module := getattr(sys.modules["torch"], value.device.type, None)) is None or not hasattr(
            module, "Event"
        ):
            self.values[key] = value.detach().clone()
        elif getattr(module, "is_current_stream_capturing", bool)():
            message = f"The metric {key!r} was left out: a tensor that is captured in a graph has no value yet. Log it behind the replay."
            warn("metric-value", message, key=key)
        else:
            self._devices[value.device] = module
            self.values[key] = value.detach().to("cpu", non_blocking=True)


def _recorded(module: Any, device: Any) -> Any:
    """An event behind what the device was given so far, on the stream that copies to the host go to."""
    event, stream = module.Event(), getattr(module, "current_stream", None)
    event.record(*() if stream is None else (stream(device),))
    return event


def _make_room() -> None:
    until = monotonic() + _LONGEST_SECONDS
    while len(_waiting) >= MOST_WAITING and monotonic() < until:
        sleep(_POLL_SECONDS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_waiting.clear)  # the parent's helper thread waits for these
