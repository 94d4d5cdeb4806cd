"""`checkpoints.load` gives back what was saved, and never runs what a file would run unless it was told to."""

import os
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import safetensors.torch
import torch
from python_process import answer

import autotrack
from autotrack import checkpoints
from autotrack.catalog.loading import contents, load_file
from autotrack.errors import AutotrackError, NotWhole, PickleRefused

pytestmark = pytest.mark.filterwarnings("default")
TENSORS = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def recorded(path: Path) -> str:
    with autotrack.init(project="p") as run:
        run.log_checkpoint(path)
    return run.id


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
def test_torch_tensors_are_loaded_on_the_cpu(tmp_path: Path, old: bool) -> None:
    torch.save(TENSORS, tmp_path / "m.pt", _use_new_zipfile_serialization=not old)
    loaded = checkpoints.load(recorded(tmp_path / "m.pt"))
    assert all(torch.equal(loaded[name], tensor) for name, tensor in TENSORS.items())
    assert loaded["w"].device.type == "cpu"


@pytest.mark.usefixtures("store")
def test_safetensors_are_loaded(tmp_path: Path) -> None:
    safetensors.torch.save_file(TENSORS, tmp_path / "m.safetensors")
    loaded = checkpoints.load(recorded(tmp_path / "m.safetensors"))
    assert all(torch.equal(loaded[name], tensor) for name, tensor in TENSORS.items())


@pytest.mark.usefixtures("store")
def test_keras_models_and_weights_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    loaded = checkpoints.load(recorded(tmp_path / "m.keras"))
    for mine, saved in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, saved)
    arrays = checkpoints.load(recorded(tmp_path / "m.weights.h5"))
    assert any(np.array_equal(one, model.get_weights()[0]) for one in arrays.values())
    keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x)]).save(tmp_path / "code.keras")
    with pytest.raises(PickleRefused, match="Python code"):
        load_file(tmp_path / "code.keras")


@pytest.mark.usefixtures("store")
def test_arrays_are_loaded_and_arrays_of_objects_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", a=np.arange(3), b=np.ones(2))
    loaded = checkpoints.load(recorded(tmp_path / "m.npz"))
    assert (loaded["a"].tolist(), loaded["b"].tolist()) == ([0, 1, 2], [1.0, 1.0])
    hostile = np.array([Hostile(tmp_path / "marker")], dtype=object)
    np.savez(tmp_path / "hostile.npz", hostile)
    with pytest.raises(PickleRefused, match="arrays of objects"):
        checkpoints.load(recorded(tmp_path / "hostile.npz"))
    assert not (tmp_path / "marker").exists()


@pytest.mark.usefixtures("store")
def test_a_pickle_is_refused_until_the_caller_says_so(tmp_path: Path) -> None:
    joblib.dump({"a": [1]}, tmp_path / "m.joblib")
    run = recorded(tmp_path / "m.joblib")
    with pytest.raises(PickleRefused, match=r"pickle=True"):
        checkpoints.load(run)
    assert checkpoints.load(run, pickle=True) == {"a": [1]}


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("kind", ["torch", "torch before 1.6", "pickle"])
def test_a_hostile_file_is_never_run(tmp_path: Path, kind: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "m.pt"
    if kind == "pickle":
        path = tmp_path / "m.pkl"
        path.write_bytes(pickle.dumps(Hostile(marker)))
    else:
        torch.save(
            {"w": TENSORS["w"], "x": Hostile(marker)}, path, _use_new_zipfile_serialization=kind == "torch"
        )
    run = recorded(path)
    checkpoints.register("hostile", run)
    with pytest.raises(PickleRefused):
        checkpoints.load(run)
    checkpoints.verify()
    checkpoints.lineage("hostile")
    assert not marker.exists()
    checkpoints.load(run, pickle=True)
    assert marker.exists()


def test_a_folder_gives_what_is_in_its_files(tmp_path: Path) -> None:
    torch.save({"step": 3}, tmp_path / "state.pt")
    safetensors.torch.save_file(TENSORS, tmp_path / "model.safetensors")
    torch.save(Hostile(tmp_path / "marker"), tmp_path / "args.bin")
    (tmp_path / "config.json").write_text("{}")
    with pytest.warns(UserWarning, match=r"args\.bin"):
        loaded = load_file(tmp_path)
    assert set(loaded) == {"state.pt", "model.safetensors"}
    assert not (tmp_path / "marker").exists()


def test_what_is_damaged_or_unknown_is_a_sentence(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "m.pt")
    (tmp_path / "m.pt").write_bytes((tmp_path / "m.pt").read_bytes()[:-30])
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(NotWhole):
        load_file(tmp_path / "m.pt")
    with pytest.raises(AutotrackError, match="nothing here can load"):
        load_file(tmp_path / "notes.txt")


def test_contents_of_what_holds_itself_come_to_an_end() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert contents(endless) == []
    assert contents({"model": {"w": torch.ones(2)}, "step": 3, "opt": [{"lr": 0.1}]}) == [
        ("model.w", "torch.float32 (2,)"),
        ("step", "3"),
        ("opt.0.lr", "0.1"),
    ]


@pytest.mark.proof
def test_a_keras_model_is_loaded_on_a_backend_that_is_installed_where_none_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.save(tmp_path / "model.keras")
    (tmp_path / "keras.json").write_text('{"backend": "one_that_is_not_there"}')
    code = f"""
import os, sys
from pathlib import Path
del os.environ["KERAS_BACKEND"]
from autotrack.catalog.loading import load_file
made = load_file(Path({str(tmp_path / "model.keras")!r}))
import keras
print(type(made).__name__, keras.backend.backend(), "KERAS_BACKEND" in os.environ)
"""
    told = answer(code, KERAS_HOME=str(tmp_path), KERAS_BACKEND="to be deleted")
    assert told.splitlines()[-1] == "Sequential torch False"
