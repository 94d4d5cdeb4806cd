"""Lineage names every run that a checkpoint came through, with its code and its data."""

import importlib
import subprocess
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import autotrack
from autotrack import checkpoints

pytestmark = pytest.mark.filterwarnings("default")


class Net(pl.LightningModule):
    """One layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: Any, index: int) -> Any:
        return self.layer(batch[0]).pow(2).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, epochs: int, start: str | None = None, **options: Any) -> str:
    """Train with Lightning, from a checkpoint or from nothing; the id of the run."""
    saver = importlib.import_module("lightning.pytorch.callbacks").ModelCheckpoint(folder, save_top_k=-1)
    trainer = pl.Trainer(
        max_epochs=epochs,
        callbacks=[saver, autotrack.AutoTrack(project="p", **options)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(Net(), DataLoader(TensorDataset(torch.ones(8, 4)), batch_size=4), ckpt_path=start)
    return autotrack.runs()[0].id


def test_a_fine_tuned_checkpoint_names_both_runs_with_code_and_data(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOTRACK_LOG_MODEL", "all")
    (tmp_path / "train.csv").write_text("1,2\n")
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "train.csv"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    first = fit(tmp_path / "first", 1, name="base")
    start = str(next((tmp_path / "first").glob("*.ckpt")))
    second = fit(tmp_path / "second", 2, start, name="tuned", resume="never")
    assert first != second
    checkpoints.register("detector", f"{second}:last")
    assert first in {key[0] for key in checkpoints.gc(last=0).dropped}
    checkpoints.promote("detector", "production", why="tuned")
    newest, oldest = checkpoints.lineage("detector@production")
    assert (newest["run"], newest["name"], newest["from"]) == (
        second, "tuned", {"how": "fine-tuned", "path": start},
    )  # fmt: skip
    assert (oldest["run"], oldest["path"], oldest["from"]) == (first, start, None)
    assert newest["versions"] == ["detector@v1"]
    for step in (newest, oldest):
        assert step["code"]["commit"] == commit.strip()
        assert step["user"]
        assert step["packages"]
    found = checkpoints.gc(last=0)
    assert [key[0] for key in found.kept["ancestors of aliased"]] == [first]
    assert first not in {key[0] for key in found.dropped}


def test_changes_name_the_tensors_that_differ(store: Path, tmp_path: Path) -> None:
    tensors = {name: torch.zeros(2000) for name in ("body", "head")}
    with autotrack.init(project="p", log_model="all") as run:
        for step in (1, 2):
            tensors["head"] += step
            torch.save(tensors, tmp_path / f"{step}.pt")
            run.log_checkpoint(tmp_path / f"{step}.pt", step=step)
    found = checkpoints.changes(f"{run.id}:step=1", f"{run.id}:step=2")
    assert found is not None
    assert found[0] == ["head"]
    assert found[1] >= 1
    with autotrack.init(project="p", log_model=False) as other:
        other.log_checkpoint(tmp_path / "1.pt")
    assert checkpoints.changes(run.id, other.id) is None
