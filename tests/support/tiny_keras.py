"""A tiny model of Keras and its data for the tests: 28 rows make three batches of 8 and one of 4."""

import os
from typing import Any

import numpy as np

from autotrack.testing import points

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras

ROWS, BATCH = 28, 8
_RANDOM = np.random.RandomState(0)
X = _RANDOM.randn(ROWS, 4).astype("float32")
Y = _RANDOM.randn(ROWS, 1).astype("float32")
PLAIN = {"batch_size": BATCH, "epochs": 2, "verbose": 0, "shuffle": False}


def net(rate: Any, **settings: Any) -> Any:
    """A linear model with the mean squared and the mean absolute error; with the rate 0.0 it stays as it is."""
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    made.compile(optimizer=keras.optimizers.SGD(rate), loss="mse", metrics=["mae"], **settings)
    return made


def values(run: Any, key: str) -> list[float]:
    """The values of a metric, without their steps."""
    return [value for _, value in points(run, key)]
