"""What is measured around the optimizer steps of a fit: loss, learning rates, times."""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from autotrack.integrations._lightning_values import scalar


class Window:
    """The batches between two optimizer steps, and how long they took."""

    def __init__(self) -> None:
        self.filled = False
        """Whether a batch was added since it began."""
        self._loss: Any = None
        self._batches = 0
        self._samples: int | None = 0
        self._fetching: float | None = None
        self._fetch_began = 0.0
        self._paused = 0.0
        self._began: float | None = None

    def begin(self) -> None:
        """The next optimizer step is timed from here."""
        self._began, self._fetching = perf_counter(), None

    def lose(self) -> None:
        """Something else ran inside: its batches are none of the step that goes on, which is not timed."""
        self._loss, self._batches, self._samples, self.filled = None, 0, 0, False
        self._began, self._fetching = None, None

    def pause(self) -> None:
        """A validation begins."""
        self._paused = perf_counter()

    def resume(self) -> None:
        """A validation ends; its time is not the step's."""
        if self._began is not None and self._paused:
            self._began += perf_counter() - self._paused
        self._paused = 0.0

    def fetch(self) -> None:
        """The data loader is asked for a batch."""
        self._fetch_began = perf_counter()

    def fetched(self) -> None:
        """The data loader has answered."""
        self._fetching = (self._fetching or 0.0) + perf_counter() - self._fetch_began

    def add(self, loss: Any, rows: int | None) -> None:
        """One batch: its loss (None: unknown) and its number of samples."""
        self.filled = True
        if self._samples is not None:
            self._samples = None if rows is None else self._samples + rows
        if loss is not None:
            self._loss = loss if self._batches == 0 else self._loss + loss
            self._batches += 1

    def close(self, values: dict[str, Any]) -> None:
        """The optimizer has stepped: what was measured goes into `values`, and the next window begins."""
        now = perf_counter()
        if self._batches:
            values["auto/loss"] = self._loss if self._batches == 1 else self._loss / self._batches
        if self._began is not None and now > self._began:
            took = now - self._began
            values["auto/step_time"] = took
            if self._fetching is not None:
                values["auto/data_time"] = self._fetching
            if self._samples:
                values["auto/samples_per_second"] = self._samples / took
        self._loss, self._batches, self._samples, self.filled = None, 0, 0, False
        self._began, self._fetching = now, None


def rows_of(batch: Any) -> int | None:
    """The number of samples in a batch: the first dimension of the first array in it."""
    for _ in range(4):
        shape = getattr(batch, "shape", None)
        if shape is not None:
            return int(shape[0]) if len(shape) else 1
        if isinstance(batch, (list, tuple)):
            batch = batch[0] if batch else None
        elif isinstance(batch, Mapping):
            batch = next(iter(batch.values()), None)
        else:
            return None
    return None


class Rates:
    """The learning rate of each parameter group; one is handed out when it differs from the last of its group."""

    def __init__(self) -> None:
        self.new: dict[str, Any] = {}
        """What has changed since it was last taken: metric to rate."""
        self.all_read = False
        """Whether optimizers that have not stepped were looked at."""
        self._known: dict[int, list[_Group]] = {}

    def read(self, trainer: Any, optimizer: Any) -> None:
        """An optimizer of the trainer is about to step with these rates."""
        groups = optimizer.param_groups
        known = self._known.get(id(optimizer))
        if known is None or len(known) != len(groups):
            names = rate_names(trainer.optimizers)
            self._known = {place: [_Group(keys) for keys in names[place]] for place in names}
            known = self._known.get(id(optimizer), [])
        for group, before in zip(groups, known, strict=False):
            rate = group.get("lr")
            if rate is before.rate and type(rate) is float:
                continue
            # A tensor is known by its version: to compare it would be to wait for its device.
            state = rate if type(rate) is float else (id(rate), getattr(rate, "_version", rate))
            if before.state != state:
                before.rate, before.state = rate, state
                number = scalar(rate) if hasattr(rate, "detach") else rate
                if hasattr(number, "detach"):  # schedulers change it in place, before it is handed on
                    number = number.clone()
                if number is not None:
                    self.new.update(dict.fromkeys(before.keys, number))

    def take(self, values: dict[str, Any], trainer: Any) -> None:
        """Move what is new into `values`; the first time also of optimizers that have not stepped."""
        if not self.all_read:
            self.all_read = True
            for optimizer in trainer.optimizers:
                if all(group.state is None for group in self._known.get(id(optimizer), ())):
                    self.read(trainer, optimizer)
        if self.new:
            values.update(self.new)
            self.new = {}


class _Group:
    """A parameter group: its metrics and its last rate."""

    __slots__ = ("keys", "rate", "state")

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys
        self.rate: Any = None
        self.state: Any = None


def rate_names(optimizers: Sequence[Any]) -> dict[int, list[tuple[str, ...]]]:
    """Metrics of each optimizer's groups, by the optimizer's id.

    `auto/lr` is the first group of the first optimizer. Where there are several groups in all, each has a metric of its own
    too: `auto/lr/<group>`, with several optimizers `auto/lr/<optimizer>` or `auto/lr/<optimizer>/<group>`. Groups bear
    their own name if they have one, else their index, and optimizers their index.
    """
    names: dict[int, list[tuple[str, ...]]] = {}
    alone = sum(len(optimizer.param_groups) for optimizer in optimizers) == 1
    for place, optimizer in enumerate(optimizers):
        keys: list[tuple[str, ...]] = []
        for label in _labels(optimizer.param_groups):
            parts = [str(place)] if len(optimizers) > 1 else []
            parts += [label] if len(optimizer.param_groups) > 1 or not parts else []
            keys.append(() if alone else ("/".join(["auto/lr", *parts]),))
        if place == 0 and keys:
            keys[0] = ("auto/lr", *keys[0])
        names[id(optimizer)] = keys
    return names


def _labels(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    given = [str(group.get("name", place)) for place, group in enumerate(groups)]
    return given if len(set(given)) == len(given) else [str(place) for place in range(len(groups))]
