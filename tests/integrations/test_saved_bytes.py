"""Checkpoints that Lightning and Keras save while tracked are those of an untracked training, byte for byte."""

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autotrack

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import lightning.pytorch as pl
import tiny_lightning

pytestmark = pytest.mark.filterwarnings("default")
X, Y = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")


def lightning(callbacks: list[Any]) -> dict[str, Any]:
    saver = pl.callbacks.ModelCheckpoint("saved", monitor="val", save_top_k=2, save_last=True)
    stopper = pl.callbacks.EarlyStopping("val", patience=9)
    net, rows = tiny_lightning.model(pl, width=3), tiny_lightning.data()
    settings = {"max_epochs": 3, "enable_checkpointing": True}
    tiny_lightning.trainer(pl, [stopper, *callbacks, saver], **settings).fit(net, rows, rows)
    return {path.name: path.read_bytes() for path in Path("saved").iterdir()}


def with_keras(callbacks: list[Any]) -> dict[str, Any]:
    keras.utils.set_random_seed(0)
    keras.backend.clear_session()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    saver = keras.callbacks.ModelCheckpoint("{epoch}.keras")
    weights = keras.callbacks.ModelCheckpoint("{epoch}.weights.h5", save_weights_only=True)
    backup = keras.callbacks.BackupAndRestore("backup", delete_checkpoint=False)
    model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[saver, *callbacks, weights, backup])
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


def contents(name: str, saved: bytes, scratch: Path) -> Any:
    """What is in a file; of a .keras archive its members, without the date of the save and the addresses that are in it."""
    if not name.endswith(".keras"):
        return saved
    scratch.write_bytes(saved)
    with zipfile.ZipFile(scratch) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    facts = json.loads(members.pop("metadata.json"))
    assert facts.pop("date_saved")
    members["config.json"] = re.sub(rb'"shared_object_id": \d+', b"", members["config.json"])
    return members | {"metadata.json": facts}


@pytest.mark.parametrize("how", ["by hand", "autolog"])
@pytest.mark.parametrize(("framework", "train"), [("lightning", lightning), ("keras", with_keras)])
def test_files_are_those_of_the_untracked_training(store, tmp_path, monkeypatch, framework, train, how):
    def files(name: str, callbacks: list[Any]) -> dict[str, Any]:
        folder = tmp_path / "here"  # the same both times: Lightning saves the whole path
        folder.mkdir()
        monkeypatch.chdir(folder)
        saved = train(callbacks)
        folder.rename(tmp_path / name)
        return {name: contents(name, data, tmp_path / "scratch") for name, data in saved.items()}

    expected = files("untracked", [])
    if how == "autolog":
        getattr(autotrack, framework).autolog()
    found = files("tracked", [autotrack.AutoTrack()] if how == "by hand" else [])
    autotrack.autolog(disable=True)
    assert len(expected) >= 3
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    assert len(autotrack.runs()) == 1
