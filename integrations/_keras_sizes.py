"""How many samples the batches of a Keras fit have: by those the means that Keras tells its callbacks are weighed.

Of arrays they are known before. Of everything else each batch is looked at as the training takes it: its shapes are read, which
waits for nothing, and it is handed on as it is.
"""

import sys
from collections import deque
from typing import Any
from weakref import ref

from autotrack.guard import reason

_TRAINERS = ("keras.src.backend.torch.trainer", "keras.src.backend.jax.trainer")
_NESTED = (tuple, list, dict)
_DEPTH = 12
"""How many calls may lie between Keras's `fit` and its callbacks' hooks."""


class Rows:
    """The samples of the batches that were taken in this epoch, which has so many `steps` as far as Keras tells."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._waiting: deque[int | None] = deque()
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Nothing is taken yet."""
        self._waiting.clear()
        self._taken, self._total = 0, 0
        self._known = True

    def see(self, batch: Any) -> Any:
        """The same batch."""
        self._waiting.append(reason(rows_in, batch)[0])
        return batch

    def after(self, count: int) -> int | None:
        """How many samples the first `count` batches have, where all have told it; `count` never falls within an epoch.

        The last execution of `steps_per_execution` batches may take more of them than the epoch has steps.
        """
        while self._waiting and (self._taken < count or count >= self._steps):
            rows = self._waiting.popleft()
            self._taken += 1
            self._total += rows or 0
            self._known = self._known and rows is not None
        return self._total if self._known else None


def rows_in(batch: Any) -> int | None:
    """How many samples a batch has; None where its arrays differ in that. AttributeError where a part is no array."""
    found: set[int] = set()
    _collect(batch, found)
    return int(found.pop()) if len(found) == 1 else None


def _collect(part: Any, found: set[int]) -> None:
    if isinstance(part, _NESTED):
        for one in part.values() if isinstance(part, dict) else part:
            _collect(one, found)
    elif part is not None:
        found.add(part.shape[0])


def counted(steps: int) -> Rows | None:
    """Have each batch seen that the `fit` which is calling us takes; None where no `fit` of Keras on torch or JAX is."""
    iterator = _iterator_of_fit()
    if iterator is None:
        return None
    rows, kept = Rows(steps), ref(iterator)  # the iterator holds the data, and must not hold itself

    def batches() -> Any:
        one: Any = kept()
        return map(rows.see, type(one)._get_iterator(one))

    iterator._get_iterator = batches
    return rows


def _iterator_of_fit() -> Any:
    """What hands its batches to the `fit` that is calling: it is made for this call alone, and asked anew for each epoch."""
    frame = sys._getframe(1)
    for _ in range(_DEPTH):
        if frame.f_back is None:
            break
        frame = frame.f_back
        if frame.f_code.co_name == "fit" and frame.f_globals.get("__name__") in _TRAINERS:
            found = frame.f_locals.get("epoch_iterator")
            return found if hasattr(type(found), "_get_iterator") else None
    return None


def sizes_of(arguments: dict[str, Any]) -> tuple[int, int] | None:
    """(batch size, samples) of a fit on arrays or tensors; None where batches may have any size."""
    x: Any = arguments.get("x")
    if arguments.get("steps_per_epoch") is not None:
        return None
    while isinstance(x, list | tuple | dict) and x:
        x = next(iter(x.values() if isinstance(x, dict) else x))
    shape = getattr(x, "shape", None)
    if not shape:
        return None
    samples, split = int(shape[0]), arguments.get("validation_split") or 0.0
    if split and arguments.get("validation_data") is None:
        samples = int(samples * (1.0 - split))
    return int(arguments.get("batch_size") or 32), samples
