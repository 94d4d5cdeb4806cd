"""The same thing by hand: `AutoTrack()` in the callbacks of `fit`, and plain `python keras_callback.py`."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np

from autotrack import AutoTrack

if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(128, 8)).astype("float32")
    model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    model.fit(
        x, x.sum(axis=1), epochs=2, verbose=0, callbacks=[AutoTrack(project="examples", name="by hand")]
    )
