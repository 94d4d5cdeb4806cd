"""What is recorded equals what a loop written by hand in plain torch computes: accumulated, with several optimizers, resumed."""

import copy
import os
from inspect import signature
from typing import Any

import numpy as np
import pytest

import autotrack
from autotrack.testing import only_run, points

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import lightning.pytorch as pl
import tiny_lightning
import torch
import transformers
from tiny_transformers import Rows, steady_bert, trainer
from transformers import TrainerCallback

pytestmark = pytest.mark.filterwarnings("default")
UNSAFE: dict[str, Any] = (
    {} if "weights_only" not in signature(pl.Trainer.fit).parameters else {"weights_only": False}
)
SHARE = 2 if transformers.__version__.startswith("4.") else 1
"""By what a loss is divided with two accumulated batches: version 5 takes this model for one that counts the items of the step."""
CLOSE = {"rel": 1e-4, "abs": 1e-7}


def values(run: Any, key: str) -> list[float]:
    return [value for _, value in points(run, key)]


def in_force(run: Any, key: str, steps: range) -> list[float]:
    """The value of each step of a series whose points hold until the next one."""
    known = dict(points(run, key))
    return [known[max(at for at in known if at <= step)] for step in steps]


def falling(net: Any) -> dict[str, Any]:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def test_lightning_accumulating_over_a_resume(store, tmp_path):
    rows = tiny_lightning.data(16)
    net = tiny_lightning.model(pl, falling)
    twin = copy.deepcopy(net)
    settings = {"accumulate_grad_batches": 2, "log_every_n_steps": 1}
    first = tiny_lightning.trainer(pl, [autotrack.AutoTrack()], max_epochs=1, **settings)
    first.fit(net, rows)
    first.save_checkpoint(tmp_path / "one.ckpt")
    second = tiny_lightning.trainer(pl, [autotrack.AutoTrack()], max_epochs=3, **settings)
    second.fit(tiny_lightning.model(pl, falling), rows, ckpt_path=tmp_path / "one.ckpt", **UNSAFE)

    made = falling(twin)
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    losses, rates = [], []
    for _ in range(3):
        for index, batch in enumerate(rows):
            loss = twin.loss(batch)
            (loss / 2).backward()
            losses.append(loss.item())
            if index % 2:
                rates.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
    run = only_run()
    assert run.attempts == 2
    assert points(run, "loss") == [
        (place // 2, pytest.approx(loss, **CLOSE)) for place, loss in enumerate(losses)
    ]
    means = [sum(losses[at : at + 2]) / 2 for at in range(0, 12, 2)]
    assert points(run, "auto/loss") == [
        (step, pytest.approx(mean, **CLOSE)) for step, mean in enumerate(means)
    ]
    assert in_force(run, "auto/lr", range(6)) == pytest.approx(rates)


def test_lightning_resumed_in_the_middle_of_an_epoch(store, tmp_path):
    rows = tiny_lightning.data(16)
    net = tiny_lightning.model(pl, falling)
    twin = copy.deepcopy(net)
    saver = pl.callbacks.ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
    first = tiny_lightning.trainer(pl, [autotrack.AutoTrack(), saver], enable_checkpointing=True)
    first.fit(net, rows)
    second = tiny_lightning.trainer(pl, [autotrack.AutoTrack()], max_epochs=2)
    second.fit(tiny_lightning.model(pl, falling), rows, ckpt_path=tmp_path / "step=2.ckpt", **UNSAFE)

    made = falling(twin)
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    losses, rates = [], []
    batches = list(rows)
    for batch in (*batches[:2], *batches[:2], *batches):  # the loader of the resumed epoch begins anew
        loss = twin.loss(batch)
        loss.backward()
        losses.append(loss.item())
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    run = only_run()
    assert run.attempts == 2
    for key in ("loss", "auto/loss"):
        assert points(run, key) == [(step, pytest.approx(loss, **CLOSE)) for step, loss in enumerate(losses)]
    assert in_force(run, "auto/lr", range(8)) == pytest.approx(rates)
    assert [(one.run, one.step) for one in run.inputs if one.role == "checkpoint"] == [(run.id, 2)]


class Duel(pl.LightningModule):
    """Two optimizers by hand: one a batch for the body, one every second batch for the head."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.body, self.head = torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)

    def losses(self, batch: Any) -> tuple[Any, Any]:
        error = self.head(self.body(batch[0])) - batch[1]
        return (error**2).mean(), error.abs().mean()

    def configure_optimizers(self) -> Any:
        return [
            torch.optim.SGD(self.body.parameters(), lr=0.1, momentum=0.9),
            torch.optim.Adam(self.head.parameters(), lr=0.01),
        ]

    def turn(self, batch: Any, index: int, optimizers: Any, backward: Any) -> dict[str, Any]:
        body, head = optimizers
        square, absolute = self.losses(batch)
        body.zero_grad()
        backward(square)
        body.step()
        said = {"square": square.detach()}
        if index % 2:
            absolute = self.losses(batch)[1]
            head.zero_grad()
            backward(absolute)
            head.step()
            said["absolute"] = absolute.detach()
        return said

    def training_step(self, batch: Any, index: int) -> None:
        self.log_dict(self.turn(batch, index, self.optimizers(), self.manual_backward))


def test_lightning_with_two_optimizers_by_hand_over_a_resume(store, tmp_path):
    rows = tiny_lightning.data(16)
    torch.manual_seed(0)
    net = Duel()
    twin = copy.deepcopy(net)
    first = tiny_lightning.trainer(pl, [autotrack.AutoTrack()], max_epochs=1, log_every_n_steps=1)
    first.fit(net, rows)
    first.save_checkpoint(tmp_path / "one.ckpt")
    second = tiny_lightning.trainer(pl, [autotrack.AutoTrack()], max_epochs=2, log_every_n_steps=1)
    second.fit(Duel(), rows, ckpt_path=tmp_path / "one.ckpt", **UNSAFE)

    optimizers = twin.configure_optimizers()
    said = [
        twin.turn(batch, index, optimizers, torch.Tensor.backward)
        for _ in range(2)
        for index, batch in enumerate(rows)
    ]
    run = only_run()
    assert run.attempts == 2
    for key in ("square", "absolute"):
        assert values(run, key) == pytest.approx([one[key].item() for one in said if key in one], **CLOSE)
    steps = [step for step, _ in points(run, "square")]
    assert steps == sorted(set(steps))
    assert set(values(run, "auto/lr/0")) == {0.1}
    assert set(values(run, "auto/lr/1")) == {0.01}


class InOrder(transformers.Trainer):
    """Takes the rows as they come."""

    def get_train_dataloader(self) -> Any:
        loader = torch.utils.data.DataLoader(self.train_dataset, batch_size=2, collate_fn=self.data_collator)
        return self.accelerator.prepare(loader)


class StopsAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
        control.should_training_stop = state.global_step == self.step


def test_transformers_accumulating_over_a_resume(store, tmp_path):
    settings = {
        "kind": InOrder,
        "gradient_accumulation_steps": 2,
        "max_steps": 6,
        "save_strategy": "steps",
        "save_steps": 3,
        "logging_steps": 1,
        "max_grad_norm": 0.5,
    }
    trainer(tmp_path, [autotrack.AutoTrack(), StopsAt(3)], steady_bert(), **settings).train()
    trainer(tmp_path, [autotrack.AutoTrack()], steady_bert(), **settings).train(resume_from_checkpoint=True)

    twin = steady_bert().train()
    optimizer = torch.optim.AdamW(twin.parameters(), lr=0.01, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (6 - step) / 6)
    collate = transformers.default_data_collator
    loader = torch.utils.data.DataLoader(Rows(), batch_size=2, collate_fn=collate)
    losses, norms, rates = [], [], []
    for _ in range(2):
        for index, batch in enumerate(loader):
            loss = twin(**batch).loss
            (loss / SHARE).backward()
            losses.append(loss.item())
            if index % 2:
                norms.append(torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5).item())
                rates.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
    run = only_run()
    assert run.attempts == 2
    means = [sum(losses[at : at + 2]) / 2 for at in range(0, 12, 2)]
    assert points(run, "auto/loss") == [
        (step, pytest.approx(mean, **CLOSE)) for step, mean in enumerate(means, 1)
    ]
    assert values(run, "auto/grad_norm") == pytest.approx(norms, rel=1e-3)
    assert in_force(run, "auto/lr", range(1, 7)) == pytest.approx(rates)


X = np.random.RandomState(0).randn(28, 4).astype("float32")
Y = np.random.RandomState(1).randn(28, 1).astype("float32")


def dense(accumulated: int) -> Any:
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=accumulated)
    made.compile(optimizer, "mse", metrics=["mae"])
    return made


def test_keras_accumulating_over_a_resume(store, tmp_path):
    made = dense(2)
    twin = torch.nn.Linear(4, 1)
    with torch.no_grad():
        kernel, bias = made.get_weights()
        twin.weight.copy_(torch.tensor(kernel.T))
        twin.bias.copy_(torch.tensor(bias))
    settings = {"batch_size": 8, "shuffle": False, "verbose": 0}
    for model, epochs in ((made, 1), (dense(2), 3)):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        model.fit(X, Y, epochs=epochs, callbacks=[backup, autotrack.AutoTrack()], **settings)

    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    losses, absolutes = [], []
    for _ in range(3):
        for index, at in enumerate(range(0, 28, 8)):
            error = twin(torch.tensor(X[at : at + 8])) - torch.tensor(Y[at : at + 8])
            loss = (error**2).mean()
            (loss / 2).backward()
            losses.append(loss.item())
            absolutes.append(error.abs().mean().item())
            if index % 2:
                optimizer.step()
                optimizer.zero_grad()
    run = only_run()
    assert run.attempts == 2
    assert points(run, "auto/loss") == [
        (step, pytest.approx(loss, **CLOSE)) for step, loss in enumerate(losses, 1)
    ]
    assert values(run, "auto/batch/mae") == pytest.approx(absolutes, **CLOSE)
    epochs = [np.average(losses[at : at + 4], weights=[8, 8, 8, 4]) for at in (0, 4, 8)]
    assert points(run, "loss") == [
        (4 * count, pytest.approx(mean, **CLOSE)) for count, mean in enumerate(epochs, 1)
    ]
