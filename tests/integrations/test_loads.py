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


def fitted(module: Any, rows: Any, *callbacks: Any) -> Any:
    import lightning

    trainer = lightning.Trainer(
        max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        enable_checkpointing=False, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(module, rows)
    return trainer


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

    rows = DataLoader(TensorDataset(torch.ones(8, 4)), batch_size=4)
    fitted(Net(), rows, *callbacks).save_checkpoint("first.ckpt")
    fitted(Net.load_from_checkpoint("first.ckpt"), rows, *callbacks).save_checkpoint("second.ckpt")


def bert() -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return BertForSequenceClassification(BertConfig(vocab_size=50, **shape))


def saved_by_a_run(folder: str) -> None:
    with autotrack.init(project="p") as run:
        bert().save_pretrained(folder)
        run.log_checkpoint(folder)


def loaded(folder: str) -> Any:
    from transformers import BertForSequenceClassification

    return BertForSequenceClassification.from_pretrained(folder)


def train(model: Any, where: str, *callbacks: Any, resume: bool = False, **settings: Any) -> Any:
    from transformers import Trainer, TrainingArguments

    rows = [{"input_ids": torch.ones(4, dtype=torch.long), "labels": torch.tensor(1)}] * 4
    settings = {"max_steps": 1, "save_strategy": "no", **settings}
    arguments = TrainingArguments(where, report_to=[], use_cpu=True, disable_tqdm=True, **settings)
    trainer = Trainer(model, arguments, train_dataset=rows, callbacks=list(callbacks))
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_model(where)
    return trainer


def with_transformers(*callbacks: Any) -> None:
    train(bert(), "first.ckpt", *callbacks)
    train(loaded("first.ckpt"), "second.ckpt", *callbacks)


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


@pytest.mark.usefixtures("armed")
def test_an_adapter_that_is_loaded_to_be_trained_further_is_lineage_before_its_base() -> None:
    from peft import PeftModel

    bert().save_pretrained("base")
    with autotrack.init(project="p") as first:
        adapted("base").save_pretrained("first.ckpt")
    train(PeftModel.from_pretrained(loaded("base"), "first.ckpt", is_trainable=True), "second.ckpt")
    sealing.wait(sealing.LONGEST_WAIT)
    [run] = [each for each in autotrack.runs() if each.id != first.id]
    assert [Path(one.path).name for one in run.inputs] == ["base", "first.ckpt"]
    [made] = run.checkpoints
    assert [step["run"] for step in autotrack.checkpoints.lineage(str(made.id))] == [run.id, first.id]


@pytest.mark.usefixtures("armed")
def test_of_all_that_a_resumed_training_loads_the_checkpoint_is_its_lineage() -> None:
    saved_by_a_run("first.ckpt")
    train(loaded("first.ckpt"), "out", save_strategy="steps", save_steps=1)
    train(loaded("first.ckpt"), "out", resume=True, save_strategy="steps", save_steps=1, max_steps=2)
    sealing.wait(sealing.LONGEST_WAIT)
    first, run = autotrack.runs(order_by="created")
    assert [Path(one.path).name for one in run.inputs] == ["first.ckpt", "first.ckpt", "checkpoint-1"]
    last = next(one for one in run.checkpoints if one.path.endswith("checkpoint-2"))
    steps = autotrack.checkpoints.lineage(str(last.id))
    assert [step["run"] for step in steps] == [run.id, run.id, first.id]
    assert [step["from"]["how"] for step in steps[:2]] == ["resumed", "fine-tuned"]


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
    store: Path, alone: None
) -> None:
    from lightning.pytorch.core import saving
    from transformers import PreTrainedModel

    def now() -> list[Any]:
        known = vars(PreTrainedModel)
        return [saving._load_from_checkpoint, known["from_pretrained"], known["save_pretrained"]]

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


@pytest.fixture
def unarmed(elsewhere: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Takes everything out that an AutoTrack made before has put in place, as in a script that has made none yet."""

    def take_out() -> None:
        monkeypatch.setattr(callback, "_live", WeakSet())
        autotrack.autolog()
        autotrack.autolog(disable=True)

    return take_out


def adapted(folder: str) -> Any:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(loaded(folder), LoraConfig(target_modules=["query"]))


@pytest.mark.parametrize("load", [loaded, adapted])
def test_a_model_loaded_before_an_autotrack_was_made_says_itself_where_from(
    unarmed: Callable[[], None], load: Callable[[str], Any]
) -> None:
    saved_by_a_run("first.ckpt")
    unarmed()
    model = load("first.ckpt")
    again = train(model, "second.ckpt", autotrack.AutoTrack())
    is_fine_tuned()
    again.train()
    assert [each.inputs for each in autotrack.runs(limit=1)] == [[]]


def test_a_module_of_lightning_around_it_says_it_too(unarmed: Callable[[], None]) -> None:
    import lightning

    class Net(lightning.LightningModule):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, index: int) -> Any:
            return self.model(input_ids=batch[0], labels=batch[1]).loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    saved_by_a_run("first.ckpt")
    unarmed()
    net = Net(loaded("first.ckpt"))
    rows = TensorDataset(torch.ones(4, 4, dtype=torch.long), torch.ones(4, dtype=torch.long))
    trainer = fitted(net, DataLoader(rows, batch_size=2), autotrack.AutoTrack())
    trainer.save_checkpoint("second.ckpt")
    is_fine_tuned()


def test_a_model_of_a_loaded_configuration_alone_comes_from_nowhere(unarmed: Callable[[], None]) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    bert().save_pretrained("first.ckpt")
    unarmed()
    made = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained("first.ckpt"))
    assert made.name_or_path == "first.ckpt"
    train(made, "second.ckpt", autotrack.AutoTrack())
    sealing.wait(sealing.LONGEST_WAIT)
    [run] = autotrack.runs()
    assert run.inputs == []


def test_a_run_that_is_open_notes_it_once(unarmed: Callable[[], None]) -> None:
    saved_by_a_run("first.ckpt")
    tracker = autotrack.AutoTrack()
    with autotrack.init(project="p") as run:
        train(loaded("first.ckpt"), "second.ckpt", tracker)
        unarmed()
        model = loaded("first.ckpt")
        train(model, "third.ckpt", autotrack.AutoTrack())
    sealing.wait(sealing.LONGEST_WAIT)
    found = autotrack.get_run(run.id)
    assert [[Path(one.path).name for one in each.inputs] for each in (found, *found.children)] == [
        ["first.ckpt"],
        ["first.ckpt"],
    ]


def is_fine_tuned() -> None:
    """The second of the two runs began from what the first one has saved, and from nothing else."""
    sealing.wait(sealing.LONGEST_WAIT)
    first, second = autotrack.runs(order_by="created")
    assert [one.role for one in first.inputs] == []
    [origin] = second.inputs
    assert (origin.role, Path(origin.path).name.partition(".")[0]) == ("checkpoint", "first")
    saved = [one for one in first.checkpoints if one.path == origin.path][-1]
    assert (origin.run, origin.step) == (first.id, saved.step)
    [made] = [one for one in second.checkpoints if "second" in one.path]
    steps = autotrack.checkpoints.lineage(str(made.id))
    assert [step["run"] for step in steps] == [second.id, first.id]
    assert steps[0]["from"]["how"] == "fine-tuned"
