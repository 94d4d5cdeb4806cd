"""A training that a framework resumes from a checkpoint goes on with the run that wrote it."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from warm_process import warm

import autotrack
from autotrack.testing import only_run

pytestmark = pytest.mark.filterwarnings("default")

LIGHTNING = """
import os, signal, sys, torch, lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset
import autotrack
class Net(pl.LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        loss = self.layer(batch[0]).pow(2).mean() + 1
        self.log("loss", loss)
        if os.environ.get("KILL_AT") == str(self.global_step):
            os.kill(os.getpid(), signal.SIGKILL)
        return loss
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]
saver = ModelCheckpoint("saved", save_last=True, every_n_epochs=1)
trainer = pl.Trainer(max_epochs=int(os.environ["EPOCHS"]), callbacks=[saver, autotrack.AutoTrack(**eval(os.environ.get("OPTIONS", "{}")))],
                     logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu", log_every_n_steps=1)
data = DataLoader(TensorDataset(torch.ones(8, 4)), batch_size=4)
trainer.fit(Net(float(os.environ.get("LR", "0.1"))), data, ckpt_path=os.environ.get("CKPT"))
"""

TRANSFORMERS = """
import os, signal, sys, torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, TrainerCallback
import autotrack
class Killer(TrainerCallback):
    def on_step_end(self, args, state, control, **facts):
        if os.environ.get("KILL_AT") == str(state.global_step):
            os.kill(os.getpid(), signal.SIGKILL)
config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
model = BertForSequenceClassification(config)
rows = [{"input_ids": torch.arange(4) % 7, "labels": torch.tensor(0)} for _ in range(8)]
args = TrainingArguments("saved", num_train_epochs=int(os.environ["EPOCHS"]), per_device_train_batch_size=4, report_to=[], use_cpu=True,
                         save_strategy="epoch", logging_steps=1, disable_tqdm=True, learning_rate=float(os.environ.get("LR", "0.1")))
trainer = Trainer(model, args, train_dataset=rows, callbacks=[autotrack.AutoTrack(**eval(os.environ.get("OPTIONS", "{}"))), Killer()])
trainer.train(resume_from_checkpoint=bool(os.environ.get("CKPT")))
"""

KERAS = """
import os, signal
import keras, numpy as np
import autotrack
class Killer(keras.callbacks.Callback):
    seen = 0
    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if os.environ.get("KILL_AT") == str(self.seen):
            os.kill(os.getpid(), signal.SIGKILL)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile(keras.optimizers.SGD(float(os.environ.get("LR", "0.1"))), "mse")
backup = keras.callbacks.BackupAndRestore("saved", delete_checkpoint=False)
model.fit(np.ones((8, 4)), np.ones((8, 1)), batch_size=4, epochs=int(os.environ["EPOCHS"]), verbose=0,
          callbacks=[backup, autotrack.AutoTrack(**eval(os.environ.get("OPTIONS", "{}"))), Killer()])
"""

SCRIPTS = {"lightning": LIGHTNING, "transformers": TRANSFORMERS, "keras": KERAS}
STEPS = {"lightning": ("loss", 0, "5"), "transformers": ("auto/loss", 1, "6"), "keras": ("auto/loss", 1, "5")}
"""By framework: a value that each step has, the number of the first step, and the one in the third epoch to be killed at."""


def train(
    framework: str, folder: Path, epochs: int, *, code: int = 0, head: str = "", **environment: str
) -> None:
    """Train for some epochs of two steps, each of which is saved; `CKPT`: from the last checkpoint."""
    words = {"EPOCHS": str(epochs), "AUTOTRACK_PROJECT": "p", **environment}
    ended = warm(head + SCRIPTS[framework], folder=folder, **words)
    assert ended.returncode == code, ended.stderr


def checkpoints_read(run: Any) -> list[tuple[str | None, int | None]]:
    """The run and step of each checkpoint that a run began from."""
    return [(one.run, one.step) for one in run.inputs if one.role == "checkpoint"]


@pytest.mark.parametrize("framework", SCRIPTS)
def test_a_killed_training_goes_on_in_its_own_run(store: Path, tmp_path: Path, framework: str) -> None:
    key, first, at = STEPS[framework]
    train(framework, tmp_path, 3, KILL_AT=at, code=-signal.SIGKILL)
    killed = only_run()
    assert killed.status == "died"
    train(framework, tmp_path, 4, CKPT="last", LR="0.5")
    run = only_run()
    assert (run.id, run.status, run.attempts) == (killed.id, "finished", 2)
    shown, everything = run.history()[key], run.history(attempts=True)[key]
    assert shown.steps.tolist() == list(range(first, first + 8))
    assert len(everything.steps) > 8
    assert checkpoints_read(run) == [(run.id, 4)]
    changed = {one.key: (one.before, one.after) for one in run.changes}
    assert (3, 4) in changed.values()
    # A backup of Keras holds the rate that it was made with.
    assert ((0.1, 0.5) in changed.values()) == (framework != "keras")
    # What a schedule has made of the rate meanwhile is no change.
    assert not [name for name in changed if name.startswith(("stopped", "optimizer"))]


@pytest.mark.parametrize(
    ("framework", "options", "environment"),
    [
        ("lightning", "{'project': 'other'}", {}),
        ("transformers", "{}", {"AUTOTRACK_RESUME": "never"}),
        ("keras", "{'resume': 'never'}", {}),
    ],
)
def test_a_training_that_is_another_one_is_a_new_run_with_lineage(
    store: Path, tmp_path: Path, framework: str, options: str, environment: dict[str, str]
) -> None:
    train(framework, tmp_path, 1)
    first = only_run()
    train(framework, tmp_path, 2, CKPT="last", OPTIONS=options, **environment)
    newest, oldest = autotrack.runs()
    assert oldest.id == first.id
    assert oldest.attempts == 1
    assert checkpoints_read(newest) == [(first.id, 2)]


def test_a_training_inside_of_an_open_run_notes_where_it_began(store: Path, tmp_path: Path) -> None:
    train("lightning", tmp_path, 1)
    first = only_run()
    train("lightning", tmp_path, 2, CKPT="last", head="import autotrack; autotrack.init()\n")
    newest, _ = autotrack.runs()
    assert newest.id != first.id
    assert checkpoints_read(newest) == [(first.id, 2)]


def test_a_checkpoint_that_no_run_wrote_begins_a_run(store: Path, tmp_path: Path) -> None:
    train("keras", tmp_path, 1, AUTOTRACK_MODE="disabled")
    train("keras", tmp_path, 2, CKPT="last")
    run = only_run()
    assert run.attempts == 1
    assert checkpoints_read(run) == [(None, None)]


def test_a_training_resumed_from_a_copy_goes_on_in_the_run_that_wrote_the_original(
    store: Path, tmp_path: Path
) -> None:
    train("lightning", tmp_path, 2)
    first = only_run()
    os.rename(tmp_path / "saved", tmp_path / "moved")
    train("lightning", tmp_path, 3, CKPT=str(tmp_path / "moved" / "last.ckpt"))
    run = only_run()
    assert (run.id, run.attempts, checkpoints_read(run)) == (first.id, 2, [(first.id, 4)])
