"""Lightning under `autolog()`: which trainers it serves, and that it goes without a trace."""

import importlib

import pytest
from tiny_lightning import QUIET, data, model, trainer

import autotrack
from autotrack.testing import only_run

pytestmark = pytest.mark.filterwarnings("default")
both_names = pytest.mark.parametrize("pl", ["lightning.pytorch", "pytorch_lightning"], indirect=True)


def test_autolog_leaves_a_trainer_with_an_autotrack_alone(store, pl):
    autotrack.autolog(project="autolog")
    made = trainer(pl, [autotrack.AutoTrack(project="mine")])
    before = list(made.callbacks)
    made.fit(model(pl), data())
    autotrack.autolog(disable=True)
    assert only_run().project == "mine"
    assert made.callbacks == before


@both_names
def test_autolog_serves_trainers_made_before_it_and_leaves_their_callbacks(store, pl):
    mine = [pl.callbacks.LambdaCallback()]
    made = trainer(pl, mine)
    before = list(made.callbacks)
    autotrack.autolog(project="p", tags=["t"], group="g")
    made.fit(model(pl), data())
    autotrack.autolog(disable=True)
    assert made.callbacks == before
    run = only_run()
    assert (run.project, tuple(run.tags), run.group) == ("p", ("t",), "g")


@pytest.mark.parametrize("given", [None, "one", "list"])
def test_callbacks_in_every_form_are_taken_and_a_list_that_is_used_twice_is_left_alone(store, pl, given):
    mine = pl.callbacks.LambdaCallback()
    callbacks = {None: None, "one": mine, "list": [mine]}[given]
    settings = {"max_epochs": 1, **QUIET}
    autotrack.autolog()
    for _ in range(2):
        pl.Trainer(callbacks=callbacks, **settings).fit(model(pl), data())
    autotrack.autolog(disable=True)
    pl.Trainer(callbacks=callbacks, **settings).fit(model(pl), data())
    assert callbacks in (None, mine, [mine])
    pl.Trainer(callbacks=autotrack.AutoTrack(), **settings).fit(model(pl), data())
    listed = [autotrack.AutoTrack(), mine]
    for _ in range(2):
        pl.Trainer(callbacks=listed, **settings).fit(model(pl), data())
    assert [type(one).__name__ for one in listed] == ["AutoTrack", "LambdaCallback"]
    assert [run.status for run in autotrack.runs()] == ["finished"] * 5
    assert not any(run.parent for run in autotrack.runs())


@both_names
def test_autolog_switched_off_restores_the_originals(store, alone, pl):
    connector = importlib.import_module(f"{pl.__name__}.trainer.connectors.logger_connector.logger_connector")
    autotrack.autolog()
    autotrack.autolog(disable=True)
    owners = {
        pl.Trainer: ("fit", "validate", "test"),
        connector._LoggerConnector: ("update_train_step_metrics", "on_epoch_end"),
    }
    before = {name: vars(owner)[name] for owner, names in owners.items() for name in names}
    assert all(function.__module__.startswith(pl.__name__) for function in before.values())
    assert not any(hasattr(function, "__autotrack_patch__") for function in before.values())
    autotrack.autolog()
    assert vars(pl.Trainer)["fit"] is not before["fit"]
    made = trainer(pl)
    made.fit(model(pl), data())
    autotrack.autolog(disable=True)
    made.fit_loop.max_epochs = 4
    made.fit(model(pl), data())
    assert {name: vars(owner)[name] for owner, names in owners.items() for name in names} == before
    assert len(autotrack.runs()) == 1


def test_a_lone_test_under_autolog_has_none(store, pl):
    autotrack.lightning.autolog()
    trainer(pl).test(model(pl), data(), verbose=False)
    autotrack.autolog(disable=True)
    assert not store.exists()
