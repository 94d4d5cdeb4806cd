"""Keras: every save of a model is an event of the run that trained it."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotrack.testing import only_run

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "keras"
X, Y = np.ones((16, 4), "float32"), np.ones((16, 1), "float32")


def fit(callbacks: list[Any], epochs: int = 3) -> Any:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(X, Y, batch_size=8, epochs=epochs, verbose=0, callbacks=callbacks)
    return model


def test_saves_have_the_value_that_the_callback_compares(store, arm, tmp_path):
    file = str(tmp_path / "m-{epoch:02d}.weights.h5")
    saver = keras.callbacks.ModelCheckpoint(file, monitor="loss", save_weights_only=True)
    model = fit([*arm(), saver])
    found = only_run().checkpoints
    losses = model.history.history["loss"]
    assert [(Path(one.path).name, one.step, one.epoch, one.score, one.monitor) for one in found] == [
        (f"m-{epoch + 1:02d}.weights.h5", 2 * epoch + 2, epoch, losses[epoch], "loss") for epoch in range(3)
    ]
    assert [one.size for one in found] == [Path(one.path).stat().st_size for one in found]
    assert {(one.by, one.state) for one in found} == {("ModelCheckpoint", "sealed")}


def test_a_file_that_is_saved_to_again_is_overwritten(store, arm, tmp_path):
    saver = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="loss", save_freq=1)
    model = fit([*arm(), saver], epochs=2)
    model.save(tmp_path / "best.keras")
    keras.saving.save_model(model, tmp_path / "other.keras")
    model.save_weights(tmp_path / "other.weights.h5")
    found = only_run().checkpoints
    best = [one for one in found if "best" in one.path]
    assert [(one.step, one.by, one.state) for one in best] == [
        (1, "ModelCheckpoint", "overwritten"),
        (2, "ModelCheckpoint", "overwritten"),
        (3, "ModelCheckpoint", "overwritten"),
        (4, "ModelCheckpoint", "overwritten"),
        (4, "user", "sealed"),
    ]
    assert [one.step for one in found[-2:]] == [4, 4]
    assert [Path(one.path).name for one in found[-2:]] == ["other.keras", "other.weights.h5"]


def test_the_backup_is_gone_when_the_training_is_over(store, arm, tmp_path):
    fit([*arm(), keras.callbacks.BackupAndRestore(tmp_path / "backup")])
    found = only_run().checkpoints
    assert [(one.step, one.by, one.state) for one in found] == [
        (2, "BackupAndRestore", "overwritten"),
        (4, "BackupAndRestore", "overwritten"),
        (6, "BackupAndRestore", "removed"),
    ]
    assert found[-1].why == "training over"


def test_a_save_that_fails_is_no_checkpoint(store, arm, tmp_path):
    model = fit(arm())
    with pytest.raises(ValueError, match="extension"):
        model.save(tmp_path / "model.unknown")
    assert only_run().checkpoints == []


def test_another_model_that_is_saved_within_a_fit_has_its_step_and_epoch(store, arm, tmp_path):
    class Keeps(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            part.save(tmp_path / "part.keras")

    part = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    fit([*arm(), Keeps()], epochs=2)
    assert [(one.step, one.epoch) for one in only_run().checkpoints] == [(2, 0), (4, 1)]
