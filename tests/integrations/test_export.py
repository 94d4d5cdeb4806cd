"""Taking a checkpoint out of the store: with its card, as safetensors, as a model folder of MLflow."""

import os
import pickle
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

import autotrack
from autotrack.cli.app import app
from autotrack.errors import AutotrackError, PickleRefused
from autotrack.testing import only_run

pytestmark = pytest.mark.usefixtures("store")
checkpoints = autotrack.checkpoints


def saved(path: Path, value: Any) -> str:
    """The run that has saved this with torch."""
    torch.save(value, path)
    with autotrack.init(project="p", name="trains", config={"lr": 0.25}) as run:
        run.log({"latency_ms": 12.5})
        run.log_checkpoint(path, step=3, score=0.125, monitor="val_loss", mode="min")
    return run.id


@pytest.mark.filterwarnings(
    "ignore:'autocompletion' is renamed:DeprecationWarning"
)  # of click 8.1.0 about typer
def test_files_and_a_card_with_what_is_known_and_what_is_open(tmp_path: Path) -> None:
    run = saved(tmp_path / "model.pt", {"w": torch.ones(3)})
    checkpoints.register("detector", run)
    checkpoints.promote("detector", "production", why="better")
    done = CliRunner().invoke(app, ["checkpoint", "export", "detector@production", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "model.pt").read_bytes() == (tmp_path / "model.pt").read_bytes()
    card = (tmp_path / "out" / "README.md").read_text()
    [one] = only_run().checkpoints
    for text in (
        "detector@v1",
        one.digest,
        run,
        "| lr | 0.25 |",
        "| val_loss | 0.125 |",
        "| latency_ms | 12.5 |",
        "*Open:",
    ):
        assert str(text) in card
    with pytest.raises(FileExistsError):
        checkpoints.export(run, tmp_path / "out")


def test_tensors_become_safetensors_where_every_bit_stays(tmp_path: Path) -> None:
    odd = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    state = {
        "a": odd,
        "b": torch.arange(6).reshape(2, 3).t(),
        "c": torch.ones(2, dtype=torch.bfloat16),
        "d": torch.zeros(0),
    }
    run = saved(tmp_path / "epoch=1.ckpt", {"state_dict": state, "epoch": 1})
    checkpoints.export(run, tmp_path / "out", kind="safetensors")
    again = load_file(tmp_path / "out" / "model.safetensors")
    assert again.keys() == state.keys()
    for name, tensor in state.items():
        assert again[name].dtype == tensor.dtype
        assert again[name].shape == tensor.shape
    assert np.array_equal(again["a"].numpy().view(np.uint32), odd.numpy().view(np.uint32))
    assert torch.equal(again["b"], state["b"])


@pytest.mark.parametrize(
    "value", [{"w": torch.ones(2), "epoch": 3}, [torch.ones(2)]], ids=["a number", "a list"]
)
def test_what_safetensors_cannot_hold_is_refused(tmp_path: Path, value: Any) -> None:
    run = saved(tmp_path / "model.pt", value)
    with pytest.raises(AutotrackError, match="more than tensors"):
        checkpoints.export(run, tmp_path / "out", kind="safetensors")
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


def test_shared_memory_is_refused_as_it_would_be_lost(tmp_path: Path) -> None:
    weight = torch.ones(4)
    run = saved(tmp_path / "model.pt", {"embed": weight, "head": weight})
    with pytest.raises(AutotrackError, match="exactly"):
        checkpoints.export(run, tmp_path / "out", kind="safetensors")


def test_a_scikit_learn_model_becomes_an_mlflow_model(tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    autotrack.sklearn.autolog()
    model = LogisticRegression(max_iter=300).fit(x, y)
    autotrack.autolog(disable=True)
    run = only_run().id
    with pytest.raises(PickleRefused):
        checkpoints.export(run, tmp_path / "out", kind="mlflow")
    checkpoints.export(run, tmp_path / "out", kind="mlflow", pickle=True)
    with open(tmp_path / "out" / "model.pkl", "rb") as file:
        again = pickle.load(file)
    assert np.array_equal(again.predict_proba(x), model.predict_proba(x))
    described = (tmp_path / "out" / "MLmodel").read_text()
    for line in (
        "    loader_module: 'mlflow.sklearn'",
        "    pickled_model: 'model.pkl'",
        "    predict_fn: 'predict'",
    ):
        assert f"{line}\n" in described
    assert "scikit-learn==" in (tmp_path / "out" / "requirements.txt").read_text()


@pytest.mark.filterwarnings("default::DeprecationWarning")
def test_a_keras_model_becomes_an_mlflow_model(tmp_path: Path) -> None:
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    with autotrack.init(project="p") as run:
        run.log_checkpoint(tmp_path / "model.keras")
    checkpoints.export(run.id, tmp_path / "out", kind="mlflow")
    data = tmp_path / "out" / "data" / "model.keras"
    assert data.read_bytes() == (tmp_path / "model.keras").read_bytes()
    assert "    data: 'data/model'\n" in (tmp_path / "out" / "MLmodel").read_text()


def test_weights_alone_are_no_mlflow_model_and_an_unknown_kind_names_the_known(tmp_path: Path) -> None:
    run = saved(tmp_path / "model.pt", {"w": torch.ones(2)})
    with pytest.raises(AutotrackError, match="whole model"):
        checkpoints.export(run, tmp_path / "out", kind="mlflow")
    with pytest.raises(AutotrackError, match="files, mlflow, safetensors"):
        checkpoints.export(run, tmp_path / "out", kind="onnx")
    assert list(tmp_path.glob("out*")) == []
