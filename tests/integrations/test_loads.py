"""A model that was loaded from a checkpoint and trained further: where it came from is known, whatever loaded it."""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import autotrack
from autotrack import callback, sealing

os.environ.setdefault("KERAS_BACKEND", "torch")

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("elsewhere")]


@pytest.fixture
def elsewhere(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder of the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def armed(elsewhere: None) -> Iterator[None]:
    autotrack.autolog()
    yield
    autotrack.autolog(disable=True)


def with_lightning(*callbacks: Any) -> None:
    import lightning

    class Net(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            return self.layer(batch[0]).pow(2).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def fit(model: Any) -> Any:
        trainer = lightning.Trainer(
            max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
            enable_checkpointing=False, callbacks=list(callbacks),
        )  # fmt: skip
        trainer.fit(model, DataLoader(TensorDataset(torch.ones(8, 4)), batch_size=4))
        return trainer

    fit(Net()).save_checkpoint("first.ckpt")
    fit(Net.load_from_checkpoint("first.ckpt")).save_checkpoint("second.ckpt")


def with_transformers(*callbacks: Any) -> None:
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    rows = [{"input_ids": torch.ones(4, dtype=torch.long), "labels": torch.tensor(1)}] * 4

    def train(model: Any, where: str) -> None:
        arguments = TrainingArguments(
            where, max_steps=1, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True
        )
        trainer = Trainer(model, arguments, train_dataset=rows, callbacks=list(callbacks))
        trainer.train()
        trainer.save_model(where)

    train(BertForSequenceClassification(BertConfig(vocab_size=50, **shape)), "first.ckpt")
    train(BertForSequenceClassification.from_pretrained("first.ckpt"), "second.ckpt")


def with_keras() -> None:
    import keras
    import numpy as np

    x, y = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    model.save("first.ckpt.keras")
    again = keras.saving.load_model("first.ckpt.keras")
    again.fit(x, y, verbose=0)
    again.save("second.ckpt.keras")


def by_hand() -> None:
    with autotrack.init(project="p"):
        torch.save({"w": torch.ones(3)}, "first.ckpt")
    with autotrack.init(project="p"):
        torch.save(torch.load("first.ckpt"), "second.ckpt")


@pytest.mark.parametrize("train", [with_lightning, with_transformers, with_keras, by_hand])
@pytest.mark.usefixtures("armed")
def test_what_a_model_was_loaded_from_is_its_lineage(train: Callable[[], None]) -> None:
    train()
    is_fine_tuned()


@pytest.mark.parametrize("train", [with_lightning, with_transformers])
def test_an_autotrack_without_autolog_sees_it_too(train: Callable[..., None]) -> None:
    train(autotrack.AutoTrack())
    is_fine_tuned()


@pytest.mark.parametrize("train", [with_lightning, with_transformers])
@pytest.mark.usefixtures("armed")
def test_an_autotrack_beside_autolog_notes_it_once(train: Callable[..., None]) -> None:
    train(autotrack.AutoTrack())
    is_fine_tuned()


def test_with_autolog_and_the_last_autotrack_the_functions_that_load_are_given_back(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning.pytorch.core import saving
    from transformers import PreTrainedModel

    def now() -> list[Any]:
        known = vars(PreTrainedModel)
        return [saving._load_from_checkpoint, known["from_pretrained"], known["save_pretrained"]]

    monkeypatch.setattr(callback, "_live", WeakSet())  # other tests may have left some
    autotrack.autolog()
    autotrack.autolog(disable=True)
    before = now()
    kept = autotrack.AutoTrack()
    autotrack.autolog()
    during = now()
    autotrack.autolog(disable=True)
    assert kept.by_hand
    assert now() == during
    del kept
    gc.collect()
    autotrack.autolog()
    autotrack.autolog(disable=True)
    assert now() == before
    assert all(mine is not theirs for mine, theirs in zip(during, before, strict=True))


def is_fine_tuned() -> None:
    """The second of the two runs began from what the first one has saved, and from nothing else."""
    sealing.wait(sealing.LONGEST_WAIT)
    first, second = autotrack.runs(order_by="created")
    assert [one.role for one in first.inputs] == []
    [origin] = second.inputs
    assert (origin.role, Path(origin.path).name.partition(".")[0]) == ("checkpoint", "first")
    [made] = [one for one in second.checkpoints if "second" in one.path]
    steps = autotrack.checkpoints.lineage(str(made.id))
    assert [step["run"] for step in steps] == [second.id, first.id]
    assert steps[0]["from"]["how"] == "fine-tuned"
