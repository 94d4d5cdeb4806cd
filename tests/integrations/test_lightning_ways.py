"""Lightning: other ways to train and to log; each against what Lightning itself gives its loggers."""

import importlib
import warnings
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchmetrics
from tensor_reads import Reads
from tiny_lightning import data, model, trainer
from torch.utils.data import DataLoader, IterableDataset

import autotrack
from autotrack.integrations._lightning_facts import optimizer_facts
from autotrack.integrations._lightning_steps import Rates, Window
from autotrack.integrations._lightning_stop import early_stopping
from autotrack.integrations._lightning_values import StepValues, epoch_values
from autotrack.testing import only_run, points

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "lightning"


def memory(pl: Any) -> Any:
    """A logger of Lightning's that keeps (metric, step, value) in `seen`."""

    class Memory(pl.loggers.Logger):
        name, version = "memory", 0

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[str, int, float]] = []

        def log_metrics(self, metrics: Any, step: int) -> None:
            self.seen.extend((key, step, value) for key, value in metrics.items())

        def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
            pass

    return Memory()


def talkative(pl: Any) -> Any:
    """A module that logs in each of its hooks, and a callback that logs too."""
    net = model(pl)
    several = torchmetrics.MetricCollection(
        [torchmetrics.MeanSquaredError(), torchmetrics.MeanAbsoluteError()]
    )
    net.several = several

    def training_step(batch: Any, batch_idx: int) -> Any:
        loss = net.loss(batch)
        net.log("loss", loss, on_step=True, on_epoch=True)
        net.log_dict(several(net.head(net.body(batch[0])), batch[1]), on_step=True, on_epoch=False)
        if batch_idx % 2:
            net.log("odd", float(batch_idx))
        return loss

    def validation_step(batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        net.log("val", net.loss(batch), on_step=True, on_epoch=True)

    net.training_step, net.validation_step = training_step, validation_step
    net.on_validation_epoch_end = lambda: net.log("checked", 1.0)
    return net


class Says:
    def __new__(cls, pl: Any) -> Any:
        class Say(pl.Callback):
            def on_train_batch_start(self, made: Any, module: Any, *rest: Any) -> None:
                module.log("said", 2.0 * made.global_step)

            def on_train_epoch_end(self, made: Any, module: Any) -> None:
                module.log("said_at_the_end", float(made.current_epoch))

        return Say()


@pytest.mark.parametrize(
    "settings",
    [
        {"accumulate_grad_batches": 2},
        {"val_check_interval": 2},
        {"check_val_every_n_epoch": 2},
        {"limit_train_batches": 2, "limit_val_batches": 1, "gradient_clip_val": 0.1},
        {"max_steps": 4, "max_epochs": -1, "num_sanity_val_steps": 0},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_names_steps_and_values_are_those_of_a_logger(store, pl, settings):
    logger = memory(pl)
    callbacks = [autotrack.AutoTrack(), Says(pl)]
    made = trainer(pl, callbacks, logger=logger, log_every_n_steps=1, **{"max_epochs": 2, **settings})
    made.fit(talkative(pl), data(), [data(), data(8)])
    run = only_run()
    keys = {key for key, _, _ in logger.seen} - {"epoch", "odd"}
    assert {"loss_step", "said"} <= keys
    for key in keys:
        seen = [(step, value) for name, step, value in logger.seen if name == key]
        if "accumulate_grad_batches" in settings:  # loggers are told nothing of batches that only accumulate
            assert set(seen) <= set(points(run, key)), key
        else:
            assert points(run, key) == seen, key
    # ... and are told a value again that a later batch did not log.
    told_again = [(step, value) for name, step, value in logger.seen if name == "odd"]
    assert set(points(run, "odd")) <= set(told_again)


@pytest.mark.parametrize("forward", [True, False], ids=["forward", "update"])
def test_a_metric_object_is_what_it_computes_of_all_batches(store, pl, arm, forward):
    net, logger = model(pl), memory(pl)
    net.error, net.worst = torchmetrics.MeanSquaredError(), torchmetrics.MaxMetric()

    def check(batch: Any, batch_idx: int) -> None:
        found, wanted = net.head(net.body(batch[0])), batch[1]
        (net.error if forward else net.error.update)(found, wanted)
        (net.worst if forward else net.worst.update)((found - wanted).abs())
        net.log("error", net.error, on_epoch=True)
        net.log("worst", net.worst, on_step=forward, on_epoch=True, batch_size=len(wanted))

    net.validation_step = net.test_step = check
    made = trainer(pl, arm(), max_epochs=2, logger=logger, log_every_n_steps=1)
    made.fit(net, data(), data(10))
    made.test(net, data(10), verbose=False)
    run = only_run()
    x, y = data(10).dataset.tensors
    difference = net.head(net.body(x)) - y
    worst = "worst_epoch" if forward else "worst"
    for key, value in (("error", (difference**2).mean()), (worst, difference.abs().max())):
        assert [step for step, _ in points(run, key)] == [2, 5, 6]
        assert [number for _, number in points(run, key)][1:] == [pytest.approx(value.item())] * 2
    for key in ("error", worst, *["worst_step"] * forward):
        assert points(run, key) == [(step, number) for name, step, number in logger.seen if name == key]


def test_manual_optimization_with_accumulation_of_ones_own(store, pl, arm):
    net = model(pl)
    losses: list[float] = []

    def training_step(batch: Any, batch_idx: int) -> Any:
        loss = net.loss(batch)
        losses.append(float(loss.detach()))
        net.manual_backward(loss)
        if batch_idx == 2:
            net.optimizers().step()
            net.optimizers().zero_grad()
        net.log("loss", loss)
        return {"loss": loss, "more": 1}

    net.automatic_optimization, net.training_step = False, training_step
    trainer(pl, arm(), max_epochs=2).fit(net, data())
    run = only_run()
    assert points(run, "loss") == points(run, "auto/loss") == list(enumerate(losses))
    assert [value for _, value in points(run, "auto/lr")] == [0.1]
    assert run.config["stopped"]["step"] == 2


def test_data_without_a_length(store, pl, arm):
    class Endless(IterableDataset):
        def __iter__(self) -> Any:
            return iter(data().dataset)

    loader = DataLoader(Endless(), batch_size=4)
    trainer(pl, arm()).fit(model(pl), loader)
    run = only_run()
    assert [step for step, _ in points(run, "loss")] == [0, 1, 2]
    assert run.config["data"]["train"]["dataset"] == "Endless"
    assert "samples" not in run.config["data"]["train"]


def test_several_training_loaders_and_batches_that_are_mappings(store, pl, arm):
    combined = importlib.import_module(f"{pl.__name__}.utilities").CombinedLoader
    net = model(pl)
    before = net.training_step
    net.training_step = lambda batch, batch_idx: before(batch["a"], batch_idx)
    trainer(pl, arm()).fit(net, combined({"a": data(), "b": data(8)}, "max_size_cycle"))
    run = only_run()
    assert [step for step, _ in points(run, "auto/samples_per_second")] == [0, 1, 2]
    assert run.config["trainer"]["num_training_batches"] == 3


def test_a_step_with_a_loader_iterator(store, pl, arm):
    net = model(pl)

    def training_step(self: Any, dataloader_iter: Any) -> Any:
        batch, _, _ = next(dataloader_iter)
        loss = net.loss(batch)
        net.log("loss", loss, batch_size=4)
        return loss

    type(net).training_step = training_step
    trainer(pl, arm()).fit(net, data())
    run = only_run()
    assert points(run, "loss") == points(run, "auto/loss")
    assert [step for step, _ in points(run, "auto/samples_per_second")] == [0, 1, 2]
    assert len(points(run, "loss")) == 3


def test_a_step_that_returns_nothing_is_skipped(store, pl, arm):
    net = model(pl)
    before = net.training_step
    net.training_step = lambda batch, batch_idx: before(batch, batch_idx) if batch_idx else None
    trainer(pl, arm()).fit(net, data())
    assert [step for step, _ in points(only_run(), "auto/loss")] == [1, 2]


def test_one_autotrack_serves_two_trainers_in_two_threads(store, pl):
    tracker = autotrack.AutoTrack(project="p")
    nets = [model(pl, lr=0.1), model(pl, lr=0.2)]
    threads = [
        Thread(target=lambda net=net: trainer(pl, [tracker], max_epochs=4).fit(net, data())) for net in nets
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runs = autotrack.runs()
    assert sorted(run.config["lr"] for run in runs) == [0.1, 0.2]
    for run in runs:
        assert (run.status, run.parent) == ("finished", None)
        assert [step for step, _ in points(run, "auto/loss")] == list(range(12))


def test_log_every_thins_steps_and_keeps_epochs(store, pl):
    net = model(pl)
    before = net.training_step
    net.training_step = lambda batch, batch_idx: (
        net.log("end", 1.0, on_epoch=True, on_step=False),
        before(batch, batch_idx),
    )[1]
    trainer(pl, [autotrack.AutoTrack(log_every=2)], max_epochs=2).fit(net, data(), data())
    run = only_run()
    for key in ("loss", "auto/loss", "auto/step_time"):
        assert [step for step, _ in points(run, key)] == [1, 3, 5], key
    assert [value for _, value in points(run, "auto/lr")] == [0.1]
    assert [len(points(run, key)) for key in ("val", "end", "auto/epoch_time")] == [2, 2, 2]


def test_warns_of_nothing_that_lightning_does_not_warn_of(store, pl):
    def train(callbacks: list[Any]) -> list[Any]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer(pl, callbacks, max_epochs=2).fit(talkative(pl), data(), data())
        return [(each.category, str(each.message), each.filename, each.lineno) for each in caught]

    train([])
    assert train([autotrack.AutoTrack()]) == train([])


def test_reads_each_recorded_tensor_once_and_no_other(store, pl):
    def reads(callbacks: list[Any]) -> int:
        with Reads() as counted:
            trainer(pl, callbacks, max_epochs=2).fit(talkative(pl), data(), data())
        return counted.count

    untracked = reads([])
    tracked = reads([autotrack.AutoTrack()])
    run = only_run()
    computed = (
        "system/",
        "epoch",
        "auto/lr",
        "auto/step_time",
        "auto/data_time",
        "auto/samples",
        "auto/epoch_time",
    )
    kept = [key for key in run.metrics if not key.startswith(computed)]
    assert {"loss_step", "loss_epoch", "auto/loss", "val_step", "MeanSquaredError"} <= set(kept)
    assert tracked - untracked == sum(len(points(run, key)) for key in kept)


class Logged:
    """One entry of Lightning's result collection, its tensors on a device that is not the CPU."""

    def __init__(self) -> None:
        self.meta = type(
            "Meta",
            (),
            {"on_step": True, "on_epoch": True, "add_dataloader_idx": False, "dataloader_idx": None},
        )()
        self.meta.forked_name = lambda on_step: "loss"
        self.has_reset = False
        self._forward_cache = self._computed = torch.empty((), device="meta")


def test_tensors_of_an_accelerator_are_handed_on_unread():
    on_device = torch.empty((), device="meta", requires_grad=True)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.empty(2))], lr=0.1)
    optimizer.param_groups[0]["lr"] = on_device
    stopper = type(
        "Stopper", (), {"best_score": on_device, "wait_count": 0, "patience": 1, "stopped_epoch": 0}
    )()
    window, rates, values = Window(), Rates(), StepValues()
    with Reads() as reads:
        found = values.new({"loss": Logged()}) | epoch_values({"loss": Logged()})
        window.add(on_device, 4)
        window.add(on_device.detach(), 4)
        window.close(found)
        owner = SimpleNamespace(optimizers=[optimizer])
        rates.read(owner, optimizer)
        rates.take(found, owner)
        facts = optimizer_facts(optimizer)
        told = early_stopping(stopper)
    assert reads.count == 0
    for key in ("loss", "auto/lr", "auto/loss"):
        assert found[key].device.type == "meta", key
    assert not found["auto/lr"].requires_grad
    assert facts["lr"] == "<on meta>"
    assert told["best_score"].device.type == "meta"


class Elsewhere(torch.Tensor):
    """A tensor that says it lies on an accelerator."""

    is_cpu = False


def test_a_rate_on_an_accelerator_is_the_one_that_the_step_used_though_its_scheduler_changes_it_in_place():
    rate = torch.tensor(0.5).as_subclass(Elsewhere)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.empty(2))], lr=rate)
    owner = SimpleNamespace(optimizers=[optimizer])
    rates, found = Rates(), {}
    for used in (0.5, 0.25):
        rates.read(owner, optimizer)
        rate.mul_(0.5)
        rates.take(found, owner)
        assert float(found["auto/lr"]) == used
