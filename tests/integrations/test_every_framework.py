"""What holds for each of the frameworks with callbacks alike."""

import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autotrack
from autotrack.run import Run
from autotrack.testing import only_run, points

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import lightning.pytorch as pl
import looks
import tiny_lightning
import tiny_transformers
import torch
import transformers
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from warm_process import told

pytestmark = pytest.mark.filterwarnings("default")

FRAMEWORKS = ("lightning", "transformers", "keras")
WITH_SKLEARN = (*FRAMEWORKS, "sklearn") if find_spec("sklearn.callback") else FRAMEWORKS
X, Y = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")
three = pytest.mark.parametrize("framework", FRAMEWORKS)
four = pytest.mark.parametrize("framework", WITH_SKLEARN)
"""scikit-learn has callbacks from 1.9 on."""


class Stop(Exception):
    """Raised by a callback of the user's."""


def raises(framework: str) -> Any:
    """A callback of the user's that fails when the first batch is done."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise Stop

    if framework == "sklearn":
        hooks = dict.fromkeys(("setup", "teardown", "on_fit_task_begin"), lambda *args, **kwargs: None)
        return type("Fails", (), {**hooks, "on_fit_task_end": fail})()
    base = {
        "lightning": pl.Callback,
        "transformers": transformers.TrainerCallback,
        "keras": keras.callbacks.Callback,
    }
    hook = {"transformers": "on_step_end"}.get(framework, "on_train_batch_end")
    return type("Fails", (base[framework],), {hook: fail})()


def train(framework: str, folder: Path, callbacks: list[Any]) -> tuple[Any, list[Any]]:
    """Train a new model, always from the same weights; what the call returned, and the weights behind it."""
    if framework == "lightning":
        net = tiny_lightning.model(pl)
        returned = tiny_lightning.trainer(pl, callbacks).fit(net, tiny_lightning.data())
        return returned, [weight.tolist() for weight in net.parameters()]
    if framework == "transformers":
        made = tiny_transformers.trainer(folder, callbacks, max_steps=2)
        returned = made.train()
        return returned[:2], [weight.tolist() for weight in made.model.parameters()]
    if framework == "sklearn":
        fitted = LogisticRegression(max_iter=200).set_callbacks(*callbacks).fit(*load_iris(return_X_y=True))
        return fitted.n_iter_.tolist(), fitted.coef_.tolist()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit(X, Y, batch_size=4, verbose=0, callbacks=callbacks)
    return history.history, [weight.tolist() for weight in model.get_weights()]


@pytest.fixture(params=["by hand", "autolog"])
def callbacks(request: pytest.FixtureRequest, framework: str) -> Iterator[list[Any]]:
    """The callbacks of a tracked training."""
    if request.param == "by hand":
        yield [autotrack.AutoTrack()]
        return
    getattr(autotrack, framework).autolog()
    yield []
    autotrack.autolog(disable=True)


@three
def test_what_is_replaced_keeps_its_name_signature_and_documentation(framework: str) -> None:
    support = str(Path(looks.__file__).parent)
    found = json.loads(told(f"import looks; looks.tell({framework!r})", path=support))
    assert found["replaced"] > 0
    assert (found["other"], found["left"]) == ([], [])


@four
def test_a_run_of_the_users_stays_open_through_trainings_that_end_well_and_badly(
    store, tmp_path, framework, callbacks
):
    with autotrack.init(project="p") as run:
        train(framework, tmp_path, callbacks)
        assert run.status == "running"
        with pytest.raises(Stop):
            train(framework, tmp_path, [*callbacks, raises(framework)])
        assert run.status == "running"
        run.log({"mine": 1.0})
    done = autotrack.get_run(run.id)
    assert done.status == "finished"
    assert "mine" in done.metrics
    assert [child.status for child in done.children] == ["failed"]


@four
def test_what_the_users_config_says_stands_beside_what_the_framework_tells(
    store, tmp_path, framework, callbacks
):
    train(framework, tmp_path / "first", callbacks)
    told = only_run().config
    mine = dict.fromkeys(("model", "optimizer", "data", "estimator", "stopped", "best"), "my own")
    with autotrack.init(project="p", config=mine) as run:
        train(framework, tmp_path / "second", callbacks)
    found = autotrack.get_run(run.id).config
    assert found == run.config
    assert {key: found[key] for key in mine} == mine
    assert found[framework].keys() == told.keys() & mine
    assert found.keys() == told.keys() | mine | {framework}
    assert found[framework]["data"] == told["data"]


@four
def test_what_an_autotrack_is_not_given_it_has_from_the_autolog_that_is_on(store, tmp_path, framework):
    autotrack.autolog(project="vision", group="g", tags=["nightly"], log_every=2)
    tracker = autotrack.AutoTrack(name="baseline", group="own", tags=["mine"])
    train(framework, tmp_path / "first", [tracker])
    run = only_run()
    assert (run.project, run.name, run.group) == ("vision", "baseline", "own")
    assert run.tags == ["nightly", "mine"]
    if framework != "sklearn":
        assert [step for step, _ in points(run, "auto/loss")] == [1 if framework == "lightning" else 2]
    autotrack.autolog(disable=True)
    train(framework, tmp_path / "second", [tracker])
    assert (autotrack.runs()[0].tags, autotrack.runs()[0].group) == (["mine"], "own")
    assert autotrack.runs()[0].project != "vision"


def kept_in(run: Any) -> tuple[Any, ...]:
    """What a run holds beside what surrounds it."""
    metrics = [name for name in run.metrics if not name.startswith("system/")]
    return (
        run.config,
        sorted(metrics),
        [child.id for child in run.children],
        [*run.inputs],
        [*run.checkpoints],
        [*run.artifacts],
    )


@four
def test_exclusive_leaves_a_run_of_the_users_untouched(store, tmp_path, framework):
    weights = tmp_path / "weights.pt"
    autotrack.autolog(exclusive=True)
    with autotrack.init(project="p", config={"mine": 1}) as users:
        users.log({"mine": 1.0})
        for _ in range(2):  # the second would be a child
            train(framework, tmp_path, [])
        torch.save({"a": torch.ones(2)}, weights)
        torch.load(weights)
        with users.child("fold") as fold:
            train(framework, tmp_path, [])
    train(framework, tmp_path, [])
    autotrack.autolog(disable=True)
    (own,) = (run for run in autotrack.runs() if run.id not in (users.id, fold.id))
    mine = autotrack.get_run(users.id)
    assert kept_in(mine) == ({"mine": 1}, ["mine"], [fold.id], [], [], [])
    assert kept_in(autotrack.get_run(fold.id)) == ({}, [], [], [], [], [])
    assert own.framework == framework
    assert own.config


@three
def test_exclusive_leaves_a_lone_evaluation_out_of_a_run_of_the_users(store, tmp_path, framework):
    def evaluate() -> None:
        if framework == "lightning":
            net = tiny_lightning.model(pl)
            tiny_lightning.trainer(pl).validate(net, tiny_lightning.data(), verbose=False)
        elif framework == "transformers":
            tiny_transformers.trainer(tmp_path, []).evaluate()
        else:
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
            model.compile("sgd", "mse")
            model.evaluate(X, Y, verbose=0)

    kept = {}
    for exclusive in (False, True):
        autotrack.autolog(exclusive=exclusive)
        with autotrack.init(project="p") as users:
            evaluate()
        kept[exclusive] = kept_in(autotrack.get_run(users.id))
    autotrack.autolog(disable=True)
    assert kept[False][1]
    assert kept[True] == ({}, [], [], [], [], [])


@four
def test_what_was_given_an_autotrack_is_recorded_in_spite_of_exclusive(store, tmp_path, framework):
    autotrack.autolog(exclusive=True)
    with autotrack.init(project="p") as users:
        train(framework, tmp_path, [autotrack.AutoTrack()])
        train(framework, tmp_path, [])
    autotrack.autolog(disable=True)
    run = autotrack.get_run(users.id)
    assert run.framework == framework
    assert run.config
    assert list(run.children) == []


@four
@pytest.mark.parametrize("broken", ["__init__", "log", "update_config", "event", "finish", "_finish"])
def test_no_error_of_ours_reaches_a_training(store, tmp_path, monkeypatch, framework, callbacks, broken):
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a bug of ours")

    with autotrack.disabled():
        expected = train(framework, tmp_path, [])
    monkeypatch.setitem(autotrack.guard.STRICT, "on", False)
    with monkeypatch.context() as patch:
        patch.setattr(Run, broken, fail)
        with pytest.warns(autotrack.AutotrackWarning, match="a bug of ours"):
            assert train(framework, tmp_path, callbacks) == expected
        with pytest.raises(Stop):
            train(framework, tmp_path, [*callbacks, raises(framework)])


@four
def test_a_store_that_cannot_be_written_stops_no_training(store, tmp_path, monkeypatch, framework, callbacks):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUTOTRACK_DIR", str(tmp_path / "file" / ".autotrack"))
    monkeypatch.setenv("AUTOTRACK_FALLBACK", str(tmp_path / "file" / "fallback"))
    monkeypatch.setitem(autotrack.guard.STRICT, "on", False)
    with autotrack.disabled():
        expected = train(framework, tmp_path, [])
    with pytest.warns(autotrack.AutotrackWarning):
        assert train(framework, tmp_path, callbacks) == expected


SCORES = (0.5, 0.9, 0.3)


def scored(framework: str, folder: Path, callbacks: list[Any], mode: str) -> None:
    """Three epochs with these scores; the best one so far is kept."""
    if framework == "lightning":
        net = tiny_lightning.model(pl)
        net.on_validation_epoch_end = lambda: net.log("score", SCORES[net.current_epoch])
        saver = pl.callbacks.ModelCheckpoint(folder, "{epoch}", monitor="score", mode=mode)
        settings = {"max_epochs": 3, "enable_checkpointing": True, "num_sanity_val_steps": 0}
        rows = tiny_lightning.data()
        tiny_lightning.trainer(pl, [saver, *callbacks], **settings).fit(net, rows, rows)
    elif framework == "transformers":
        told = iter(SCORES)
        made = tiny_transformers.trainer(
            folder, callbacks, num_train_epochs=3, eval_strategy="epoch", save_strategy="epoch", save_total_limit=1,
            metric_for_best_model="score", greater_is_better=mode == "max", load_best_model_at_end=True,
        )  # fmt: skip
        made.compute_metrics = lambda _: {"score": next(told)}
        made.train()
    else:
        tell = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: logs.update(score=SCORES[epoch])
        )
        path = folder / "best.keras"
        saver = keras.callbacks.ModelCheckpoint(path, monitor="score", mode=mode, save_best_only=True)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(X, Y, epochs=3, verbose=0, callbacks=[tell, saver, *callbacks])


@three
@pytest.mark.parametrize(("mode", "best"), [("max", 0.9), ("min", 0.3)])
def test_the_best_checkpoint_is_the_one_with_the_highest_or_the_lowest_score(
    store, tmp_path, framework, callbacks, mode, best
):
    scored(framework, tmp_path, callbacks, mode)
    assert [one.score for one in only_run().checkpoints if one.best] == [pytest.approx(best)]


class Batches(keras.utils.PyDataset):
    """Four rows at a time, by worker processes."""

    def __init__(self) -> None:
        super().__init__(workers=2, use_multiprocessing=True)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return X[4 * index :][:4], Y[4 * index :][:4]


@three
def test_workers_that_load_data_make_no_runs_and_lose_nothing(store, tmp_path, framework, callbacks):
    if framework == "lightning":
        rows = tiny_lightning.data().dataset
        loader = torch.utils.data.DataLoader(rows, batch_size=4, num_workers=2, persistent_workers=True)
        tiny_lightning.trainer(pl, callbacks, max_epochs=2).fit(tiny_lightning.model(pl), loader)
        steps = range(6)
    elif framework == "transformers":
        tiny_transformers.trainer(tmp_path, callbacks, dataloader_num_workers=2).train()
        steps = range(1, 7)
    else:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(Batches(), epochs=3, verbose=0, callbacks=callbacks)
        steps = range(1, 7)
    assert [step for step, _ in points(only_run(), "auto/loss")] == list(steps)
    assert only_run().status == "finished"


@three
def test_what_is_evaluated_between_trainings_goes_into_the_run_of_its_own_training(
    store, tmp_path, framework, callbacks
):
    evaluations = []
    for number in range(2):
        folder = tmp_path / str(number)
        if framework == "lightning":
            net, made = tiny_lightning.model(pl), tiny_lightning.trainer(pl, callbacks)
            made.fit(net, tiny_lightning.data())
            evaluations.append(lambda made=made, net=net: made.test(net, tiny_lightning.data()))
        elif framework == "transformers":
            made = tiny_transformers.trainer(folder, callbacks, max_steps=2)
            made.train()
            evaluations.append(made.evaluate)
        else:
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
            model.compile("sgd", "mse")
            model.fit(X, Y, verbose=0, callbacks=callbacks)
            evaluations.append(lambda model=model: model.evaluate(X, Y, verbose=0, callbacks=callbacks))
    key = {"lightning": "test", "transformers": "eval_loss", "keras": "test_loss"}[framework]
    first, second = sorted(autotrack.runs(), key=lambda run: run.created)
    evaluations[0]()
    assert key in autotrack.get_run(first.id).metrics
    assert key not in autotrack.get_run(second.id).metrics
    evaluations[1]()
    assert autotrack.get_run(second.id).metrics[key].count == 1
    assert autotrack.get_run(first.id).metrics[key].count == 1
    assert len(autotrack.runs()) == 2
