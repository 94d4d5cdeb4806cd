"""The series of a run: a mapping from keys to arrays."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from autotrack.index import frames
from autotrack.index.blocks import Late
from autotrack.index.series import Points, thinned
from autotrack.journal.reader import Floats, Ints

if TYPE_CHECKING:
    import pandas
    import polars


class Series:
    """The points of one key in the order they were recorded.

    `steps`: int64; `times`: float64, Unix seconds (UTC); `values`: float64, NaN and infinities as
    recorded, whole numbers beyond 2**53 as the nearest double. All of one length.
    """

    def __init__(self, steps: Ints, times: Floats | Late[Floats], values: Floats) -> None:
        self.steps = steps
        self.values = values
        self._times = times

    @property
    def times(self) -> Floats:
        """When each point was recorded; worked out when they are first asked for."""
        times = self._times
        return times() if isinstance(times, Late) else times

    def __reduce__(self) -> tuple[Any, ...]:
        return Series, (self.steps, self.times, self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        if not len(self):
            return "Series(0 points)"
        return (
            f"Series({len(self)} points, steps {self.steps[0]} to {self.steps[-1]}, last {self.values[-1]:g})"
        )


class History(Mapping[str, Series]):
    """The series of a run by key: `history["loss"].values`."""

    def __init__(self, series: Mapping[str, Series]) -> None:
        self._series = dict(series)

    def __getitem__(self, key: str) -> Series:
        try:
            return self._series[key]
        except KeyError:
            raise KeyError(missing_key(key, list(self._series))) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._series)

    def __len__(self) -> int:
        return len(self._series)

    def __contains__(self, key: object) -> bool:
        return key in self._series

    def __repr__(self) -> str:
        inside = ", ".join(f"{key!r}: {len(series)} points" for key, series in list(self._series.items())[:8])
        return f"History({inside}{', …' if len(self) > 8 else ''})"

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a point: key, step, time (UTC), value. Needs pandas."""
        return frames.pandas_frame(self._columns())

    def to_polars(self) -> "polars.DataFrame":
        """One row a point: key, step, time (UTC), value. Needs polars."""
        return frames.polars_frame(self._columns())

    def _columns(self) -> frames.Columns:
        series = list(self._series.values())
        none = np.zeros(0)
        return {
            "key": [key for key, one in self._series.items() for _ in range(len(one))],
            "step": np.concatenate([none.astype(np.int64), *(one.steps for one in series)]),
            "time": frames.moments(np.concatenate([none, *(one.times for one in series)])),
            "value": np.concatenate([none, *(one.values for one in series)]),
        }


def series_of(points: Points, max_points: int | None) -> Series:
    """Points as a series, thinned out to at most `max_points`."""
    if max_points is not None:
        points = thinned(points, max_points)
    steps = points.steps if points.steps is not None else np.arange(len(points), dtype=np.int64)
    times = points.late_times
    return Series(steps, Late(lambda: times() / 1e6), points.values)


def missing_key(key: object, known: list[str]) -> str:
    """The sentence for a key that is not there."""
    near = get_close_matches(str(key), known, 3)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else _listed(known)
    return f"no metric {str(key)[:100]!r} in this run. {hint}"


def _listed(known: list[str]) -> str:
    if not known:
        return "It has none."
    return f"It has: {', '.join(map(repr, known[:12]))}{', …' if len(known) > 12 else ''}."
