"""A training whose record cannot be begun goes on unrecorded, and so does what is trained inside of it."""

from typing import Any

import lightning.pytorch as pl
import pytest
from sklearn.linear_model import LinearRegression
from tiny_lightning import data, model, trainer

import autotrack
from autotrack import AutotrackWarning, training
from autotrack.guard import STRICT
from autotrack.integrations import _lightning_runs
from autotrack.testing import only_run, points

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run cannot be opened; those after it can."""
    opened, failures = training.open_root, iter([RuntimeError("no room today")])

    def open_root(*given: Any) -> Any:
        for error in failures:
            raise error
        return opened(*given)

    monkeypatch.setitem(STRICT, "on", False)
    monkeypatch.setattr(training, "open_root", open_root)


class Fits(pl.Callback):
    """Fits two more models inside of a fit, and logs by hand."""

    def on_train_batch_end(self, made: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        LinearRegression().fit(batch[0].numpy(), batch[1].numpy())
        if index == 1:
            trainer(pl, [autotrack.AutoTrack()]).fit(model(pl), data())


def test_no_training_inside_of_it_opens_a_run(store, tmp_path, broken):
    autotrack.sklearn.autolog()
    settings = {"enable_checkpointing": True, "default_root_dir": tmp_path}
    net, made = model(pl), trainer(pl, [autotrack.AutoTrack(), Fits()], **settings)
    with pytest.warns(AutotrackWarning, match="no room today"):
        made.fit(net, data())
    made.save_checkpoint(tmp_path / "mine.ckpt")
    made.test(net, data(), verbose=False)
    assert not store.exists()
    LinearRegression().fit(*data().dataset.tensors)
    autotrack.autolog(disable=True)
    assert only_run().framework == "sklearn"


def test_a_config_that_cannot_be_described_costs_no_more_than_the_config(store, monkeypatch):
    monkeypatch.setitem(STRICT, "on", False)
    monkeypatch.setattr(_lightning_runs, "config_of", lambda *given, **more: 1 // 0)
    with pytest.warns(AutotrackWarning, match="describing a trainer failed"):
        trainer(pl, [autotrack.AutoTrack()]).fit(model(pl), data())
    assert [step for step, _ in points(only_run(), "loss")] == [0, 1, 2]
