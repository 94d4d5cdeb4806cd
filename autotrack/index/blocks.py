"""From the lines of journals to blocks: the points of all keys that were logged together, as one matrix."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from autotrack.journal.reader import Batch, Floats, Group, Ints

Numbers = TypeVar("Numbers", bound=npt.NDArray[np.int64 | np.float64])
_BATCH = 2**40


class Line(NamedTuple):
    """What a stretch of points belongs to; `run` and `journal` are row numbers."""

    run: int
    journal: int
    sampled: bool


class Late(Generic[Numbers]):
    """Numbers that are worked out when they are first asked for: most who read a series want no times."""

    __slots__ = ("_found", "_make")

    def __init__(self, make: Callable[[], Numbers]) -> None:
        self._make = make
        self._found: Numbers | None = None

    def __call__(self) -> Numbers:
        found = self._found
        if found is None:
            found = self._found = self._make()
        return found


class Axis:
    """What the points of several keys share: `steps` is None for system samples, `times` are Unix microseconds."""

    def __init__(self, seqs: Ints, steps: Ints | None, times: Ints | Late[Ints]) -> None:
        self.seqs = seqs
        self.steps = steps
        self._times = times

    @property
    def times(self) -> Ints:
        """When each point was recorded."""
        times = self._times
        return times() if isinstance(times, Late) else times

    @property
    def late_times(self) -> Late[Ints]:
        """The times, to be asked for later; this holds on to nothing else of the points."""
        times = self._times
        return times if isinstance(times, Late) else Late(lambda: times)

    def __len__(self) -> int:
        return len(self.seqs)

    def take(self, places: npt.NDArray[np.int64] | slice) -> "Axis":
        """The places of an array of them, or of a slice."""
        steps = None if self.steps is None else self.steps[places]
        return Axis(self.seqs[places], steps, self.times[places])


@dataclass
class Block:
    """Points in the order of a journal's file: one row of `values` for each of `keys`."""

    line: Line
    keys: list[str]
    axis: Axis
    values: Floats


def joined(axes: list[Axis]) -> Axis:
    """Several axes behind one another."""
    if len(axes) == 1:
        return axes[0]
    steps = [axis.steps for axis in axes if axis.steps is not None]
    return Axis(
        np.concatenate([axis.seqs for axis in axes]),
        np.concatenate(steps) if len(steps) == len(axes) else None,
        np.concatenate([axis.times for axis in axes]),
    )


class Stretch(NamedTuple):
    """A group of lines with the same keys, and where they stand among all that are read."""

    group: Group
    axis: Axis
    places: Ints


def blocks_of(batches: Iterable[tuple[Batch, int, int]], run_rows: Mapping[str | None, int]) -> list[Block]:
    """The blocks of some batches of one run's folder: each with its journal's row and what makes wall time of its clock.

    `run_rows`: the rows of the runs by a child's id, None for the run of the folder.
    """
    lines: dict[Line, list[Stretch]] = {}
    for number, (batch, journal, shift) in enumerate(batches):
        for group in batch.groups:
            line = Line(run_rows[group.child], journal, group.steps is None)
            axis = Axis(group.seqs, group.steps, (group.monos + shift) // 1000)
            lines.setdefault(line, []).append(Stretch(group, axis, group.places + number * _BATCH))
    return [block for line, stretches in lines.items() for block in _blocks(line, stretches)]


def _blocks(line: Line, stretches: list[Stretch]) -> list[Block]:
    if len(stretches) == 1:
        group = stretches[0].group
        return [Block(line, list(group.keys), stretches[0].axis, np.ascontiguousarray(group.values.T))]
    columns = [{key: place for place, key in enumerate(one.group.keys)} for one in stretches]
    where: dict[str, list[int]] = {}
    for number, places in enumerate(columns):
        for key in places:
            where.setdefault(key, []).append(number)
    together: dict[tuple[int, ...], list[str]] = {}
    for key, numbers in where.items():
        together.setdefault(tuple(numbers), []).append(key)
    return [_together(line, stretches, columns, numbers, keys) for numbers, keys in together.items()]


def _together(
    line: Line,
    stretches: list[Stretch],
    columns: list[dict[str, int]],
    numbers: tuple[int, ...],
    keys: list[str],
) -> Block:
    """The block of keys that stand in the same stretches."""
    axis = joined([stretches[number].axis for number in numbers])
    parts = [
        stretches[number].group.values[:, [columns[number][key] for key in keys]].T for number in numbers
    ]
    values = np.concatenate(parts, axis=1)
    places = np.concatenate([stretches[number].places for number in numbers])
    if not bool(np.all(places[1:] > places[:-1])):
        order = np.argsort(places, kind="stable")
        axis, values = axis.take(order), values[:, order]
    return Block(line, keys, axis, np.ascontiguousarray(values))
