"""The values of single batches, out of the means of an epoch so far that Keras tells its callbacks, and how long they took."""

import sys
from collections.abc import Callable, Iterable
from sys import maxsize
from threading import Lock, get_ident
from time import perf_counter
from typing import Any

from autotrack.integrations._keras_rates import Rates
from autotrack.integrations._keras_sizes import Rows

_ROUNDING = 2.0**-24
"""One rounding to 32 bits. Off by one are Keras's sum over the epoch so far, with each batch, and each mean that it makes of it."""
_FINEST = 4 * _ROUNDING / 1e-3
"""The least part of the samples so far whose mean may be told: four roundings are 0.1 % of it then, of the epoch's mean."""

_STRETCH = 0.1
"""Worker threads take turns, and are some milliseconds late, or two are told of at once: so many seconds are timed as one."""

Told = tuple[int, dict[str, Any]]
"""How many batches of the epoch are done, and values."""


class Batches:
    """The batches of an epoch; what is told of them comes in any order.

    `means`: the metrics that are means over samples, and so can be taken apart. `sizes`: (batch size, samples), of arrays;
    `rows`: counts the samples of what else is taken. With neither nothing can be taken apart. `alone`: what Keras is told are no
    means of an epoch, but may be anything. `due`: whether values are recorded after so many batches of the epoch; what stands for
    several of them waits for that.
    """

    def __init__(
        self,
        means: Iterable[str],
        sizes: tuple[int, int] | None,
        rows: Rows | None = None,
        alone: bool = False,
        due: Callable[[int], bool] = bool,
    ) -> None:
        self.done = 0
        """How many are through."""
        self.stride = 1
        self.rates = Rates()
        names = {} if alone else {name: f"auto/batch/{name}" for name in means} | {"loss": "auto/loss"}
        self._means = {name: _Mean(key) for name, key in names.items()}
        self._sizes = sizes
        self._rows = rows
        self._due = due
        self._lock = Lock()
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Keras begins new means."""
        self.done = self._weight = 0
        self._whole = maxsize
        self.rates.batch = -1
        if self._rows is not None:
            self._rows.begin_epoch()
        for mean in self._means.values():
            mean.value, mean.weight, mean.done = 0.0, 0, 0
        self._waiting: dict[int, tuple[dict[str, Any], float]] = {}
        self._thread = get_ident()
        self._last = self._seen = perf_counter()
        self._timed = self._weight_timed = 0
        self._known = False

    def mix(self) -> None:
        """The means were begun anew, and may hold what was evaluated: of the batches from the next one on nothing is known."""
        self._whole = min(self._whole, self.rates.batch + 1)

    def add(self, count: int, logs: dict[str, Any]) -> list[Told]:
        """The means after `count` batches are known; the values of what follows without a gap."""
        now = perf_counter()
        with self._lock:
            if count == self.done + self.stride and not self._waiting:
                return [self._values(count, logs, now)]
            self._waiting[count] = dict(logs), now
            found = []
            while (after := self.done + self.stride) in self._waiting:
                found.append(self._values(after, *self._waiting.pop(after)))
            return found

    def rest(self) -> list[Told]:
        """What stands behind a gap: the end of an epoch whose last execution was shorter."""
        with self._lock:
            return [self._values(count, *self._waiting.pop(count)) for count in sorted(self._waiting)]

    def _values(self, count: int, logs: dict[str, Any], now: float) -> Told:
        """In one piece, because a call of Python's own costs as much as the work of one metric."""
        first, sizes = self.done, self._sizes
        after = min(count * sizes[0], sizes[1]) if sizes is not None else self._counted(count)
        share = after - self._weight
        whole = share > 0 and count <= self._whole
        values: dict[str, Any] = {}
        means = self._means
        for name, value in logs.items():
            if type(value) is not float:
                continue
            mean = means.get(name)
            if mean is None or not whole:
                values[name if name.startswith("auto/") else f"auto/reported/{name}"] = value
            elif (part := after - mean.weight) >= after * _FINEST and (part == share or self._due(count)):
                own = (after * value - mean.weight * mean.value) / part if mean.weight else value
                if not 0.0 <= own <= 1.0:
                    own = _settled(own, after * value / part, count - mean.done)
                values[mean.key] = own
                mean.value, mean.weight, mean.done = value, after, count
        self._seen, self._known = now, share > 0
        if get_ident() == self._thread or (now - self._last >= _STRETCH and self._due(count)):
            values |= self._times(count, after)
        rates = self.rates
        if rates.changes or rates.formula is not None:
            rates.take(first, count, values)
        self.done, self._weight = count, after
        return count, values

    def times_of_epoch(self) -> dict[str, Any]:
        """The mean times of an epoch that was too short to be timed before its end."""
        return {} if self._timed else self._times(self.done, self._weight)

    def _times(self, count: int, after: int) -> dict[str, Any]:
        """Those of the batches that have come since the last times."""
        took, batches = self._seen - self._last, count - self._timed
        if took <= 0.0 or batches <= 0:  # worker threads may overtake each other
            return {}
        values = {"auto/step_time": took / batches}
        if self._known:
            values["auto/samples_per_second"] = (after - self._weight_timed) / took
        self._last, self._timed, self._weight_timed = self._seen, count, after
        return values

    def _counted(self, count: int) -> int:
        """The samples after `count` batches; no more than before where that is unknown, as it is then for the rest of the epoch."""
        after = None if self._rows is None else self._rows.after(count)
        return self._weight if after is None else after


class _Mean:
    """The mean of a metric when it was last taken apart, of so many samples and batches, and the name of what has come since."""

    __slots__ = ("done", "key", "value", "weight")

    def __init__(self, key: str) -> None:
        self.key = key
        self.value = 0.0
        self.weight = self.done = 0


def _settled(value: float, sum_so_far: float, batches: int) -> float:
    """A mean of so many batches below 0 or above 1; 0 or 1 where rounding may have brought it there. The sum has the same unit.

    What is never above 1 is a share, of samples that were counted: their sum is exact, only the means of it are not.
    """
    bound, roundings = (0.0, 3 + batches) if value < 0.0 else (1.0, 4)
    return bound if abs(value - bound) <= roundings * _ROUNDING * abs(sum_so_far) else value


def means_of(model: Any, weighted: bool) -> list[str]:
    """The metrics of a model that are means over the samples of an epoch, under the names that they have in the logs.

    Left out are metrics that are no means (AUC, precision, a root), those that are weighted, functions of the user's own
    (one may return a mean of its batch, which then counts once), and all where a mask leaves samples out.
    `weighted`: whether samples may have weights.
    """
    layers = model._flatten_layers()
    if any(type(layer).__name__ == "Masking" or getattr(layer, "mask_zero", False) for layer in layers):
        return []
    compiled = getattr(model, "_compile_metrics", None)
    groups = list(getattr(compiled, "_flat_metrics", None) or [])
    if not weighted:
        groups += list(getattr(compiled, "_flat_weighted_metrics", None) or [])
    found = [metric.name for metric in getattr(getattr(model, "_compile_loss", None), "metrics", None) or []]
    for group in groups:
        prefix = f"{group.output_name}_" if getattr(group, "output_name", None) else ""
        metrics = getattr(group, "metrics", None) or []
        found += [prefix + metric.name for metric in metrics if _is_mean(metric)]
    return [name for name in found if found.count(name) == 1]


def is_coarse() -> bool:
    """Whether Keras computes its means in 16 bits: those cannot be taken apart."""
    return sys.modules["keras.src.backend.config"].floatx() in ("float16", "bfloat16")


def _is_mean(metric: Any) -> bool:
    """Whether a metric is one of Keras's own that hands out the mean of a number for each sample."""
    kinds = {base.__name__: base for base in type(metric).__mro__}
    parts = (type(metric), getattr(metric, "_fn", None))
    return (
        "MeanMetricWrapper" in kinds
        and all(str(getattr(part, "__module__", "")).startswith("keras.src.") for part in parts)
        and type(metric).result is vars(kinds["Mean"])["result"]
    )
