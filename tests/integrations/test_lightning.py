"""Lightning in both namespaces: what is recorded equals what Lightning computes, and the training is the untracked one."""

import random
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from torch.utils.data import DataLoader, TensorDataset

import autotrack
from autotrack.testing import only_run, points

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "lightning"
both_names = pytest.mark.parametrize("pl", ["lightning.pytorch", "pytorch_lightning"], indirect=True)

ROWS, BATCH = 20, 8
SILENT = {
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


def data() -> DataLoader:
    rows = torch.Generator().manual_seed(1)
    x, y = torch.randn(ROWS, 4, generator=rows), torch.randn(ROWS, 1, generator=rows)
    return DataLoader(TensorDataset(x, y), batch_size=BATCH)


def trainer(pl: Any, callbacks: Any = (), **settings: Any) -> Any:
    return pl.Trainer(callbacks=list(callbacks), **{"max_epochs": 2, "logger": False, **SILENT, **settings})


def model(pl: Any, **settings: Any) -> Any:
    """A module that logs in every way, and keeps what it computed in `said`: name -> values in order."""

    class Net(pl.LightningModule):
        def __init__(self, lr: float = 0.1, width: int = 1) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(4, width)
            self.metric = torchmetrics.MeanSquaredError()
            self.said: dict[str, list[float]] = {}

        def say(self, name: str, value: Any) -> Any:
            self.said.setdefault(name, []).append(float(value.detach()))
            return value

        def loss(self, batch: Any) -> Any:
            return ((self.layer(batch[0]) - batch[1]) ** 2).mean()

        def training_step(self, batch: Any, index: int) -> Any:
            loss = self.loss(batch)
            self.say("loss", loss)
            self.log("loss", loss, on_step=True, on_epoch=True)
            self.metric(self.layer(batch[0]), batch[1])
            self.log("metric", self.metric, on_step=True, on_epoch=False)
            if index == 1:
                self.log_dict({"twice": loss * 2, "hidden": 1.5}, logger=False)
            return loss

        def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
            self.log("late", float(index), on_step=True, on_epoch=False)

        def on_train_epoch_end(self) -> None:
            self.log("end", 7.0 + self.current_epoch)

        def validation_step(self, batch: Any, index: int, dataloader_idx: int = 0) -> None:
            self.log("val", self.say(f"val{dataloader_idx}", self.loss(batch)))

        def test_step(self, batch: Any, index: int) -> None:
            self.log("test", self.say("test", self.loss(batch)))

        def predict_step(self, batch: Any, index: int) -> Any:
            return self.layer(batch[0])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)

    torch.manual_seed(0)
    return Net(**settings)


def batch_mean(values: list[float]) -> float:
    """The mean over the rows of an epoch, as 32-bit sums give it."""
    sizes = [8, 8, 4]
    total = torch.tensor(0.0)
    for value, size in zip(values, sizes, strict=True):
        total = total + torch.tensor(value) * size
    return float(total / sum(sizes))


@both_names
def test_records_every_logged_value_at_its_step(store, pl, arm):
    net = model(pl)
    trainer(pl, arm()).fit(net, data(), [data(), data()])
    run = only_run()
    said = net.said
    assert run.status == "finished"
    assert points(run, "loss_step") == list(enumerate(said["loss"]))
    assert points(run, "auto/loss") == list(enumerate(said["loss"]))
    assert [value for _, value in points(run, "metric")] == pytest.approx(said["loss"])
    assert points(run, "late") == list(enumerate([0.0, 1.0, 2.0] * 2))
    epochs = [said["loss"][:3], said["loss"][3:]]
    assert points(run, "loss_epoch") == [(2, batch_mean(epochs[0])), (5, batch_mean(epochs[1]))]
    assert points(run, "twice") == [(1, 2 * said["loss"][1]), (4, 2 * said["loss"][4])]
    assert points(run, "hidden") == [(1, 1.5), (4, 1.5)]
    assert points(run, "end") == [(2, 7.0), (5, 8.0)]
    assert points(run, "epoch") == [(2, 0), (2, 0), (5, 1), (5, 1)]
    for loader in (0, 1):
        checked = said[f"val{loader}"][2:]  # behind the two batches of the sanity check
        means = [batch_mean(checked[:3]), batch_mean(checked[3:])]
        assert points(run, f"val/dataloader_idx_{loader}") == [(2, means[0]), (5, means[1])]


@both_names
def test_leaves_weights_random_state_and_metrics_as_they_are_untracked(store, pl):
    def train(callbacks: list[Any]) -> Any:
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)
        net = model(pl)
        loader = DataLoader(data().dataset, batch_size=BATCH, shuffle=True)
        made = trainer(pl, callbacks)
        made.fit(net, loader, data())
        made.save_checkpoint(store.parent / "checkpoint.ckpt")
        saved = torch.load(store.parent / "checkpoint.ckpt", weights_only=True)
        kinds = [type(callback).__name__ for callback in made.callbacks]
        return net, made.callback_metrics, saved, kinds

    def state() -> list[Any]:
        return [random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()]

    net, metrics, saved, kinds = train([])
    reference = [*state(), metrics, kinds, saved["callbacks"], sorted(saved)]
    weights = [weight.tolist() for weight in net.parameters()]
    tracked, metrics, saved, kinds = train([autotrack.AutoTrack()])
    kinds.remove("AutoTrack")
    assert [*state(), metrics, kinds, saved["callbacks"], sorted(saved)] == reference
    assert [weight.tolist() for weight in tracked.parameters()] == weights
    autotrack.autolog()
    by_autolog, metrics, saved, kinds = train([])
    autotrack.autolog(disable=True)
    assert [*state(), metrics, kinds, saved["callbacks"], sorted(saved)] == reference
    assert [weight.tolist() for weight in by_autolog.parameters()] == weights
    assert by_autolog.said == net.said
    assert len(autotrack.runs()) == 2


def test_takes_hyper_parameters_and_facts_as_config(store, pl, arm):
    trainer(pl, arm(), gradient_clip_val=0.5).fit(model(pl, lr=0.25), data())
    config = only_run().config
    assert config["lr"] == 0.25
    assert config["width"] == 1
    assert config["trainer"]["max_epochs"] == 2
    assert config["trainer"]["gradient_clip_val"] == 0.5
    assert config["trainer"]["strategy"] == "SingleDeviceStrategy"
    assert config["optimizer"]["class"] == "SGD"
    assert config["optimizer"]["lr"] == 0.25
    assert config["model"] == {
        "class": "Net",
        "parameters": 5,
        "trainable_parameters": 5,
        "parameter_bytes": 20,
    }
    assert only_run().name == "Net"
    assert only_run().framework == "lightning"


def test_averages_the_loss_over_accumulated_batches(store, pl, arm):
    net = model(pl)
    trainer(pl, arm(), accumulate_grad_batches=2, max_epochs=1).fit(net, data())
    first, second, third = net.said["loss"]
    (step_0, loss_0), (step_1, loss_1) = points(only_run(), "auto/loss")
    assert (step_0, step_1) == (0, 1)
    assert loss_0 == pytest.approx((first + second) / 2, rel=1e-6)
    assert loss_1 == pytest.approx(third, rel=1e-6)
    assert points(only_run(), "loss_step") == [(0, first), (0, second), (1, third)]


def test_records_the_loss_of_manual_optimization_that_logs_nothing(store, pl, arm):
    net = model(pl)
    losses = []

    def training_step(batch: Any, batch_idx: int) -> Any:
        loss = net.loss(batch)
        net.optimizers().zero_grad()
        net.manual_backward(loss)
        net.optimizers().step()
        losses.append(float(loss.detach()))
        return loss

    net.automatic_optimization, net.training_step = False, training_step
    net.on_train_batch_end = net.on_train_epoch_end = lambda *_: None
    trainer(pl, arm(), max_epochs=1).fit(net, data())
    assert points(only_run(), "auto/loss") == list(enumerate(losses))


def test_records_the_loss_of_a_barebones_trainer(store, pl, arm):
    net = model(pl)
    pl.Trainer(barebones=True, max_epochs=1, accelerator="cpu", callbacks=arm()).fit(net, data())
    assert points(only_run(), "auto/loss") == list(enumerate(net.said["loss"]))


class Boom:
    """A callback that raises at the end of the second batch."""

    def __new__(cls, pl: Any, error: BaseException) -> Any:
        class Raise(pl.Callback):
            def on_train_batch_end(self, made: Any, *rest: Any) -> None:
                if rest[-1] == 1:
                    raise error

        return Raise()


def test_records_a_failure_and_hands_it_on(store, pl, arm):
    error = ValueError("out of luck")
    net = model(pl)
    with pytest.raises(ValueError, match="out of luck") as caught:
        trainer(pl, [*arm(), Boom(pl, error)]).fit(net, data())
    assert caught.value is error
    run = only_run()
    assert run.status == "failed"
    assert "ValueError: out of luck" in str(run.error)
    assert points(run, "loss_step") == list(enumerate(net.said["loss"]))
    assert autotrack.active_run() is None


def test_opens_no_run_where_nothing_is_trained(store, pl, arm):
    def fails_in_validation(batch: Any, batch_idx: int) -> None:
        raise ValueError("sanity")

    trainer(pl, arm(), fast_dev_run=True).fit(model(pl), data(), data())
    net = model(pl)
    net.validation_step = fails_in_validation
    with pytest.raises(ValueError, match="sanity"):
        trainer(pl, arm()).fit(net, data(), data())
    trainer(pl, arm(), max_epochs=0).fit(model(pl), data())
    trainer(pl, arm()).predict(model(pl), data())
    trainer(pl, arm(), fast_dev_run=True).validate(model(pl), data(), verbose=False)
    assert not store.exists()


def test_gives_a_second_fit_a_run_of_its_own(store, pl, arm):
    made, net = trainer(pl, arm(), max_epochs=1), model(pl)
    made.fit(net, data())
    made.fit(net, data())  # max_epochs is reached: nothing is trained
    assert len(autotrack.runs()) == 1
    made.fit_loop.max_epochs = 2
    made.fit(net, data())
    first, second = sorted(autotrack.runs(), key=lambda run: run.created)
    assert points(first, "loss_step") == list(enumerate(net.said["loss"][:3]))
    assert points(second, "loss_step") == list(enumerate(net.said["loss"][3:], 3))


def test_logs_validate_and_test_after_the_fit_into_its_run(store, pl, arm):
    net, made = model(pl), None
    made = trainer(pl, arm())
    made.fit(net, data())
    made.test(net, data(), verbose=False)
    made.validate(net, data(), verbose=False)
    run = only_run()
    assert run.status == "finished"
    assert points(run, "test") == [(6, batch_mean(net.said["test"]))]
    assert points(run, "val") == [(6, batch_mean(net.said["val0"]))]


def test_logs_a_lone_test_into_the_run_that_is_open(store, pl, arm):
    net = model(pl)
    with autotrack.init(project="p"):
        trainer(pl, arm()).test(net, data(), verbose=False)
    assert points(only_run(), "test") == [(0, batch_mean(net.said["test"]))]


def test_logs_nothing_into_the_open_run_for_a_fit_that_is_not_recorded(store, pl, arm):
    with autotrack.init(project="p"):
        trainer(pl, arm(), fast_dev_run=True).fit(model(pl), data(), data())
        with autotrack.disabled():
            trainer(pl, arm()).fit(model(pl), data(), data())
            trainer(pl, arm()).test(model(pl), data(), verbose=False)
    assert not [key for key in only_run().summary if not key.startswith("system/")]


def test_records_the_first_fit_in_the_open_run_and_others_in_children(store, pl, arm):
    with autotrack.init(project="p") as run:
        trainer(pl, arm(), max_epochs=1).fit(model(pl), data())
        trainer(pl, arm(), max_epochs=1).fit(model(pl, lr=0.5), data())
        assert run.status == "running"
    record = autotrack.get_run(run.id)
    assert record.config["lr"] == 0.1
    (child,) = record.children
    assert child.config["lr"] == 0.5
    assert len(points(child, "auto/loss")) == 3


def test_one_autotrack_serves_a_fit_inside_of_another(store, pl):
    tracker = autotrack.AutoTrack()
    inner, outer = model(pl, lr=0.5), model(pl)

    class Inside(pl.Callback):
        def on_train_batch_end(self, made: Any, module: Any, *rest: Any) -> None:
            if rest[-1] == 0 and made.current_epoch == 0:
                trainer(pl, [tracker], max_epochs=1).fit(inner, data())

    trainer(pl, [tracker, Inside()]).fit(outer, data())
    by_lr = {run.config["lr"]: run for run in autotrack.runs()}
    assert points(by_lr[0.1], "auto/loss") == list(enumerate(outer.said["loss"]))
    assert points(by_lr[0.5], "auto/loss") == list(enumerate(inner.said["loss"]))


def test_the_first_of_two_autotracks_acts(store, pl):
    first, second = autotrack.AutoTrack(project="first"), autotrack.AutoTrack(project="second")
    net = model(pl)
    trainer(pl, [first, second]).fit(net, data())
    assert only_run().project == "first"
    assert points(only_run(), "auto/loss") == list(enumerate(net.said["loss"]))


def test_does_not_keep_the_module_alive(store, pl):
    tracker = autotrack.AutoTrack()
    made = trainer(pl, [tracker])
    made.fit(model(pl), data())
    assert not {"log", "log_dict"} & set(vars(tracker))
