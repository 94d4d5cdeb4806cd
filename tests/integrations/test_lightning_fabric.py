"""Fabric: a loop of the user's own that logs has a run, and it ends where something tells its end."""

import gc
import importlib
import subprocess
import sys
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import SingleDeviceStrategy
from python_process import answer
from warm_process import warm

import autotrack
from autotrack import background, sealing
from autotrack.testing import only_run, points

pytestmark = pytest.mark.filterwarnings("default")


def fabric(*callbacks: Any) -> Any:
    return Fabric(accelerator="cpu", devices=1, callbacks=list(callbacks))


def train(made: Any, name: str = "loss") -> None:
    for step in range(3):
        made.log(name, torch.tensor(float(step)), step=step)


def test_records_what_it_logs_and_passes_over_its_calls(store):
    tracker = autotrack.AutoTrack(project="p")
    made = fabric(tracker)
    callbacks = made._callbacks
    net = torch.nn.Linear(4, 1)
    made.setup(net, torch.optim.SGD(net.parameters(), lr=0.1))
    for _ in range(3):
        made.call("on_train_batch_end", "anything", 1, None)
        made.call("on_train_end")
    train(made)
    made.log_dict({"a": 1.0, "b": 2})
    assert made._callbacks is callbacks
    assert only_run().status == "running"
    run = only_run()
    assert points(run, "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert points(run, "a") == [(3, 1.0)]
    assert run.project == "p"
    assert run.config["optimizer"]["class"] == "SGD"
    assert run.config["model"]["parameters"] == 5
    assert run.config["fabric"]["world_size"] == 1


def test_one_that_is_gone_has_finished(store):
    made = fabric(autotrack.AutoTrack())
    train(made)
    del made
    gc.collect()  # it refers to itself
    assert only_run().status == "finished"


def test_the_function_that_launch_runs_is_the_run(store):
    def function(made: Any) -> str:
        train(made)
        assert only_run().status == "running"
        return "done"

    made = fabric(autotrack.AutoTrack())
    assert made.launch(function) == "done"
    assert only_run().status == "finished"
    made.log("test", 7.0, step=3)
    made.log("late", 8.0)
    assert (points(only_run(), "test"), points(only_run(), "late")) == ([(3, 7.0)], [(4, 8.0)])
    assert only_run().status == "finished"


def test_a_function_that_fails_is_a_failed_run(store):
    def function(made: Any) -> None:
        train(made)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more") as caught:
        fabric(autotrack.AutoTrack()).launch(function)
    assert [entry.path for entry in caught.traceback if "autotrack/" in str(entry.path)] == []
    assert (only_run().status, "no more" in str(only_run().error)) == ("failed", True)


def test_launch_without_a_function_ends_nothing(store):
    made = fabric(autotrack.AutoTrack())
    made.launch()
    train(made)
    made.launch()
    assert only_run().status == "running"


def test_the_next_one_has_a_run_beside_it_and_what_is_logged_stays_apart(store):
    first, second = fabric(autotrack.AutoTrack(name="first")), fabric(autotrack.AutoTrack(name="second"))
    train(first, "a")
    train(second, "b")
    first.log("a", 9.0, step=3)
    runs = {run.name: run for run in autotrack.runs()}
    assert {run.parent for run in runs.values()} == {None}
    assert [len(points(runs[name], key)) for name, key in (("first", "a"), ("second", "b"))] == [4, 3]
    assert ("b" in runs["first"].metrics, "a" in runs["second"].metrics) == (False, False)


def test_autolog_records_one_without_a_callback_and_an_open_run_takes_its_values(store):
    autotrack.lightning.autolog()
    with autotrack.init(project="p") as run:
        made = fabric()
        made.launch(train)
        assert run.status == "running"
    autotrack.autolog(disable=True)
    assert len(points(only_run(), "loss")) == 3
    train(made, "unseen")
    assert "unseen" not in only_run().metrics


def test_logs_nothing_opens_nothing(store):
    made = fabric(autotrack.AutoTrack())
    made.launch(lambda made: made.call("on_train_end"))
    assert not store.exists()


FAILS = """
import autotrack
from lightning.fabric import Fabric
from lightning.fabric.strategies import SingleDeviceStrategy

fabric = Fabric(accelerator="cpu", devices=1, callbacks=[autotrack.AutoTrack()])
fabric.log("loss", 0.5)
raise ValueError("no more")
"""


def test_one_that_lives_to_the_end_of_the_process_has_its_status(store):
    done = warm(FAILS, AUTOTRACK_DIR=str(store))
    assert done.returncode == 1
    assert (only_run().status, "no more" in str(only_run().error)) == ("failed", True)
    assert points(only_run(), "loss") == [(0, 0.5)]


SPAWNS = """
import autotrack
from lightning.fabric import Fabric
from lightning.fabric.strategies import SingleDeviceStrategy

def loop(fabric):
    for step in range(3):
        fabric.log("loss", float(fabric.global_rank), step=step)

if __name__ == "__main__":
    Fabric(accelerator="cpu", devices=2, strategy="ddp_spawn", callbacks=[autotrack.AutoTrack()]).launch(loop)
"""


@pytest.mark.proof
def test_of_the_processes_that_launch_spawns_the_first_writes(store, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SPAWNS)
    answer(
        f"import subprocess, sys; subprocess.run([sys.executable, {str(script)!r}], check=True)",
        AUTOTRACK_DIR=str(store),
    )
    assert only_run().status == "finished"
    assert points(only_run(), "loss") == [(0, 0.0), (1, 0.0), (2, 0.0)]


def test_what_it_saves_is_a_checkpoint_of_its_run_and_what_it_loads_its_lineage(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    autotrack.autolog()
    first, second = fabric(), fabric()
    state = {"net": torch.nn.Linear(4, 1), "epoch": 1}
    first.save("before.ckpt", state)
    first.log("loss", 1.0, step=4)
    first.save("x.ckpt", state)
    first.save(tmp_path / "x.ckpt", state)
    second.load("x.ckpt", state)
    second.log("loss", 1.0)
    second.save(path="y.ckpt", state=state)
    autotrack.autolog(disable=True)
    background.drain(60)
    sealing.wait(sealing.LONGEST_WAIT)
    one, other = autotrack.runs(order_by="created")
    size = (tmp_path / "x.ckpt").stat().st_size
    assert [(each.path, each.step, each.by, each.size, each.state) for each in one.checkpoints] == [
        (str(tmp_path / "x.ckpt"), 4, "Fabric.save", size, "overwritten"),
        (str(tmp_path / "x.ckpt"), 4, "Fabric.save", size, "sealed"),
    ]
    assert [(each.path, each.role) for each in other.inputs] == [(str(tmp_path / "x.ckpt"), "checkpoint")]
    steps = autotrack.checkpoints.lineage(str(other.checkpoints[0].id))
    assert [step["run"] for step in steps] == [other.id, one.id]


def test_a_folder_that_several_processes_write_is_one_checkpoint_of_the_first(store, tmp_path):
    checkpoint = importlib.import_module("torch.distributed.checkpoint")

    class Sharded(SingleDeviceStrategy):
        def save_checkpoint(self, path: Any, state: Any, **_: Any) -> None:
            checkpoint.save({"w": state["w"]}, checkpoint_id=path, no_dist=True)

    class Second(Sharded):
        is_global_zero = False

    autotrack.autolog()
    with autotrack.init(project="p"):
        for kind in (Sharded, Second):
            made = Fabric(accelerator="cpu", strategy=kind(torch.device("cpu")))
            made.save(tmp_path / kind.__name__, {"w": torch.ones(3)})
    autotrack.autolog(disable=True)
    [one] = only_run().checkpoints
    assert (one.path, one.by, one.state) == (str(tmp_path / "Sharded"), "Fabric.save", "sealed")


SHARDED = """
import autotrack, torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import ModelParallelStrategy
from torch.distributed.fsdp import fully_shard

if __name__ == "__main__":
    torch.set_num_threads(1)
    shard = lambda model, mesh: fully_shard(model, mesh=mesh["data_parallel"])
    strategy = ModelParallelStrategy(shard, data_parallel_size=2, tensor_parallel_size=1)
    fabric = Fabric(accelerator="cpu", devices=2, strategy=strategy, callbacks=[autotrack.AutoTrack()])
    fabric.launch()
    model = fabric.setup_module(torch.nn.Linear(4, 8))
    optimizer = fabric.setup_optimizers(torch.optim.SGD(model.parameters(), lr=0.1))
    for step in range(2):
        loss = model(torch.full((8, 4), 1.0 + fabric.global_rank)).pow(2).mean()
        fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        mean = fabric.all_reduce(loss.detach(), reduce_op="mean").item()
        fabric.log("loss", mean, step=step)
        if fabric.is_global_zero:
            print("loss", mean)
        fabric.save(f"step-{step}.ckpt", {"model": model, "optimizer": optimizer})
    fabric.load("step-0.ckpt", {"model": model, "optimizer": optimizer})
"""


@pytest.mark.proof
def test_a_model_in_shards_over_two_processes_is_one_run_with_each_checkpoint_once(store, tmp_path):
    """FSDP of PyTorch (`fully_shard`): `FullyShardedDataParallel`, the older one, takes no CPU."""
    (tmp_path / "script.py").write_text(SHARDED)
    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    losses = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("loss")]
    run = only_run()
    assert run.status == "finished"
    assert points(run, "loss") == list(enumerate(losses))
    assert run.config["fabric"]["world_size"] == 2
    assert run.config["model"]["parameters"] == 40
    assert [(each.path, each.step, each.files, each.by, each.state) for each in run.checkpoints] == [
        (str(tmp_path / f"step-{step}.ckpt"), step, 4, "Fabric.save", "sealed") for step in range(2)
    ]
    assert [(each.path, each.role) for each in run.inputs] == [(str(tmp_path / "step-0.ckpt"), "checkpoint")]


def test_a_save_that_fails_raises_what_it_raised_and_is_none(store, tmp_path):
    made = fabric(autotrack.AutoTrack())
    made.log("loss", 1.0)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        made.save(tmp_path / "file" / "x.ckpt", {"w": torch.ones(3)})
    assert only_run().checkpoints == []
