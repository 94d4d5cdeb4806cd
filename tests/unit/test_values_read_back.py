"""Numbers and names of every kind: written, then read back equal through history, summary and exports."""

import csv
import json
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import autotrack
from autotrack import AutotrackWarning
from autotrack.cli.app import app
from autotrack.verify import verify


class Answer:
    """What a user's own number type may look like."""

    def __float__(self) -> float:
        return 2.5


class Loss(float):
    """A subclass of float, as units libraries have them."""


NUMBERS: list[tuple[str, Any, float]] = [
    ("float", 0.1, 0.1),
    ("smallest", 5e-324, 5e-324),
    ("largest", 1.7976931348623157e308, 1.7976931348623157e308),
    ("negative zero", -0.0, -0.0),
    ("nan", math.nan, math.nan),
    ("infinity", math.inf, math.inf),
    ("minus infinity", -math.inf, -math.inf),
    ("true", True, 1.0),
    ("int64", -(2**63), -(2.0**63)),
    ("uint64", 2**64 - 1, 2.0**64),
    ("beyond 64 bits", 2**100 + 1, 2.0**100),
    ("beyond a float", -(10**400), -math.inf),
    ("decimal", Decimal("0.1"), 0.1),
    ("decimal nan", Decimal("NaN"), math.nan),
    ("decimal beyond a float", Decimal("1e400"), math.inf),
    ("fraction", Fraction(1, 3), 1 / 3),
    ("own type", Answer(), 2.5),
    ("subclass", Loss(1.5), 1.5),
    ("bool_", np.bool_(True), 1.0),
    *((f"np.{name}", np.dtype(name).type(3), 3.0) for name in ("int8", "int16", "int32", "int64", "intp")),
    *((f"np.{name}", np.dtype(name).type(3), 3.0) for name in ("uint8", "uint16", "uint32", "uint64")),
    ("np.uint64 largest", np.uint64(2**64 - 1), 2.0**64),
    ("np.float16", np.float16(0.1), 0.0999755859375),
    ("np.float32", np.float32(0.1), 0.10000000149011612),
    ("np.float64", np.float64(0.1), 0.1),
    ("np.longdouble", np.longdouble("0.1"), 0.1),
    ("np.longdouble nan", np.longdouble("nan"), math.nan),
    ("0-d float32", np.array(0.1, np.float32), 0.10000000149011612),
    ("0-d negative zero", np.array(-0.0), -0.0),
    ("0-d uint64", np.array(2**64 - 1, np.uint64), 2.0**64),
    ("0-d bool", np.array(False), 0.0),
    ("0-d big-endian", np.array(0.5, ">f4"), 0.5),
]


def same(found: float, expected: float) -> bool:
    """Equal to the last bit of a float64; any NaN is NaN."""
    return found.hex() == expected.hex() or (found != found and expected != expected)


@pytest.mark.filterwarnings(
    "ignore:.autocompletion. is renamed"
)  # the oldest Typer, with the newest click it takes
@pytest.mark.parametrize("together", [False, True])
def test_every_number_comes_back(store: Path, together: bool, tmp_path: Path) -> None:
    with autotrack.init(project="p") as run:
        if together:
            run.log({name: value for name, value, _ in NUMBERS}, step=7)
        else:
            for name, value, _ in NUMBERS:
                run.log({name: value}, step=7)
    record = autotrack.get_run(run.id)
    assert record.damaged == 0
    history = record.history()
    assert set(history) == {name for name, _, _ in NUMBERS}
    exported = export(run.id, tmp_path / "points.json")
    rows = list(csv.DictReader(Path(export_to(run.id, tmp_path / "points.csv")).read_text().splitlines()))
    for name, _, expected in NUMBERS:
        series = history[name]
        assert (series.steps.tolist(), series.values.dtype) == ([7], np.float64), name
        assert same(float(series.values[0]), expected), name
        # A sum-up that is zero has no sign: SQLite keeps none.
        assert same(record.summary[name] + 0.0, expected + 0.0), name
        assert same(record.metrics[name].last + 0.0, expected + 0.0), name
        assert record.metrics[name].nonfinite == (not math.isfinite(expected)), name
        assert same(float(exported[name]["values"][0]), expected), name
        (row,) = [row for row in rows if row["key"] == name]
        assert same(float(row["value"]), expected), name
    assert verify(store).whole


def export_to(run: str, path: Path) -> Path:
    result = CliRunner().invoke(app, ["export", run, "--output", str(path)])
    assert result.exit_code == 0, result.output
    return path


def export(run: str, path: Path) -> dict[str, Any]:
    (found,) = json.loads(export_to(run, path).read_text())
    return dict(found["series"])


REFUSED = [
    "0.5",
    None,
    np.array([1.0]),
    np.zeros((2, 2)),
    np.array(1j),
    np.complex64(1),
    np.str_("1"),
    np.array("1"),
    np.array(None),
    np.datetime64("2026-01-01"),
    Decimal("sNaN"),
    Fraction(10**400),
    type("Bad", (), {"__float__": lambda self: "no"})(),
]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_is_no_number_is_refused_once_by_its_name(store: Path, value: Any) -> None:
    with autotrack.init(project="p") as run:
        with pytest.warns(AutotrackWarning) as told:
            run.log({"bad/one": value, "good": 0})
        run.log({"bad/one": value, "good": 1})
        run.log({"good": 2})
    assert len(told) == 1
    assert "'bad/one'" in str(told[0].message)
    record = autotrack.get_run(run.id)
    assert set(record.history()) == {"good"}
    assert record.metrics["good"].count == 3
    assert verify(store).whole


NAMES = [
    "",
    " ",
    ".",
    "$",
    "a.b",
    'quote"\\',
    "a\nb\r\tc\x00\x1b[31m\x7f",
    "ключ/损失/🔥",
    "e\u0301",
    "\u202eabc",
    "x" * 1_000_000,
    "null",
    "__proto__",
    "system",
    "'; DROP TABLE keys; --",
]


def test_every_name_comes_back(store: Path) -> None:
    with autotrack.init(project="p") as run:
        for step in range(2):
            run.log({name: step + place for place, name in enumerate(NAMES)}, step=step)
        run.log({"lone \ud800": 5.0}, step=9)
    record = autotrack.get_run(run.id)
    history = record.history()
    assert set(history) == {*NAMES, "lone \\ud800"}
    for place, name in enumerate(NAMES):
        assert history[name].values.tolist() == [place, place + 1.0]
        assert record.summary[name] == place + 1.0
        assert history[name].steps.tolist() == [0, 1]
    assert record.summary["lone \\ud800"] == 5.0
    assert verify(store).whole


def test_texts_of_a_config_come_back(store: Path) -> None:
    values = {
        "surrogate": "a\ud800b",
        "$": {"$": "nan"},
        "numbers": [math.inf, -0.0, 2**100, True],
        "": "",
        "nul\x00": "\x00",
        "nested": {"a.b": {"c": None}},
    }
    with autotrack.init(project="p", config=values) as run:
        pass
    found = autotrack.get_run(run.id).config
    assert found == values | {"surrogate": "a\\ud800b"}
    assert math.copysign(1, found["numbers"][1]) == -1
    assert found["numbers"][3] is True


def test_a_hundred_thousand_names_come_back(store: Path) -> None:
    names = [f"layer.{number}/weight.norm" for number in range(100_000)]
    with autotrack.init(project="p") as run:
        for step in range(2):
            run.log({name: number + step / 2 for number, name in enumerate(names)}, step=step)
    record = autotrack.get_run(run.id)
    summary = dict(record.summary)
    assert len(summary) == 100_000
    assert all(summary[name] == number + 0.5 for number, name in enumerate(names))
    assert record.history(names[77_777])[names[77_777]].values.tolist() == [77_777.0, 77_777.5]


@pytest.mark.proof
def test_ten_million_points_come_back(store: Path) -> None:
    """Written at the speed of `log`, with the sum of all values known."""
    with autotrack.init(project="p") as run:
        for step in range(2_500_000):
            run.log({"a": step, "b": step * 0.5, "c": -step, "d": step % 1000}, step=step)
    record = autotrack.get_run(run.id)
    for key, factor in (("a", 1.0), ("b", 0.5), ("c", -1.0)):
        series = record.history(key)[key]
        assert np.array_equal(series.steps, np.arange(2_500_000))
        assert np.array_equal(series.values, np.arange(2_500_000) * factor)
        assert record.metrics[key].count == 2_500_000
    assert len(record.history("d", max_points=1_000)["d"].values) <= 1_000
    assert record.damaged == 0
    report = verify(store)
    assert report.whole
    assert report.lines > 2_500_000
