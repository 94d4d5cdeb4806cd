"""The losses of single batches, out of the means of an epoch so far that Keras tells its callbacks."""

from threading import Lock
from typing import Any


class Losses:
    """The losses of single batches, out of running means that come in any order."""

    def __init__(self, sizes: tuple[int, int] | None) -> None:
        self.stride = 1
        self.begun = 0
        self._sizes = sizes
        self._lock = Lock()
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Keras begins a new mean."""
        self.begun = self._done = 0
        self._mean = 0.0
        self._waiting: dict[int, float] = {}

    def batches(self) -> int:
        """How many batches the epoch had."""
        return max(self.begun, self._done)

    def add(self, count: int, mean: float) -> list[tuple[int, float]]:
        """The mean after `count` batches is known; (count, loss) of what follows without a gap."""
        with self._lock:
            self._waiting[count] = mean
            found = []
            while (after := self._done + self.stride) in self._waiting:
                found.append(self._take(after))
            return found

    def rest(self) -> list[tuple[int, float]]:
        """(count, loss) of what stands behind a gap: the end of an epoch whose last execution was shorter."""
        with self._lock:
            return [self._take(count) for count in sorted(self._waiting)]

    def _take(self, count: int) -> tuple[int, float]:
        before, after = self._weight(self._done), self._weight(count)
        mean = self._waiting.pop(count)
        loss = mean if before == 0 else (after * mean - before * self._mean) / (after - before)
        self._done, self._mean = count, mean
        return count, loss

    def _weight(self, count: int) -> int:
        if self._sizes is None:
            return count
        batch, samples = self._sizes
        return min(count * batch, samples)


def sizes_of(arguments: dict[str, Any]) -> tuple[int, int] | None:
    """(batch size, samples) of a fit on arrays or tensors; None where Keras is given something that makes batches."""
    x: Any = arguments.get("x")
    while isinstance(x, list | tuple | dict) and x:
        x = next(iter(x.values() if isinstance(x, dict) else x))
    shape = getattr(x, "shape", None)
    if not shape or arguments.get("steps_per_epoch") is not None:
        return None
    samples, split = int(shape[0]), arguments.get("validation_split") or 0.0
    if split and arguments.get("validation_data") is None:
        samples = int(samples * (1.0 - split))
    return int(arguments.get("batch_size") or 32), samples
