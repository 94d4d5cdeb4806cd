"""Lightning: what ended a fit, in the words that every integration uses."""

import os
import signal
from typing import Any, get_args

import pytest
import torch
from tiny_lightning import data, model, trainer

import autotrack
from autotrack.integrations._stopped import Reason
from autotrack.testing import only_run, points

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "lightning"


def at_batch(pl: Any, number: int, act: Any) -> Any:
    """A callback that acts at the end of a batch, counted over the whole fit."""

    class Act(pl.Callback):
        def on_train_batch_end(self, made: Any, *rest: Any) -> None:
            if made.global_step == number + 1:
                act(made)

    return Act()


def raising(error: BaseException) -> Any:
    def act(made: Any) -> None:
        raise error

    return act


def stopped() -> dict[str, Any]:
    found: dict[str, Any] = only_run().config["stopped"]
    assert found["by"] in get_args(Reason)
    return found


def test_max_epochs(store, pl, arm):
    trainer(pl, arm()).fit(model(pl), data())
    assert stopped() == {"by": "max_epochs", "reason": "max_epochs=1 done", "epoch": 1, "step": 3}


def test_max_steps(store, pl, arm):
    trainer(pl, arm(), max_steps=2, max_epochs=-1).fit(model(pl), data())
    assert stopped() == {"by": "max_steps", "reason": "max_steps=2 reached", "epoch": 1, "step": 2}


def test_max_time(store, pl, arm):
    trainer(pl, arm(), max_epochs=-1, max_time={"seconds": 0.2}).fit(model(pl), data())
    assert stopped()["by"] == "max_time"


def test_should_stop_with_who_may_have_set_it(store, pl, arm):
    def stop(made: Any) -> None:
        made.should_stop = True

    trainer(pl, [*arm(), at_batch(pl, 0, stop)], max_epochs=9).fit(model(pl), data())
    why = "trainer.should_stop was set, by the module or by Act"
    assert stopped() == {"by": "callback", "reason": why, "epoch": 1, "step": 1}
    assert only_run().status == "finished"


def test_early_stopping_with_its_best_its_wait_and_its_reason(store, pl, arm):
    stop = pl.callbacks.EarlyStopping("flat", patience=2)
    net = model(pl)
    net.on_train_epoch_end = lambda: net.log("flat", 1.0)
    trainer(pl, [*arm(), stop], max_epochs=9).fit(net, data())
    found = stopped()
    assert (found["by"], found["epoch"]) == ("early_stopping", 3)
    assert "flat" in found["reason"]
    told = found["early_stopping"]
    assert (told["monitor"], told["best_score"], told["wait_count"]) == ("flat", 1.0, 2)
    assert (told["patience"], told["stopped_epoch"]) == (2, 2)
    assert only_run().status == "finished"


def test_how_early_stopping_stood_where_it_did_not_stop(store, pl, arm):
    stop = pl.callbacks.EarlyStopping("flat", patience=5)
    net = model(pl)
    net.on_train_epoch_end = lambda: net.log("flat", 1.0)
    trainer(pl, [*arm(), stop], max_epochs=2).fit(net, data())
    assert stopped()["by"] == "max_epochs"
    assert stopped()["early_stopping"]["wait_count"] == 1
    assert "stopped_epoch" not in stopped()["early_stopping"]


def test_an_error(store, pl, arm):
    callbacks = [*arm(), at_batch(pl, 1, raising(ValueError("no more")))]
    with pytest.raises(ValueError, match="no more"):
        trainer(pl, callbacks).fit(model(pl), data())
    assert stopped() == {"by": "error", "reason": "ValueError: no more", "epoch": 0, "step": 2}
    assert only_run().status == "failed"


def test_a_step_that_fails_is_not_timed_and_the_ones_before_are_recorded(store, pl, arm):
    net = model(pl)
    before = net.training_step

    def training_step(batch: Any, batch_idx: int) -> Any:
        if batch_idx == 2:
            raise ValueError("bad batch")
        return before(batch, batch_idx)

    net.training_step = training_step
    with pytest.raises(ValueError, match="bad batch"):
        trainer(pl, arm()).fit(net, data())
    for key in ("loss", "auto/loss", "auto/step_time", "auto/data_time"):
        assert [step for step, _ in points(only_run(), key)] == [0, 1], key


def test_an_interrupt(store, pl, arm):
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        trainer(pl, [*arm(), at_batch(pl, 1, raising(KeyboardInterrupt()))]).fit(model(pl), data())
    assert (stopped()["by"], only_run().status) == ("interrupted", "interrupted")


def test_sigterm(store, pl, arm):
    before = signal.getsignal(signal.SIGTERM)
    kill = at_batch(pl, 0, lambda made: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(BaseException, match=r".*") as caught:
        trainer(pl, [*arm(), kill], max_epochs=9).fit(model(pl), data())
    assert type(caught.value).__name__ in ("SIGTERMException", "SystemExit")
    assert (stopped()["by"], only_run().status) == ("interrupted", "interrupted")
    signal.signal(signal.SIGTERM, before)


def test_a_trial_that_a_search_gave_up_has_not_failed(store, pl, arm):
    class TrialPruned(Exception):
        """As optuna's: an integration for Lightning raises it from a callback."""

    with pytest.raises(TrialPruned):
        trainer(pl, [*arm(), at_batch(pl, 1, raising(TrialPruned("hopeless")))]).fit(model(pl), data())
    assert (stopped()["by"], only_run().status) == ("pruned", "finished")
    assert only_run().error is None


def test_an_interrupt_of_a_sanity_check_opens_no_run(store, pl, arm):
    net = model(pl)

    def validation_step(batch: Any, batch_idx: int) -> None:
        raise KeyboardInterrupt

    net.validation_step = validation_step
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        trainer(pl, arm()).fit(net, data(), data())
    assert not store.exists()


def test_one_step_of_nan_is_recorded_as_it_is(store, pl, arm):
    net = model(pl)
    before = net.training_step
    net.training_step = lambda batch, batch_idx: (
        before(batch, batch_idx) * (torch.nan if batch_idx == 1 else 1.0)
    )
    trainer(pl, arm()).fit(net, data())
    values = [value for _, value in points(only_run(), "auto/loss")]
    assert [value == value for value in values] == [True, False, False]
    assert only_run().metrics["auto/loss"].nonfinite == 2
    assert autotrack.active_run() is None
