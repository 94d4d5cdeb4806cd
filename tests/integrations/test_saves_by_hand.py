"""What the user's own code saves is a checkpoint of the run, once; what a framework saves for itself is not noted twice."""

import importlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from torch.utils.data import DataLoader, TensorDataset

import autotrack
from autotrack.testing import only_run

pytestmark = pytest.mark.filterwarnings("default")
ORIGINALS = (torch.save, safetensors.torch.save_file, safetensors.numpy.save_file, joblib.dump)


@pytest.fixture(autouse=True)
def armed(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`autolog()`, in a working folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    autotrack.autolog()
    yield
    autotrack.autolog(disable=True)


def save_torch(name: str) -> None:
    torch.save({"w": torch.ones(3)}, name)


def save_torch_by_keyword(name: str) -> None:
    torch.save(obj={"w": torch.ones(3)}, f=Path(name))


def save_file(name: str) -> None:
    safetensors.torch.save_file({"w": torch.ones(3)}, name)


def save_arrays(name: str) -> None:
    safetensors.numpy.save_file({"w": np.ones(3)}, filename=Path(name))


def save_model(name: str) -> None:
    safetensors.torch.save_model(torch.nn.Linear(2, 2), name)


def dump(name: str) -> None:
    assert joblib.dump([1, 2], name) == [name]


WAYS = [
    (save_torch, "torch.save"),
    (save_torch_by_keyword, "torch.save"),
    (save_file, "safetensors.save_file"),
    (save_arrays, "safetensors.save_file"),
    (save_model, "safetensors.save_file"),
    (dump, "joblib.dump"),
]


@pytest.mark.parametrize(("way", "by"), WAYS, ids=[way.__name__ for way, _ in WAYS])
def test_a_save_is_noted_once_and_one_over_it_is_another(way: Any, by: str, tmp_path: Path) -> None:
    with autotrack.init(project="p"):
        way("model.bin")
        way("model.bin")
    found = only_run().checkpoints
    assert [(one.path, one.by, one.state) for one in found] == [
        (str(tmp_path / "model.bin"), by, "overwritten"),
        (str(tmp_path / "model.bin"), by, "sealed"),
    ]


def test_outside_a_run_and_to_a_file_object_nothing_is_noted(tmp_path: Path) -> None:
    save_torch("before.pt")
    with autotrack.init(project="p"), open("object.pt", "wb") as file:
        torch.save(1, file)
        joblib.dump(1, file)
    dump("after.joblib")
    assert only_run().checkpoints == []


def test_an_estimator_that_is_dumped_behind_its_fit_belongs_to_the_run_of_the_fit() -> None:
    from sklearn.dummy import DummyClassifier
    from sklearn.model_selection import GridSearchCV

    samples, targets = np.arange(12).reshape(6, 2), [0, 1] * 3
    first = DummyClassifier().fit(samples, targets)
    search = GridSearchCV(DummyClassifier(), {"constant": [0, 1]}, cv=2).fit(samples, targets)
    joblib.dump(search.best_estimator_, "best.joblib")
    joblib.dump(value=first, filename="first.joblib")
    roots = sorted((run for run in autotrack.runs() if run.parent is None), key=lambda run: run.created)
    named = [[Path(one.path).name for one in run.checkpoints if "://" not in one.path] for run in roots]
    assert named == [["first.joblib"], ["best.joblib"]]


def test_a_save_that_fails_is_no_checkpoint_and_raises_what_it_raised(tmp_path: Path) -> None:
    with autotrack.init(project="p"):
        with pytest.raises(RuntimeError, match="does not exist"):
            save_torch("nowhere/model.pt")
        with pytest.raises(TypeError, match="missing"):
            torch.save(1)
        with pytest.raises(TypeError):
            safetensors.torch.save_file({})
        with pytest.raises((AttributeError, pickle.PicklingError)):
            joblib.dump(lambda: 1, "model.joblib")
    assert only_run().checkpoints == []


def test_what_joblib_saves_for_itself_is_no_checkpoint(tmp_path: Path) -> None:
    memory = joblib.Memory(tmp_path / "cache", verbose=0)
    with autotrack.init(project="p"):
        assert memory.cache(np.square)(3) == 9
        big = np.ones(300_000)
        found = joblib.Parallel(n_jobs=2, max_nbytes=1000)(joblib.delayed(np.sum)(big) for _ in range(2))
        (tmp_path / "joblib").mkdir()
        dump("joblib/mine.joblib")
    assert found == [300_000, 300_000]
    assert [Path(one.path).name for one in only_run().checkpoints] == ["mine.joblib"]


@pytest.mark.parametrize("name", ["lightning.pytorch", "pytorch_lightning"])
def test_a_save_of_lightning_is_noted_once(tmp_path: Path, name: str) -> None:
    pl: Any = importlib.import_module(name)

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            return self.layer(batch[0]).pow(2).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }

    def fit() -> Any:
        model = Net()
        trainer = pl.Trainer(max_epochs=1, default_root_dir=tmp_path, **quiet)
        trainer.fit(model, DataLoader(TensorDataset(torch.ones(8, 4)), batch_size=4))
        return model

    with autotrack.init(project="p") as run:
        fit()
        save_torch("mine.pt")
    found = [one for each in autotrack.runs() for one in each.checkpoints]
    assert [(Path(one.path).suffix, one.run) for one in found][-1] == (".pt", run.id)
    assert [Path(one.path).suffix for one in found] == [".ckpt", ".pt"]

    first, second = fit(), fit()
    torch.save({"epoch": 1, "model": first.state_dict()}, "first.pt")
    torch.save(second.layer.state_dict(), "second.pt")
    torch.save({"model": Net().state_dict()}, "nobodys.pt")
    behind = sorted(autotrack.runs(), key=lambda run: run.created)[1:]
    assert [[Path(one.path).name for one in run.checkpoints][1:] for run in behind] == [
        ["first.pt"],
        ["second.pt"],
    ]


def test_a_save_of_transformers_is_noted_once(tmp_path: Path) -> None:
    from tiny_transformers import trainer

    with autotrack.init(project="p"):
        trainer(tmp_path, [], num_train_epochs=1, save_strategy="epoch").train()
    found = [one for each in autotrack.runs() for one in each.checkpoints]
    assert [Path(one.path).name for one in found] == ["checkpoint-3"]

    behind = trainer(tmp_path / "second", [], max_steps=1, save_strategy="no")
    behind.train()
    behind.model.save_pretrained(tmp_path / "model")
    torch.save(behind.model.state_dict(), tmp_path / "weights.pt")
    second = max(autotrack.runs(), key=lambda run: run.created)
    assert [(Path(one.path).name, one.step) for one in second.checkpoints] == [
        ("model", 1),
        ("weights.pt", 1),
    ]


def test_a_save_of_keras_is_noted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    saver = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
    with autotrack.init(project="p"):
        model.fit(np.ones((4, 4)), np.ones((4, 1)), epochs=1, verbose=0, callbacks=[saver])
    found = [one for each in autotrack.runs() for one in each.checkpoints]
    assert [Path(one.path).name for one in found] == ["model.keras"]


def test_what_is_watched_still_pickles_and_is_given_back(tmp_path: Path) -> None:
    import sys

    def now() -> tuple[Any, ...]:
        return (torch.save, safetensors.torch.save_file, safetensors.numpy.save_file, joblib.dump)

    with autotrack.init(project="p"):
        assert all(mine is not original for mine, original in zip(now(), ORIGINALS, strict=True))
        for one in now():
            assert pickle.loads(pickle.dumps(one)) is one
            assert one.__module__ in sys.modules
    autotrack.autolog(disable=True)
    assert all(mine is original for mine, original in zip(now(), ORIGINALS, strict=True))
