"""Lightning: which checkpoint was evaluated, by `ckpt_path`."""

from typing import Any

import pytest
from tiny_lightning import data, model, trainer

import autotrack
from autotrack import background
from autotrack.testing import only_run, points

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "lightning"


def fitted(pl: Any, folder: Any, callbacks: list[Any]) -> tuple[Any, Any]:
    """Two epochs of three steps, each of which is saved."""
    saver = pl.callbacks.ModelCheckpoint(dirpath=folder / "saved", save_top_k=-1, filename="{epoch}")
    made, net = trainer(pl, [*callbacks, saver], max_epochs=2, enable_checkpointing=True), model(pl)
    made.fit(net, data())
    return made, net


def recorded() -> list[Any]:
    """The runs, newest first, once the helper thread has noted what was read."""
    background.drain(60)
    return list(autotrack.runs())


def checkpoints_read(run: Any) -> list[tuple[str | None, int | None]]:
    """The run and step of each checkpoint among a run's inputs."""
    return [(one.run, one.step) for one in run.inputs if one.role == "checkpoint"]


def test_a_checkpoint_of_the_run_is_evaluated_at_its_own_step(store, pl, arm, tmp_path):
    made, net = fitted(pl, tmp_path, arm())
    for epoch in (0, 1):
        made.test(net, data(), ckpt_path=tmp_path / "saved" / f"epoch={epoch}.ckpt", verbose=False)
    made.validate(net, data(), ckpt_path="best", verbose=False)
    made.test(net, data(), verbose=False)
    run = only_run()
    assert [step for step, _ in points(run, "test")] == [3, 6, 6]
    assert [value for step, value in points(run, "epoch") if step == 3] == [0]
    assert [step for step, _ in points(run, "val")] == [6]
    assert checkpoints_read(run)[:2] == [(run.id, 3), (run.id, 6)]
    assert len(checkpoints_read(run)) == 3


@pytest.mark.parametrize("what", ["validate", "test"])
def test_what_a_run_of_its_own_evaluates_is_its_input(store, pl, tmp_path, what):
    fitted(pl, tmp_path, [autotrack.AutoTrack()])
    first = only_run()
    path = tmp_path / "saved" / "epoch=0.ckpt"
    getattr(trainer(pl, [autotrack.AutoTrack()]), what)(model(pl), data(), ckpt_path=path, verbose=False)
    newest, oldest = recorded()
    assert (oldest.id, newest.config["evaluation"]) == (first.id, what)
    assert checkpoints_read(newest) == [(first.id, 3)]
    assert [step for step, _ in points(newest, "val" if what == "validate" else "test")] == [0]


def test_what_is_evaluated_when_nothing_is_left_to_train_goes_into_the_run_of_the_checkpoint(
    store, pl, arm, tmp_path
):
    fitted(pl, tmp_path, arm())
    before = only_run()
    made, net = trainer(pl, arm(), max_epochs=2), model(pl)
    made.fit(net, data(), ckpt_path=tmp_path / "saved" / "epoch=1.ckpt")
    made.test(net, data(), verbose=False)
    made.validate(net, data(), ckpt_path=tmp_path / "saved" / "epoch=0.ckpt", verbose=False)
    run = only_run()
    assert (run.id, run.status, run.attempts) == (before.id, "finished", 1)
    assert [step for step, _ in points(run, "test")] == [6]
    assert [step for step, _ in points(run, "val")] == [3]
    assert points(run, "loss") == points(before, "loss")


def test_a_validation_behind_a_test_of_a_module_goes_into_its_run(store, pl):
    made, net = trainer(pl, [autotrack.AutoTrack()]), model(pl)
    made.test(net, data(), verbose=False)
    made.validate(net, data(), verbose=False)
    run = only_run()
    assert (len(points(run, "test")), len(points(run, "val")), run.status) == (1, 1, "finished")
    made.test(net, data(), verbose=False)
    assert [len(points(each, "test")) for each in autotrack.runs()] == [1, 1]


def test_what_is_predicted_with_is_an_input_of_the_open_run(store, pl, arm, tmp_path):
    fitted(pl, tmp_path, arm())
    first = only_run()
    path, loader = tmp_path / "saved" / "epoch=1.ckpt", data()
    net = model(pl)
    net.predict_step = lambda batch, index=0: net.body(batch[0])
    with autotrack.init(name="open"):
        trainer(pl, arm()).predict(net, loader, ckpt_path=path)
    trainer(pl, arm()).predict(net, loader, ckpt_path=path)
    assert [run.name for run in autotrack.runs()] == ["open", first.name]
    assert checkpoints_read(recorded()[0]) == [(first.id, 6)]
