"""Lightning: searches for a learning rate or a batch size are no trainings."""

import importlib
from typing import Any

import pytest
import torch
from tiny_lightning import data, model, trainer
from torch.utils.data import DataLoader

import autotrack
from autotrack.testing import only_run, points

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "lightning"


def test_a_learning_rate_search_is_not_recorded(store, pl, arm, tmp_path):
    tuner = importlib.import_module(f"{pl.__name__}.tuner").Tuner
    made = trainer(pl, arm(), enable_checkpointing=True, default_root_dir=tmp_path)
    net = model(pl, lr=0.1)
    tuner(made).lr_find(net, data(), num_training=3)
    assert not store.exists()
    searched = len(net.used)
    made.fit(net, data())
    assert [step for step, _ in points(only_run(), "loss")] == list(range(len(net.used) - searched))


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


def test_searches_that_callbacks_begin_a_fit_with_are_no_part_of_its_run(store, pl, arm, tmp_path):
    net = model(pl, lambda net: torch.optim.SGD(net.parameters(), lr=net.hparams["lr"]), lr=0.1)
    net.batch_size = 2
    net.train_dataloader = lambda: DataLoader(data().dataset, batch_size=net.batch_size)
    net.val_dataloader = net.train_dataloader
    finders = [
        pl.callbacks.BatchSizeFinder(max_trials=1, steps_per_trial=1, init_val=4),
        pl.callbacks.LearningRateFinder(max_lr=0.01, num_training_steps=20, early_stop_threshold=None),
    ]
    batches = []
    watch = pl.callbacks.LambdaCallback(on_train_batch_end=lambda *facts: batches.append(facts[-1]))
    trainer(pl, [*finders, watch, *arm()], default_root_dir=tmp_path).fit(net)
    run = only_run()
    assert net.batch_size > 2  # what a trial is differs between versions
    # Lightning 2.5.0 trains no batch behind these two finders; then nothing but the epoch is to be recorded.
    assert batches == ([0, 1, 2] if pl.__version__ != "2.5.0" else [])
    series = {key: points(run, key) for key in run.metrics if key in ("loss", "auto/lr")}
    assert [step for step, _ in series.get("loss", [])] == batches
    assert series.get("auto/lr", []) == [(0, net.hparams["lr"])][: len(batches)]
    assert run.config["lr"] == net.hparams["lr"]
    assert list(run.checkpoints) == []
    assert not [one for one in run.inputs if one.role == "checkpoint"]


def test_what_a_search_saves_for_itself_is_no_checkpoint_of_the_open_run(store, pl, arm, tmp_path):
    tuner = importlib.import_module(f"{pl.__name__}.tuner").Tuner
    with autotrack.init(project="p"):
        made = trainer(pl, arm(), default_root_dir=tmp_path)
        tuner(made).lr_find(model(pl, lr=0.1), data(), num_training=3, update_attr=False)
        made.save_checkpoint(tmp_path / "mine.ckpt")
    assert [one.path for one in only_run().checkpoints] == [str(tmp_path / "mine.ckpt")]
    assert not [key for key in only_run().metrics if not key.startswith("system/")]


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_search_in_the_middle_of_a_fit_leaves_nothing_in_the_values_of_its_steps(
    store, pl, arm, tmp_path, accumulated
):
    class AtEachEpoch(pl.callbacks.LearningRateFinder):
        def on_fit_start(self, *facts: Any) -> None:
            pass

        def on_train_epoch_start(self, made: Any, module: Any) -> None:
            self.lr_find(made, module)

    losses: list[float] = []
    watch = pl.callbacks.LambdaCallback(
        on_train_batch_end=lambda made, module, outputs, *facts: losses.append(float(outputs["loss"]))
    )
    finder = AtEachEpoch(num_training_steps=7, max_lr=0.01, early_stop_threshold=None)
    settings = {"max_epochs": 2, "accumulate_grad_batches": accumulated, "default_root_dir": tmp_path}
    net = model(pl, lambda net: torch.optim.SGD(net.parameters(), lr=net.hparams["lr"]), lr=0.1)
    trainer(pl, [*arm(), finder, watch], **settings).fit(net, data(16))
    run = only_run()
    # What Lightning hands to callbacks is divided by the number of accumulated batches.
    sums = [sum(losses[at : at + accumulated]) for at in range(0, len(losses), accumulated)]
    assert points(run, "auto/loss") == [(step, pytest.approx(loss)) for step, loss in enumerate(sums)]
    times, speeds = points(run, "auto/step_time"), points(run, "auto/samples_per_second")
    assert times
    assert speeds == [(step, pytest.approx(4 * accumulated / took)) for step, took in times]
