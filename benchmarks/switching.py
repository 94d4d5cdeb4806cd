"""What recording adds to a step, measured inside of one training: it is switched off and on every 50 ms.

A machine that others use as well is not as fast in one second as in the next, by more than what is to be measured here. Two trainings
one after the other show that; two neighbouring stretches of one training hardly.
"""

import gc
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

STEP_HOOKS = (
    "on_train_batch",
    "on_step",
    "on_substep",
    "on_log",
    "on_before",
    "on_after",
    "on_pre_optimizer",
    "on_optimizer",
)
STRETCH_SECONDS = 0.05
UNSETTLED = 2
"""So many steps behind a switch are not counted."""
TRIMMED = 0.1
"""Of the differences, what is left out at each end: somebody else's work falls into a stretch."""


class Moment(NamedTuple):
    """The time, the CPU time of the process, and what autotrack says of itself that it took of the training's thread: seconds."""

    seconds: float
    cpu: float
    own: float


def now() -> Moment:
    """This moment."""
    run = sys.modules["autotrack"].active_run()
    own = 0.0 if run is None or run.own_journal is None else run.own_journal.own_ns / 1e9
    return Moment(time.perf_counter(), time.process_time(), own)


class Switched:
    """The steps of a training: `tick()` at the beginning of each says whether that was enough. Recording is on at first."""

    def __init__(self, settle: float, watch: float, switch: Callable[[bool], None]) -> None:
        self._settle = settle
        self._watch = watch
        self._switch = switch
        self._until: float | None = None
        self._start = Moment(0.0, 0.0, 0.0)
        self._stretches: list[list[float]] = []
        self._steps = -UNSETTLED

    def tick(self) -> bool:
        here = now()
        if self._until is None:
            self._until = here.seconds + self._settle + self._watch
        if here.seconds < self._until - self._watch:
            return False
        if self._steps == 0:
            self._start = here
        elif self._steps > 0 and here.seconds >= self._start.seconds + STRETCH_SECONDS:
            self._stretches.append(
                [(b - a) / self._steps * 1e6 for a, b in zip(self._start, here, strict=True)]
            )
            self._switch(len(self._stretches) % 2 == 0)
            self._steps = -UNSETTLED - 1
        self._steps += 1
        enough = here.seconds >= self._until
        if enough:
            self._switch(True)
        return enough

    def found(self) -> dict[str, float]:
        """What a step took with recording, and what of it recording has added (µs)."""
        on, off = self._stretches[0::2], self._stretches[1::2]
        if len(off) < 2:
            return {}
        found: dict[str, float] = {"stretches": len(self._stretches)}
        for place, name in enumerate(("step_us", "step_cpu_us")):
            between = [(a[place] + b[place]) / 2 for a, b in itertools.pairwise(off)]
            added = sorted(mine[place] - base for mine, base in zip(on[1:], between, strict=False))
            cut = int(len(added) * TRIMMED)
            found[name] = statistics.median(one[place] for one in on)
            found[f"added_{name}"] = statistics.fmean(added[cut : len(added) - cut])
            found[f"ratio_{name}"] = 1 + found[f"added_{name}"] / statistics.median(between)
        return found | {"own_us": statistics.median(one[2] for one in on)}


class Logging(Switched):
    """The steps of a training that are logged by one call each."""

    def __init__(self, settle: float, watch: float, log: Callable[[int], None]) -> None:
        super().__init__(settle, watch, self._set)
        self._log = log
        self._on = True
        self._count = 0

    def tick(self) -> bool:
        enough = super().tick()
        self._count += 1
        if self._on:
            self._log(self._count)
        return enough

    def _set(self, on: bool) -> None:
        self._on = on


class Recording:
    """Switches what each `AutoTrack` does at the hooks of a step, and at the functions that its integrations have wrapped. Who holds
    a wrapped function already goes on with it, and in the place of a hook stands an empty function. In a `fit` of Keras the hooks
    are those of listeners that stand in the place of the `AutoTrack`.
    """

    def __init__(self) -> None:
        self._wraps: list[tuple[Any, str, Any, Any]] = []
        """Owner, name, ours and the original: nothing else holds ours while it does not stand in its place."""
        self._listeners: list[Any] | None = None

    def __call__(self, on: bool) -> None:
        from autotrack import callback, patcher

        trackers = list(callback._live)
        if not self._wraps:
            self._wraps = [wrap for tracker in trackers for wrap in _wraps(tracker)]
        if self._listeners is None:
            self._listeners = _listeners()
        for tracker in trackers:
            for hook in [name for name in dir(type(tracker)) if name.startswith(STEP_HOOKS)]:
                if on:
                    vars(tracker).pop(hook, None)
                elif getattr(tracker, hook, None) is not None:  # None: Lightning passes it over
                    setattr(tracker, hook, _nothing)
        for listener in self._listeners:
            _switch_listener(listener, on)
        for owner, name, ours, original in self._wraps:
            patcher._put_back(owner, name, ours if on else original)


def _listeners() -> list[Any]:
    """What records in the fits of Keras that go on."""
    if "autotrack.integrations.keras" not in sys.modules:
        return []
    return [one for one in gc.get_objects() if type(one).__name__ == "AutoTrackListener"]


def _switch_listener(listener: Any, on: bool) -> None:
    """What a batch adds to the means of the epoch is known again behind the first ones, if their count goes on meanwhile."""
    from autotrack.integrations._keras_calls import _nothing as empty
    from autotrack.integrations.keras import KerasCallback

    batches = [fit.batches for _, fit in KerasCallback.watch.fits._items.values() if fit.active]

    def counts(batch: int, logs: Any = None) -> None:
        for one in batches:
            one.done = one._weight = batch + 1

    for one in batches:
        one._waiting.clear()
    for hook, instead in (("on_train_batch_begin", _nothing), ("on_train_batch_end", counts)):
        if on:
            vars(listener).pop(hook, None)
        elif vars(type(listener))[hook].__func__ is not empty:
            setattr(listener, hook, instead)


def _wraps(tracker: Any) -> Iterator[tuple[Any, str, Any, Any]]:
    for adapter in tracker._adapters.values():
        for (_, name), (owner, patch) in adapter.watch.patcher._owners.items():
            if owner() is not None and patch() is not None:
                yield owner(), name, patch().replacement, patch().original


def _nothing(*_: Any, **__: Any) -> None:
    """A hook of a tracker that is switched off."""
