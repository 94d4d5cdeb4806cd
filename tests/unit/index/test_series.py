"""Arrays of a series as bytes: whatever the numbers, they come back bit for bit, and those of a training take little room."""

import math
import random

import numpy as np
import pytest

from autotrack.index.series import pack_floats, pack_rows, unpack_floats
from autotrack.journal.reader import Floats

COUNT = 4096
RNG = np.random.default_rng(7)
PART = np.arange(COUNT) / COUNT

ODD = [
    0.0,
    -0.0,
    math.inf,
    -math.inf,
    math.nan,
    -math.nan,
    5e-324,
    1.7976931348623157e308,
    1e-46,
    3.5e38,
    2.0**24 + 1,
]
SIGNALLING = np.array([0x7FF0000000000001, -0x000FFFFFFFFFFFFF], np.int64).view(np.float64)


def same_bits(one: Floats, other: Floats) -> bool:
    return one.dtype == np.float64 and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("count", [0, 1, 2, 64, 65, 1000, COUNT])
@pytest.mark.parametrize("single", [True, False])
def test_series_of_any_length_come_back_bit_for_bit(count: int, single: bool) -> None:
    values = RNG.normal(size=count)
    values = values.astype("f4").astype("f8") if single else values
    assert same_bits(unpack_floats(pack_floats(values)), values)


@pytest.mark.parametrize("base", ["single", "double", "smooth"])
def test_odd_numbers_among_others_come_back_bit_for_bit(base: str) -> None:
    values = {
        "single": RNG.normal(size=1000).astype("f4").astype("f8"),
        "double": RNG.normal(size=1000),
        "smooth": np.cos(np.arange(1000) / 1000),
    }[base].copy()
    odd = np.concatenate([ODD, SIGNALLING])
    places = random.Random(3).sample(range(1000), len(odd))
    values[places] = odd
    assert same_bits(unpack_floats(pack_floats(values)), values)
    for place, one in zip(places, odd, strict=True):
        alone = values[:100].copy()
        alone[place % 100] = one
        assert same_bits(unpack_floats(pack_floats(alone)), alone)


def test_rows_of_a_matrix_come_back_each_by_itself() -> None:
    for width in (3, 200):
        matrix = np.stack([RNG.normal(size=width), RNG.normal(size=width).astype("f4").astype("f8")])
        for row, data in zip(matrix, pack_rows(matrix), strict=True):
            assert same_bits(unpack_floats(data), row)


@pytest.mark.parametrize(
    ("values", "most"),
    [
        pytest.param(
            (0.1 + 0.05 * RNG.random(COUNT)).astype("f4").astype("f8"), 3.3, id="noise of single precision"
        ),
        pytest.param(0.0005 * (1 + np.cos(math.pi * PART)), 5.0, id="a smooth rate"),
        pytest.param(np.full(COUNT, 0.001), 0.1, id="a constant"),
    ],
)
def test_a_point_of_a_training_takes_few_bytes(values: Floats, most: float) -> None:
    assert len(pack_floats(values)) / COUNT < most
