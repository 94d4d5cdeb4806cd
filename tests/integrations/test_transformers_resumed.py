"""transformers' Trainer, resumed from a checkpoint behind which no step is left, or one that the Trainer takes all the same."""

from pathlib import Path
from typing import Any

import pytest
from tiny_transformers import Rows, bert, trainer

import autotrack
from autotrack.testing import only_run, points

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "transformers"


SETTINGS: dict[str, Any] = {"num_train_epochs": 1, "save_strategy": "epoch"}


def resumed(folder: Path, callbacks: list[Any], **settings: Any) -> Any:
    """A Trainer whose training has found no step left."""
    made = trainer(folder, callbacks, **SETTINGS, **settings)
    made.train(resume_from_checkpoint=True)
    assert made.losses == []
    return made


def test_what_is_evaluated_when_no_step_is_left_goes_into_the_run_of_the_checkpoint(store, arm):
    trainer(store.parent, arm(), logging_steps=1, **SETTINGS).train()
    before = only_run()
    again = resumed(store.parent, arm(), logging_steps=1, eval_on_start=True)
    evaluated, predicted = again.evaluate(), again.predict(Rows())
    again.log({"late": 0.25})
    again.save_model(str(store.parent / "final"))
    run = only_run()
    assert (run.id, run.status, run.attempts) == (before.id, "finished", 1)
    assert points(run, "eval_loss") == [(3, evaluated["eval_loss"])] * 2
    assert points(run, "test_loss") == [(3, predicted.metrics["test_loss"])]
    assert points(run, "late") == [(3, 0.25)]
    for key in ("auto/loss", "loss", "train_loss"):
        assert points(run, key) == points(before, key)
    assert run.config == before.config
    assert run.checkpoints[-1].path == str(store.parent / "final")


def test_it_goes_nowhere_where_a_training_would_be_a_new_run(store):
    unknown = store.parent / "unknown"
    trainer(store.parent, [autotrack.AutoTrack(project="first")], **SETTINGS).train()
    trainer(unknown, [], learning_rate=0.5, **SETTINGS).train()
    resumed(store.parent, [autotrack.AutoTrack(resume="never")]).evaluate()
    resumed(store.parent, [autotrack.AutoTrack(project="other")]).evaluate()
    resumed(unknown, [autotrack.AutoTrack()]).evaluate()
    assert "eval_loss" not in only_run().metrics


def test_it_goes_into_an_open_run_which_notes_the_checkpoint(store, arm):
    trainer(store.parent, arm(), **SETTINGS).train()
    first = only_run()
    with autotrack.init(project="p") as run:
        found = resumed(store.parent, arm()).evaluate()
    record = autotrack.get_run(run.id)
    assert points(record, "eval_loss") == [(3, found["eval_loss"])]
    assert [(one.run, one.step) for one in record.inputs if one.role == "checkpoint"] == [(first.id, 3)]
    assert "eval_loss" not in autotrack.get_run(first.id).metrics


def test_the_step_that_the_trainer_takes_beyond_max_steps_is_recorded(store, arm):
    """Resumed at `max_steps` inside of an epoch, it trains on until the end of a step tells it to stop."""
    settings: dict[str, Any] = {"max_steps": 2, "save_strategy": "steps", "save_steps": 2}
    first = trainer(store.parent, arm(), bert(), **settings)
    first.train()
    again = trainer(store.parent, arm(), bert(), **settings)
    again.train(resume_from_checkpoint=True)
    found = again.evaluate()
    run = only_run()
    assert run.attempts == (2 if again.losses else 1)
    assert points(run, "auto/loss") == list(enumerate(first.losses + again.losses, 1))
    assert points(run, "eval_loss") == [(again.state.global_step, found["eval_loss"])]
