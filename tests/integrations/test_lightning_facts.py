"""Lightning: learning rates, times, settings, searches, and evaluations without a fit."""

from typing import Any

import pytest
import torch
from tiny_lightning import data, model, trainer

import autotrack
from autotrack.testing import only_run, points

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "lightning"


def test_records_the_rate_of_each_step_where_it_changes(store, pl, arm):
    def configure(net: Any) -> Any:
        optimizer = torch.optim.SGD(net.parameters(), lr=0.8)
        halve = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 ** (step // 2))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": halve, "interval": "step"}}

    net = model(pl, configure)
    trainer(pl, arm(), max_epochs=2).fit(net, data())
    assert [rates[0] for rates in net.used] == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]
    assert points(only_run(), "auto/lr") == [(0, 0.8), (2, 0.4), (4, 0.2)]
    assert only_run().config["lr_scheduler"]["class"] == "LambdaLR"
    assert only_run().config["lr_scheduler"]["interval"] == "step"


def test_a_rate_that_optimizer_step_sets_is_that_of_its_step(store, pl, arm):
    net = model(pl)

    def optimizer_step(epoch: int, index: int, optimizer: Any, closure: Any = None) -> None:
        optimizer.param_groups[0]["lr"] = 0.1 * (index + 1)
        optimizer.step(closure=closure)
        optimizer.param_groups[0]["lr"] = 9.0

    net.optimizer_step = optimizer_step
    trainer(pl, arm()).fit(net, data())
    assert points(only_run(), "auto/lr") == [(step, rates[0]) for step, rates in enumerate(net.used)]


def test_records_the_rate_of_every_group_under_its_name(store, pl, arm):
    def configure(net: Any) -> Any:
        groups = [
            {"params": net.body.parameters(), "lr": 0.1, "name": "body"},
            {"params": net.head.parameters(), "lr": 0.2},
        ]
        return torch.optim.SGD(groups, lr=0.5)

    trainer(pl, arm()).fit(model(pl, configure), data())
    run = only_run()
    assert points(run, "auto/lr") == points(run, "auto/lr/body") == [(0, 0.1)]
    assert points(run, "auto/lr/1") == [(0, 0.2)]
    assert [group["lr"] for group in run.config["optimizer"]["groups"]] == [0.1, 0.2]


def test_the_rate_of_an_optimizer_is_that_before_its_schedule_unless_somebody_has_set_another(store, pl, arm):
    def configure(net: Any) -> Any:
        optimizer = torch.optim.SGD(net.parameters(), lr=0.8)
        return [optimizer], [torch.optim.lr_scheduler.LinearLR(optimizer, 0.5)]

    class Sets(pl.Callback):
        def on_fit_start(self, made: Any, module: Any) -> None:
            made.optimizers[0].param_groups[0]["lr"] = 0.3

    trainer(pl, arm()).fit(model(pl, configure), data())
    trainer(pl, [Sets(), *arm()]).fit(model(pl, configure), data())
    assert [run.config["optimizer"]["lr"] for run in autotrack.runs(order_by="created")] == [0.8, 0.3]


def test_several_optimizers_do_not_double_the_steps(store, pl, arm):
    net = model(
        pl,
        lambda net: [
            torch.optim.SGD(net.body.parameters(), lr=0.1),
            torch.optim.Adam(net.head.parameters(), lr=0.2),
        ],
    )

    def training_step(batch: Any, batch_idx: int) -> None:
        for optimizer in net.optimizers():
            optimizer.zero_grad()
            loss = net.loss(batch)
            net.manual_backward(loss)
            optimizer.step()
        net.log("loss", loss)

    net.automatic_optimization, net.training_step = False, training_step
    trainer(pl, arm()).fit(net, data())
    run = only_run()
    assert [step for step, _ in points(run, "loss")] == [0, 1, 2]
    assert points(run, "auto/lr/0") == points(run, "auto/lr") == [(0, 0.1)]
    assert points(run, "auto/lr/1") == [(0, 0.2)]
    assert [optimizer["class"] for optimizer in run.config["optimizer"]] == ["SGD", "Adam"]


def test_times_steps_and_epochs(store, pl, arm):
    trainer(pl, arm(), max_epochs=2, accumulate_grad_batches=2).fit(model(pl), data(), data())
    run = only_run()
    steps = points(run, "auto/step_time")
    assert [step for step, _ in steps] == [0, 1, 2, 3]
    waits = points(run, "auto/data_time")
    assert all(0 < wait[1] < step[1] for wait, step in zip(waits, steps, strict=True))
    speeds = [speed for _, speed in points(run, "auto/samples_per_second")]
    assert speeds == pytest.approx([rows / step[1] for rows, step in zip([8, 4, 8, 4], steps, strict=True)])
    epochs = points(run, "auto/epoch_time")
    assert [step for step, _ in epochs] == [1, 3]
    assert epochs[0][1] > steps[0][1] + steps[1][1]


def test_takes_what_a_learning_rate_monitor_gives_the_loggers(store, pl, arm, tmp_path):
    logger = pl.loggers.CSVLogger(tmp_path)
    monitor = pl.callbacks.LearningRateMonitor("step")
    trainer(pl, [*arm(), monitor], logger=logger, log_every_n_steps=1).fit(model(pl), data())
    assert points(only_run(), "lr-SGD") == [(0, 0.1), (1, 0.1), (2, 0.1)]


def test_takes_callbacks_data_and_datamodule_as_config(store, pl, arm):
    class Data(pl.LightningDataModule):
        def __init__(self, folds: int = 3) -> None:
            super().__init__()
            self.save_hyperparameters()

        def train_dataloader(self) -> Any:
            return data()

    stop = pl.callbacks.EarlyStopping("loss", patience=7)
    trainer(pl, [stop, *arm()]).fit(model(pl, optimizer="sgd"), datamodule=Data())
    run = only_run()
    config = run.config
    assert config["callbacks"]["EarlyStopping"]["patience"] == 7
    assert "AutoTrack" not in config["callbacks"]
    assert config["datamodule"] == {"class": "Data", "folds": 3}
    assert config["data"]["train"]["batch_size"] == 4
    assert config["data"]["train"]["samples"] == 12
    assert config["optimizer"] == "sgd"  # the user's own word
    assert config["lightning"]["optimizer"]["class"] == "SGD"
    assert config["trainer"]["estimated_stepping_batches"] == 3
    assert config["trainer"]["precision"] == "32-true"
    assert "model_summary.json" in [artifact.name for artifact in run.artifacts]


def test_the_seed_that_lightning_was_given_is_a_fact_of_the_trainer(store, pl, arm, monkeypatch):
    for name in (
        "PL_GLOBAL_SEED",
        "PL_SEED_WORKERS",
    ):  # what is set from now on is taken back behind the test
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    trainer(pl, arm()).fit(model(pl), data())
    pl.seed_everything(3, workers=True)
    trainer(pl, arm()).fit(model(pl), data())
    first, second = (run.config["trainer"] for run in autotrack.runs(order_by="created"))
    assert "seed" not in first
    assert (second["seed"], second["seed_workers"]) == (3, True)


def test_a_lone_test_has_a_run_where_an_autotrack_was_given(store, pl):
    net = model(pl, lr=0.5)
    trainer(pl, [autotrack.AutoTrack(project="p")]).test(net, data(), verbose=False)
    run = only_run()
    assert (run.status, run.project, run.config["evaluation"]) == ("finished", "p", "test")
    assert [step for step, _ in points(run, "test")] == [0]


def test_another_trainer_tests_the_module_into_the_run_of_its_fit_where_that_ended(store, pl, arm):
    net = model(pl)
    trainer(pl, arm(), max_epochs=2).fit(net, data())
    trainer(pl, arm()).test(net, data(), verbose=False)
    run = only_run()
    assert [step for step, _ in points(run, "test")] == [6]
    assert points(run, "epoch")[-1] == (6, 2)


def test_a_test_belongs_to_the_fit_of_its_module_before_that_of_its_trainer(store, pl, arm):
    first = model(pl, lr=0.1)
    second, loaded_anew = type(first)(lr=0.2), type(first)(lr=0.3)
    trained_first = trainer(pl, arm())
    trained_first.fit(first, data())
    trainer(pl, arm(), max_epochs=2).fit(second, data())
    trained_first.test(second, data(), verbose=False)
    runs = {run.config["lr"]: run for run in autotrack.runs()}
    assert "test" not in runs[0.1].metrics
    assert [step for step, _ in points(runs[0.2], "test")] == [6]
    trained_first.test(loaded_anew, data(), verbose=False)
    runs = {run.config["lr"]: run for run in autotrack.runs()}
    assert [step for step, _ in points(runs[0.1], "test")] == [3]
    assert len(points(runs[0.2], "test")) == 1


def test_an_autotrack_of_the_module_itself_records(store, pl):
    net = model(pl)
    net.configure_callbacks = lambda: [autotrack.AutoTrack(project="module")]
    trainer(pl).fit(net, data())
    assert (only_run().project, only_run().status) == ("module", "finished")
    assert len(points(only_run(), "loss")) == 3
