"""Lightning: learning rates, times, settings, what stopped the fit, and evaluations without one."""

import gc
import importlib
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import autotrack
from autotrack.testing import only_run, points

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "lightning"
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


@pytest.fixture(scope="module", params=["lightning.pytorch", "pytorch_lightning"])
def pl(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


def data(rows: int = 12) -> DataLoader:
    made = torch.Generator().manual_seed(1)
    return DataLoader(
        TensorDataset(torch.randn(rows, 4, generator=made), torch.randn(rows, 1, generator=made)),
        batch_size=4,
    )


def model(pl: Any, configure: Any = None, **settings: Any) -> Any:
    class Net(pl.LightningModule):
        def __init__(self, **settings: Any) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.body, self.head = torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)
            self.used: list[list[float]] = []

        def loss(self, batch: Any) -> Any:
            return ((self.head(self.body(batch[0])) - batch[1]) ** 2).mean()

        def training_step(self, batch: Any, index: int) -> Any:
            loss = self.loss(batch)
            self.log("loss", loss)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val", self.loss(batch))

        def test_step(self, batch: Any, index: int) -> None:
            self.log("test", self.loss(batch))

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            self.used.append([group["lr"] for group in optimizer.param_groups])

        def configure_optimizers(self) -> Any:
            return configure(self) if configure else torch.optim.SGD(self.parameters(), lr=0.1)

    torch.manual_seed(0)
    return Net(**settings)


def trainer(pl: Any, callbacks: Any = (), **settings: Any) -> Any:
    return pl.Trainer(callbacks=list(callbacks), **{"max_epochs": 1, **QUIET, **settings})


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


def test_says_that_max_epochs_ended_it(store, pl, arm):
    trainer(pl, arm()).fit(model(pl), data())
    assert only_run().config["stopped"] == {"by": "max_epochs", "epoch": 1, "step": 3}


def test_says_that_max_steps_ended_it(store, pl, arm):
    trainer(pl, arm(), max_steps=2, max_epochs=-1).fit(model(pl), data())
    assert only_run().config["stopped"]["by"] == "max_steps"
    assert only_run().config["stopped"]["step"] == 2


def test_says_that_the_time_was_over(store, pl, arm):
    trainer(pl, arm(), max_epochs=-1, max_time={"seconds": 0.3}).fit(model(pl), data())
    assert only_run().config["stopped"]["by"] == "max_time"


def test_says_that_should_stop_was_set(store, pl, arm):
    class Stop(pl.Callback):
        def on_train_batch_end(self, made: Any, *rest: Any) -> None:
            made.should_stop = True

    trainer(pl, [*arm(), Stop()], max_epochs=9).fit(model(pl), data())
    assert only_run().config["stopped"] == {"by": "should_stop", "epoch": 1, "step": 1}


def test_says_how_early_stopping_ended_it(store, pl, arm):
    stop = pl.callbacks.EarlyStopping("flat", patience=2)
    net = model(pl)
    net.on_train_epoch_end = lambda: net.log("flat", 1.0)
    trainer(pl, [*arm(), stop], max_epochs=9).fit(net, data())
    stopped = only_run().config["stopped"]
    assert (stopped["by"], stopped["epoch"]) == ("EarlyStopping", 3)
    told = stopped["early_stopping"]
    assert (told["monitor"], told["best_score"], told["wait_count"]) == ("flat", 1.0, 2)
    assert told["stopped_epoch"] == 2
    assert only_run().status == "finished"


def test_a_lone_test_has_a_run_where_an_autotrack_was_given(store, pl):
    net = model(pl, lr=0.5)
    trainer(pl, [autotrack.AutoTrack(project="p")]).test(net, data(), verbose=False)
    run = only_run()
    assert (run.status, run.project, run.config["evaluation"]) == ("finished", "p", "test")
    assert [step for step, _ in points(run, "test")] == [0]


def test_a_lone_test_under_autolog_has_none(store, pl):
    autotrack.lightning.autolog()
    trainer(pl).test(model(pl), data(), verbose=False)
    autotrack.autolog(disable=True)
    assert not store.exists()


def test_another_trainer_tests_the_module_into_the_run_of_its_fit(store, pl, arm):
    net = model(pl)
    trainer(pl, arm()).fit(net, data())
    trainer(pl, arm()).test(net, data(), verbose=False)
    assert len(points(only_run(), "test")) == 1


def test_a_search_after_a_fit_logs_nothing_into_its_run(store, pl, arm, tmp_path):
    tuner = importlib.import_module(f"{pl.__name__}.tuner").Tuner
    made, net = trainer(pl, arm(), enable_checkpointing=True, default_root_dir=tmp_path), model(pl, lr=0.1)
    made.fit(net, data())
    before = {key: points(only_run(), key) for key in only_run().metrics if not key.startswith("system/")}
    tuner(made).lr_find(net, data(), num_training=3, update_attr=False)
    run = only_run()
    assert {key: points(run, key) for key in run.metrics if not key.startswith("system/")} == before


def test_a_batch_size_search_is_not_recorded(store, pl, arm, tmp_path):
    tuner = importlib.import_module(f"{pl.__name__}.tuner").Tuner
    net = model(pl)
    net.batch_size = 2
    net.train_dataloader = lambda: DataLoader(data().dataset, batch_size=net.batch_size)
    net.val_dataloader = net.train_dataloader
    made = trainer(pl, arm(), default_root_dir=tmp_path)
    tuner(made).scale_batch_size(net, max_trials=1, steps_per_trial=1)
    assert not store.exists()


def test_an_autotrack_of_the_module_itself_records(store, pl):
    net = model(pl)
    net.configure_callbacks = lambda: [autotrack.AutoTrack(project="module")]
    trainer(pl).fit(net, data())
    assert (only_run().project, only_run().status) == ("module", "finished")
    assert len(points(only_run(), "loss")) == 3


def test_fabric_records_what_it_logs(store):
    from lightning.fabric import Fabric

    callbacks = [autotrack.AutoTrack(project="p")]
    fabric = Fabric(accelerator="cpu", devices=1, callbacks=callbacks)
    net = torch.nn.Linear(4, 1)
    net, _ = fabric.setup(net, torch.optim.SGD(net.parameters(), lr=0.1))
    for step in range(3):
        fabric.call("on_train_batch_end", "anything", step, None)
        fabric.call("on_train_end")
        fabric.log("loss", torch.tensor(float(step)), step=step)
    fabric.log_dict({"a": 1.0, "b": 2})
    assert fabric._callbacks is callbacks
    del fabric
    gc.collect()  # Fabric refers to itself
    run = only_run()
    assert points(run, "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert points(run, "a") == [(3, 1.0)]
    assert (run.status, run.project) == ("finished", "p")
    assert run.config["optimizer"]["class"] == "SGD"
    assert run.config["model"]["parameters"] == 5
