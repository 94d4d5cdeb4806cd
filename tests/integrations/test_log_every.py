"""`AutoTrack(log_every=n)` outside of Lightning: every n-th step is recorded, and everything that is no step."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import pytest
from tiny_transformers import trainer

import autotrack
from autotrack.testing import only_run, points

pytestmark = pytest.mark.filterwarnings("default")


def test_thins_the_steps_of_the_hugging_face_trainer_and_not_what_it_logs(store):
    made = trainer(store.parent, [autotrack.AutoTrack(log_every=2)], logging_steps=3)
    made.train()
    run = only_run()
    assert points(run, "auto/loss") == [(2, made.losses[1]), (4, made.losses[3]), (6, made.losses[5])]
    assert [step for step, _ in points(run, "auto/step_time")] == [2, 4, 6]
    assert [step for step, _ in points(run, "loss")] == [3, 6]
    assert points(run, "auto/nonfinite") == [(1, 0)]


def test_thins_the_batches_of_keras_and_not_its_epochs(store):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((40, 3)), np.ones((40, 1))
    model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[autotrack.AutoTrack(log_every=4)])
    run = only_run()
    assert [step for step, _ in points(run, "auto/loss")] == [4, 8]
    assert [step for step, _ in points(run, "loss")] == [5, 10]
