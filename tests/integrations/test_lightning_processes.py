"""Lightning in several processes: one run, whose values are those of the first rank, and none waits for another."""

import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest
from warm_process import warm

import autotrack
from autotrack.testing import only_run, points

pytestmark = pytest.mark.filterwarnings("default")

SEVERAL = """
import warnings
import autotrack, torch
import lightning.pytorch as pl
from torch.utils.data import DataLoader, TensorDataset

class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, batch_idx):
        loss = ((self.layer(batch[0]) - batch[1]) ** 2).mean()
        self.log("loss", loss, on_step=True, on_epoch=True, sync_dist=True)
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = DataLoader(TensorDataset(torch.randn(32, 4), torch.randn(32, 1)), batch_size=8)
    quiet = dict(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer = pl.Trainer(devices=2, strategy=STRATEGY, max_epochs=1, enable_checkpointing=False,
                         callbacks=[autotrack.AutoTrack()], **quiet)
    trainer.fit(Net(), rows)
    if trainer.global_rank == 0:
        print("reference", trainer.callback_metrics["loss_epoch"].item())
"""


def told(code: str, strategy: str, folder: Path) -> list[str]:
    """The lines that a script prints with a strategy; the processes of others than ddp_fork run its file again."""
    code = code.replace("STRATEGY", repr(strategy))
    if strategy == "ddp_fork":
        done = warm(code, folder=folder)
    else:
        (folder / "script.py").write_text(code)
        done = subprocess.run(
            [sys.executable, "script.py"],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            cwd=folder,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "strategy",
    ["ddp_fork", *(pytest.param(name, marks=pytest.mark.proof) for name in ("ddp", "ddp_spawn"))],
)
def test_several_processes_make_one_run_and_none_waits_for_another(store, tmp_path, strategy):
    said = told(SEVERAL, strategy, tmp_path)
    (reference,) = [line.split()[1] for line in said if line.startswith("reference")]
    run = only_run()
    assert run.status == "finished"
    assert points(run, "loss_epoch") == [(1, float(reference))]
    assert [step for step, _ in points(run, "loss_step")] == [0, 1]
    assert [step for step, _ in points(run, "auto/loss")] == [0, 1]
    assert run.config["optimizer"]["lr"] == 0.1
    assert run.config["data"]["train"]["batch_size"] == 8
    assert run.config["trainer"]["num_training_batches"] == 2


@pytest.mark.parametrize("strategy", ["ddp_fork", pytest.param("ddp_spawn", marks=pytest.mark.proof)])
def test_a_second_training_in_other_processes_is_recorded_in_its_child_run(store, tmp_path, strategy):
    again = SEVERAL.replace(
        "    trainer = ", "    autotrack.init()\n    for epochs in (1, 2):\n      trainer = "
    )
    again = again.replace("max_epochs=1", "max_epochs=epochs").replace("    trainer.fit", "      trainer.fit")
    told(again, strategy, tmp_path)
    (run,) = [each for each in autotrack.runs() if each.parent is None]
    (child,) = run.children
    for each, epochs in ((run, 1), (child, 2)):
        assert each.config["trainer"]["max_epochs"] == epochs
        assert each.config["optimizer"]["lr"] == 0.1
        assert len(points(each, "loss_epoch")) == epochs


@pytest.mark.parametrize("strategy", ["ddp_fork", pytest.param("ddp_spawn", marks=pytest.mark.proof)])
def test_exclusive_holds_in_processes_that_a_training_starts(store, tmp_path, strategy):
    start, _, rest = SEVERAL.partition("    trainer = ")
    rest = rest.replace("callbacks=[autotrack.AutoTrack()], ", "")
    told(
        f"{start}    autotrack.autolog(exclusive=True)\n    autotrack.init(project='p')\n    trainer = {rest}",
        strategy,
        tmp_path,
    )
    assert [name for name in only_run().metrics if not name.startswith("system/")] == []


EVALUATED = (
    SEVERAL.partition("    trainer = ")[0].replace(
        "    def configure_optimizers",
        """    def validation_step(self, batch, batch_idx):
        self.log("val", ((self.layer(batch[0]) - batch[1]) ** 2).mean(), sync_dist=True)
    def test_step(self, batch, batch_idx, dataloader_idx=0):
        loss = ((self.layer(batch[0]) - batch[1]) ** 2).mean()
        self.log("test", loss, on_step=True, on_epoch=True, sync_dist=True)
    def configure_optimizers""",
    )
    + """
    def trainer(devices=1):
        return pl.Trainer(devices=devices, strategy=STRATEGY, max_epochs=2, enable_checkpointing=False,
                          callbacks=[autotrack.AutoTrack()], **quiet)
    def said(made, key):
        print(key, made.callback_metrics[key].item())
    net, alone, inside, fitted, another = Net(), trainer(), trainer(), trainer(2), trainer()
    alone.test(net, [rows, rows], verbose=False)
    said(alone, "test_epoch/dataloader_idx_0")
    said(alone, "test_epoch/dataloader_idx_1")
    with autotrack.init(name="open"):
        inside.test(net, rows, verbose=False)
    said(inside, "test_epoch")
    fitted.fit(net, rows, rows)
    fitted.test(net, rows, verbose=False)
    said(fitted, "test_epoch")
    another.validate(net, rows, verbose=False)
    said(another, "val")
"""
)


@pytest.mark.parametrize("strategy", ["ddp_fork", pytest.param("ddp_spawn", marks=pytest.mark.proof)])
def test_an_evaluation_in_several_processes_is_recorded_once_where_it_belongs(store, tmp_path, strategy):
    lines = [line.split() for line in told(EVALUATED, strategy, tmp_path)]
    said = [(name, float(value)) for name, value in lines]
    alone, inside, fitted = sorted(autotrack.runs(), key=lambda run: run.created)
    assert [run.status for run in (alone, inside, fitted)] == ["finished"] * 3
    assert alone.config["evaluation"] == "test"
    for run, place, (name, value) in zip((alone, alone, inside, fitted), (0, 0, 0, 4), said, strict=False):
        assert points(run, name) == [(place, value)]
    assert points(fitted, "val")[-1] == (4, said[-1][1])
    assert [step for step, _ in points(fitted, "val")] == [1, 3, 4]
    assert points(fitted, "epoch")[-2:] == [(4, 2), (4, 2)]
    assert not {"test", "test/dataloader_idx_0"} & {key for run in autotrack.runs() for key in run.metrics}
    for run, name, loader, batches in (
        (alone, "test", "/dataloader_idx_0", [0, 1, 2, 3]),
        (alone, "test", "/dataloader_idx_1", [0, 1, 2, 3]),
        (inside, "test", "", [0, 1, 2, 3]),
        (fitted, "test", "", [0, 1]),
    ):
        steps, values = zip(*points(run, f"{name}_step{loader}"), strict=True)
        assert list(steps) == batches
        assert mean(values) == pytest.approx(points(run, f"{name}_epoch{loader}")[0][1])


@pytest.mark.parametrize("strategy", ["ddp_fork", pytest.param("ddp_spawn", marks=pytest.mark.proof)])
def test_an_evaluation_in_another_process_goes_into_a_child_run_too(store, tmp_path, strategy):
    code = (
        EVALUATED.partition("    net, alone")[0]
        + """
    net = Net()
    with autotrack.init(name="open"):
        for _ in range(2):
            fitted = pl.Trainer(max_epochs=1, enable_checkpointing=False, callbacks=[autotrack.AutoTrack()], **quiet)
            fitted.fit(net, rows)
        trainer().test(net, rows, verbose=False)
"""
    )
    told(code, strategy, tmp_path)
    (run,) = [each for each in autotrack.runs() if each.name == "open"]
    assert "test_step" not in run.metrics
    (child,) = run.children
    assert [step for step, _ in points(child, "test_step")] == [0, 1, 2, 3]


def test_an_evaluation_that_fails_in_another_process_is_a_failed_run(store, tmp_path):
    code = (
        EVALUATED.partition("    net, alone")[0]
        + """
    net = Net()
    net.on_test_epoch_end = lambda: 1 / 0
    try:
        trainer().test(net, rows, verbose=False)
    except Exception as error:
        print("raised", type(error).__name__)
"""
    )
    assert told(code, "ddp_fork", tmp_path) == ["raised ProcessRaisedException"]
    run = only_run()
    assert run.status == "failed"
    assert len(points(run, "test_step")) == 4
