"""The best checkpoint that a framework's own rotation deletes is kept, and comes back byte for byte."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import autotrack
from autotrack.digests import digest_of, look_at
from autotrack.testing import only_run

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("armed")]


@pytest.fixture
def armed(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    autotrack.autolog()
    yield
    autotrack.autolog(disable=True)


def is_got_back() -> None:
    run = only_run()
    best = next(one for one in run.checkpoints if one.best)
    assert (best.stored, best.gone is not None) == ("linked", True)
    assert not Path(best.path).exists()
    place = os.fspath(autotrack.checkpoints.get(f"{run.id}:best"))
    assert digest_of(place, look_at(place)) == best.digest
    assert autotrack.checkpoints.verify() == {}


def test_of_lightning(tmp_path: Path) -> None:
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint

    losses = (3.0, 1.0, 2.0, 4.0)

    class Net(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            return self.layer(batch[0]).pow(2).mean()

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val", losses[self.trainer.current_epoch])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Newest(ModelCheckpoint):
        """Keeps the newest, however good: what many write by hand."""

        def check_monitor_top_k(self, trainer: Any, current: Any = None) -> bool:
            if self.best_k_models:
                self.kth_best_model_path = next(iter(self.best_k_models))
            return True

    data = DataLoader(TensorDataset(torch.ones(8, 4)), batch_size=4)
    lightning.Trainer(
        max_epochs=4,
        callbacks=[Newest(tmp_path / "ck", monitor="val", save_top_k=1, filename="{epoch}")],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    ).fit(Net(), data, data)
    is_got_back()


def train_transformers(folder: Path, epochs: int, losses: tuple[float, ...], resume: bool = False) -> None:
    """A training that is judged by these losses, one an epoch, and keeps the newest checkpoint only."""
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

    to_come = iter(losses)

    class Judged(Trainer):
        def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
            found = {"eval_loss": next(to_come)}
            self.log(found)
            return found

    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForSequenceClassification(BertConfig(vocab_size=50, **shape))
    rows = [{"input_ids": torch.ones(4, dtype=torch.long), "labels": torch.tensor(1)}] * 4
    arguments = TrainingArguments(
        str(folder),
        num_train_epochs=epochs,
        save_strategy="epoch",
        eval_strategy="epoch",
        save_total_limit=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    Judged(model, arguments, train_dataset=rows, eval_dataset=rows).train(resume_from_checkpoint=resume)


def test_of_transformers(tmp_path: Path) -> None:
    train_transformers(tmp_path / "out", 4, (3.0, 1.0, 2.0, 4.0))
    assert [one.score for one in only_run().checkpoints] == [3.0, 1.0, 2.0, 4.0]
    is_got_back()


def test_of_transformers_in_a_resumed_training_the_best_of_the_attempt_before(tmp_path: Path) -> None:
    train_transformers(tmp_path / "out", 2, (3.0, 1.0))
    train_transformers(tmp_path / "out", 4, (2.0, 4.0), resume=True)
    run = only_run()
    assert (run.attempts, [one.score for one in run.checkpoints]) == (2, [3.0, 1.0, 2.0, 4.0])
    is_got_back()


def test_of_transformers_in_a_resumed_training_that_reaches_a_better_one(store: Path, tmp_path: Path) -> None:
    train_transformers(tmp_path / "out", 3, (3.0, 1.0, 2.0))
    is_got_back()
    train_transformers(tmp_path / "out", 5, (0.5, 0.7), resume=True)
    is_got_back()
    assert [one.score for one in only_run().checkpoints if one.stored] == [0.5]
    assert len([path for path in (store / "objects" / "kept").glob("*/*") if path.is_dir()]) == 1
