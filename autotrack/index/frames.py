"""Tables for pandas and polars, which are imported where they are used."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autotrack.errors import MissingExtra

if TYPE_CHECKING:
    import pandas
    import polars

Columns = Mapping[str, Sequence[Any] | npt.NDArray[Any]]


def pandas_frame(columns: Columns) -> "pandas.DataFrame":
    """A pandas DataFrame; times without a zone become UTC."""
    library = need("pandas")
    frame: pandas.DataFrame = library.DataFrame({name: _listed(column) for name, column in columns.items()})
    for name, column in columns.items():
        if isinstance(column, np.ndarray) and column.dtype.kind == "M":
            frame[name] = frame[name].dt.tz_localize("UTC")
    return frame


def polars_frame(columns: Columns) -> "polars.DataFrame":
    """A polars DataFrame; times without a zone become UTC."""
    library = need("polars")
    series = []
    for name, column in columns.items():
        made = library.Series(name, column if isinstance(column, np.ndarray) else list(column), strict=False)
        if isinstance(column, np.ndarray) and column.dtype.kind == "M":
            made = made.dt.replace_time_zone("UTC")
        series.append(made)
    frame: polars.DataFrame = library.DataFrame(series)
    return frame


def moments(seconds: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Unix seconds as datetime64 of microseconds; NaN becomes NaT."""
    missing = np.isnan(seconds)
    whole = np.rint(np.where(missing, 0.0, seconds) * 1e6).astype("datetime64[us]")
    whole[missing] = np.datetime64("NaT", "us")
    return whole


def need(name: str) -> Any:
    """A library that only this needs; MissingExtra with the install line when it is not there."""
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtra(
            f"{name} is not installed ({error}), and it is needed for this. Install it: pip install 'autotrack-ml[{name}]'"
        ) from error


def _listed(column: Sequence[Any] | npt.NDArray[Any]) -> Any:
    return column if isinstance(column, np.ndarray) else list(column)
