"""Keras on torch (and once on JAX): what is recorded equals what Keras computes, and the training is the untracked one."""

import os
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_keras
from packaging.version import Version
from python_process import python
from tiny_keras import BATCH, PLAIN, ROWS, X, Y, values
from warm_process import warm

import autotrack
from autotrack.testing import only_run, points

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import torch

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "keras"


def net(rate: float = 0.1, **settings: Any) -> Any:
    return tiny_keras.net(rate, **settings)


def batch_losses(made: Any, rows: int = ROWS) -> list[float]:
    """The loss of each batch with the weights that the model has."""
    return [
        float(made.evaluate(X[i : min(i + BATCH, rows)], Y[i : min(i + BATCH, rows)], verbose=0)[0])
        for i in range(0, rows, BATCH)
    ]


def test_records_what_keras_puts_into_its_history(store, arm):
    history = net().fit(X, Y, validation_data=(X[:9], Y[:9]), callbacks=arm(), **PLAIN).history
    run = only_run()
    assert set(history) == {"loss", "mae", "val_loss", "val_mae"}
    for key, found in history.items():
        assert points(run, key) == [(4, found[0]), (8, found[1])]
    assert points(run, "epoch") == [(4, 0), (8, 1)]
    assert run.status == "finished"
    assert run.framework == "keras"


def test_records_the_loss_of_each_batch_alone(store, arm):
    made = net(rate=0.0)
    expected = batch_losses(made)
    made = net(rate=0.0)
    made.fit(X, Y, callbacks=arm(), **PLAIN)
    run = only_run()
    assert [step for step, _ in points(run, "auto/loss")] == list(range(1, 9))
    assert values(run, "auto/loss") == pytest.approx(expected * 2, rel=1e-5)  # 28 rows: the last batch has 4
    assert values(run, "auto/loss")[0] == pytest.approx(expected[0], rel=1e-7)


def test_counts_the_rows_that_a_validation_split_leaves(store, arm):
    made = net(rate=0.0)
    expected = batch_losses(made, rows=21)  # 8, 8 and 5
    net(rate=0.0).fit(X, Y, callbacks=arm(), validation_split=0.25, **PLAIN)
    assert values(only_run(), "auto/loss") == pytest.approx(expected * 2, rel=1e-5)


def test_leaves_weights_random_state_and_history_as_they_are_untracked(store):
    def train(callbacks: Any) -> list[Any]:
        made = net()
        history = made.fit(
            X, Y, epochs=3, batch_size=BATCH, verbose=0, validation_split=0.2, callbacks=callbacks
        )
        state = [random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()]
        weights = [weight.tolist() for weight in made.get_weights()]
        iterations = int(made.optimizer.iterations)
        return [history.history, history.epoch, state, weights, iterations, sorted(vars(made))]

    reference = train(None)
    assert train([autotrack.AutoTrack()]) == reference
    autotrack.autolog()
    assert train(None) == reference
    autotrack.autolog(disable=True)
    assert len(autotrack.runs()) == 2


class Boom(keras.callbacks.Callback):
    """Raises behind the third batch."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 2:
            raise self.error


@pytest.mark.parametrize(("kind", "status"), [(ValueError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_records_how_a_fit_fails_and_hands_the_error_on(store, arm, kind, status):
    error = kind("out of luck")
    with pytest.raises(kind) as caught:
        net().fit(X, Y, callbacks=[*arm(), Boom(error)], **PLAIN)
    assert caught.value is error
    run = only_run()
    assert run.status == status
    assert kind.__name__ in str(run.error)
    assert [step for step, _ in points(run, "auto/loss")][:2] == [1, 2]
    assert autotrack.active_run() is None


def test_takes_the_settings_of_optimizer_compile_and_fit_as_config(store, arm):
    made = net(rate=0.25, loss_weights=[2.0])
    made.fit(X, Y, callbacks=arm(), **PLAIN)
    config = only_run().config
    assert config["optimizer"]["class"] == "SGD"
    assert config["optimizer"]["learning_rate"] == 0.25
    assert config["fit"]["epochs"] == 2
    assert config["fit"]["steps"] == 4
    assert config["fit"]["batch_size"] == BATCH
    assert config["compile"]["loss"] == "mse"
    assert config["compile"]["metrics"] == ["mae"]
    assert config["compile"]["loss_weights"] == [2.0]
    assert config["model"] == {
        "class": "Sequential",
        "name": made.name,
        "parameters": 5,
        "trainable_parameters": 5,
        "parameter_bytes": 20,
        "dtype_policy": "float32",
        "layers": 1,
    }
    assert config["backend"] == "torch"


def test_logs_evaluate_after_the_fit_into_its_run_and_nothing_for_predict(store, arm):
    made = net()
    made.fit(X, Y, callbacks=arm(), **PLAIN)
    loss, mae = made.evaluate(X, Y, verbose=0)
    made.predict(X, verbose=0)
    run = only_run()
    assert points(run, "test_loss") == [(8, loss)]
    assert points(run, "test_mae") == [(8, mae)]
    assert len(points(run, "loss")) == 2
    assert run.status == "finished"


def test_opens_no_run_where_nothing_is_trained(store, arm):
    made, callbacks = net(), arm()
    made.fit(X, Y, epochs=0, verbose=0, callbacks=callbacks)
    made.evaluate(X, Y, verbose=0)
    made.predict(X, verbose=0)
    with pytest.raises(ValueError, match="compile"):
        keras.Sequential([keras.layers.Dense(1)]).fit(X, Y, callbacks=callbacks)
    assert not store.exists()
    with autotrack.init(project="p"):
        loss, _ = made.evaluate(X, Y, verbose=0, callbacks=callbacks)
    assert values(only_run(), "test_loss") == [loss]


def test_an_evaluation_without_a_fit_has_a_run_where_it_was_given_an_autotrack(store):
    made, tracker = net(), autotrack.AutoTrack(name="mine")
    loss, mae = made.evaluate(X, Y, verbose=0, callbacks=[tracker])
    run = only_run()
    assert (run.name, run.status, run.config["evaluation"]) == ("mine", "finished", "evaluate")
    assert (values(run, "test_loss"), values(run, "test_mae")) == ([loss], [mae])
    made.predict(X, verbose=0, callbacks=(tracker,))
    run = max(autotrack.runs(), key=lambda run: run.created)
    assert (run.config["evaluation"], run.status) == ("predict", "finished")
    assert values(run, "auto/predict_time")[0] > 0


def test_an_evaluation_by_a_callback_is_recorded_at_the_step_of_the_fit(store, arm):
    found = []

    class Tests(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            found.append(self.model.evaluate(X[:9], Y[:9], verbose=0)[0])

    net().fit(X, Y, callbacks=[*arm(), Tests()], validation_data=(X, Y), **PLAIN)
    assert points(only_run(), "test_loss") == list(zip([4, 8], found, strict=True))


def test_a_second_fit_has_a_run_of_its_own(store, arm):
    made, callbacks = net(), arm()
    first = made.fit(X, Y, callbacks=callbacks, **PLAIN).history
    second = made.fit(X, Y, callbacks=callbacks, **{**PLAIN, "initial_epoch": 2, "epochs": 3}).history
    runs = sorted(autotrack.runs(), key=lambda run: run.created)
    assert points(runs[0], "loss") == list(zip([4, 8], first["loss"], strict=True))
    assert points(runs[1], "loss") == [(12, second["loss"][0])]  # behind the eight steps of two epochs
    assert [step for step, _ in points(runs[1], "auto/loss")] == [9, 10, 11, 12]
    assert values(runs[1], "epoch") == [2]


def test_records_the_first_fit_in_the_open_run_and_others_in_children(store, arm):
    with autotrack.init(project="p") as run:
        net(rate=0.1).fit(X, Y, callbacks=arm(), **PLAIN)
        net(rate=0.5).fit(X, Y, callbacks=arm(), **PLAIN)
        assert run.status == "running"
    record = autotrack.get_run(run.id)
    (child,) = record.children
    assert record.config["optimizer"]["learning_rate"] == 0.1  # Keras has it in single precision
    assert child.config["optimizer"]["learning_rate"] == 0.5


@pytest.mark.parametrize("given", ["list", "tuple", "single", "positional", "list object"])
def test_takes_callbacks_in_every_form_and_changes_none(store, arm, given):
    class Marks(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.epochs: list[int] = []

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.epochs.append(epoch)
            logs["added"] = 3.5

    mine = Marks()
    made, tracked = net(), arm()
    if given == "list object":
        callbacks = keras.callbacks.CallbackList([*tracked, mine], add_history=True, model=made)
        before = list(callbacks.callbacks)
    else:
        callbacks = [*tracked, mine] if given != "single" or tracked else mine
        callbacks = tuple(callbacks) if given == "tuple" else callbacks
        before = list(callbacks) if isinstance(callbacks, list | tuple) else []
    history = (
        made.fit(X, Y, BATCH, 2, 0, callbacks)
        if given == "positional"
        else made.fit(X, Y, callbacks=callbacks, **PLAIN)
    )
    assert mine.epochs == [0, 1]
    if before:
        assert list(getattr(callbacks, "callbacks", callbacks)) == before
    assert values(only_run(), "loss") == history.history["loss"]
    assert values(only_run(), "added") == [3.5, 3.5]


def test_one_autotrack_serves_fits_in_several_threads(store):
    tracker = autotrack.AutoTrack()
    rates = [0.01, 0.02, 0.03]
    made = {rate: net(rate) for rate in rates}
    histories = {}

    def work(rate: float) -> None:
        histories[rate] = made[rate].fit(X, Y, callbacks=[tracker], **PLAIN).history

    threads = [threading.Thread(target=work, args=(rate,)) for rate in rates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in autotrack.runs():
        rate = next(one for one in rates if run.config["optimizer"]["learning_rate"] == pytest.approx(one))
        assert values(run, "loss") == histories.pop(rate)["loss"]
        assert len(values(run, "auto/loss")) == 8
    assert not histories


def test_only_the_first_of_several_autotracks_acts(store):
    autotrack.autolog(project="autolog")
    net().fit(X, Y, callbacks=[autotrack.AutoTrack("mine"), autotrack.AutoTrack("other")], **PLAIN)
    autotrack.autolog(disable=True)
    assert only_run().project == "mine"
    assert len(values(only_run(), "auto/loss")) == 8


def test_records_a_loop_of_the_users_own_around_a_callback_list(store):
    made = net()
    callbacks = keras.callbacks.CallbackList([autotrack.AutoTrack()], model=made, epochs=1)
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(0)
    means = []
    made.reset_metrics()
    for batch in range(3):
        callbacks.on_train_batch_begin(batch)
        logs = made.train_on_batch(X, Y, return_dict=True)
        means.append(float(logs["loss"]))
        callbacks.on_train_batch_end(batch, logs)
    callbacks.on_epoch_end(0, {"loss": means[-1]})
    callbacks.on_train_end()
    run = only_run()
    assert points(run, "loss") == [(3, means[-1])]
    anew = Version(keras.__version__) >= Version("3.15")  # there `train_on_batch` begins its means anew
    assert values(run, "auto/loss" if anew else "auto/reported/loss") == means
    assert run.status == "finished"


def test_records_the_reported_loss_of_a_train_step_of_the_users_own(store, arm):
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.layer = keras.layers.Dense(1)

        def call(self, x: Any) -> Any:
            return self.layer(x)

        def train_step(self, data: Any) -> dict[str, Any]:
            super().train_step(data)
            return {"loss": 2.5, "extra": 1.5}

    made = Own()
    made.compile(optimizer="sgd", loss="mse")
    history = made.fit(X, Y, callbacks=arm(), **PLAIN).history
    run = only_run()
    assert points(run, "auto/reported/loss") == [(step, 2.5) for step in range(1, 9)]
    assert points(run, "auto/reported/extra") == [(step, 1.5) for step in range(1, 9)]
    assert "auto/loss" not in run.summary
    assert values(run, "extra") == history["extra"]


def test_warns_of_nothing_that_keras_does_not_warn_of(store, arm, recwarn):
    made = net()
    made.compile(optimizer="sgd", loss=lambda truth, guess: keras.ops.mean((truth - guess) ** 2))
    made.fit(X, Y, callbacks=arm(), **PLAIN)
    assert not [str(warning.message) for warning in recwarn if "lambda" in str(warning.message)]
    assert only_run().config["compile"]["loss"] == "<lambda>"


def test_autolog_switched_off_restores_the_originals(store, alone):
    autotrack.autolog()
    autotrack.autolog(disable=True)
    assert "fit" not in vars(keras.Model)
    assert "evaluate" not in vars(keras.Model)
    before = (keras.Model.fit, keras.Model.evaluate)
    autotrack.autolog()
    assert keras.Model.fit is not before[0]
    autotrack.autolog(disable=True)
    assert (keras.Model.fit, keras.Model.evaluate) == before
    net().fit(X, Y, **PLAIN)
    assert not store.exists()


INLINE = """
import numpy as np
import autotrack, keras
x, y = np.random.randn(28, 4).astype("float32"), np.random.randn(28, 1).astype("float32")
class Boom(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise ValueError("out of luck")
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
alone = [model.evaluate(x[i:i + 8], y[i:i + 8], verbose=0) for i in range(0, 28, 8)]
try:
    model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[autotrack.AutoTrack(), Boom()])
except ValueError:
    pass
run, = autotrack.runs()
losses = run.history(keys=["auto/loss"])["auto/loss"].values
assert np.allclose(losses, alone * 2, rtol=1e-5), (losses, alone)
assert run.config["fit"]["batch_size"] == 8
assert run.status == "failed", run.status
model.fit(x, y, batch_size=8, verbose=0, callbacks=[autotrack.AutoTrack()])
model.fit(x, y, batch_size=8, verbose=0, callbacks=[autotrack.AutoTrack()])
print([run.status for run in sorted(autotrack.runs(), key=lambda run: run.created)])
model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[Boom(), autotrack.AutoTrack()])
"""


def test_records_the_very_first_fit_of_a_process_though_it_was_looked_up_before_the_autotrack_was_made(store):
    done = warm(INLINE)
    assert done.stdout.strip() == "['failed', 'finished', 'finished']", done.stderr[-3000:]
    assert "ValueError: out of luck" in done.stderr
    last = max(autotrack.runs(), key=lambda run: run.created)
    assert last.status == "failed"
    assert "out of luck" in str(last.error)


ON_JAX = """
import sys
import numpy as np
import autotrack
tracker = autotrack.AutoTrack()
import keras
assert keras.backend.backend() == "jax"
x = np.random.RandomState(0).randn(28, 4).astype("float32")
y = np.random.RandomState(1).randn(28, 1).astype("float32")

def train(callbacks, rate=0.1, **settings):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(rate), loss="mse", **settings)
    history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0,
                        validation_data=(x[:9], y[:9]), callbacks=callbacks).history
    return model, history, [weight.tolist() for weight in model.get_weights()]

def values(run, key):
    return run.history(keys=[key])[key].values.tolist()

model, history, weights = train(None)
_, tracked, same = train([tracker])
assert (tracked, same) == (history, weights)
run, = autotrack.runs()
assert values(run, "loss") == history["loss"] and values(run, "val_loss") == history["val_loss"]
assert run.history(keys=["loss"])["loss"].steps.tolist() == [4, 8]

frozen, _, _ = train([tracker], rate=0.0)
alone = [float(frozen.evaluate(x[i:i + 8], y[i:i + 8], verbose=0)) for i in range(0, 28, 8)]
run = autotrack.runs(order_by="-created")[0]
assert np.allclose(values(run, "auto/loss"), alone * 2, rtol=1e-5), (values(run, "auto/loss"), alone)

train([tracker], rate=0.0, steps_per_execution=3)
run = autotrack.runs(order_by="-created")[0]
series = run.history(keys=["auto/loss"])["auto/loss"]
assert series.steps.tolist() == [3, 4, 7, 8], series.steps
assert np.allclose(series.values, [np.mean(alone[:3]), alone[3]] * 2, rtol=1e-5)
assert run.config["stopped"]["step"] == 8

pulls = []
whole = keras.Model.jax_state_sync
keras.Model.jax_state_sync = lambda self: (pulls.append(1), whole(self))[1]
modes = []
class Breaks(keras.callbacks.Callback):
    async_safe = True
    def on_train_begin(self, logs=None):
        modes.append(sys._getframe(1).f_locals["self"]._async_train)
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt
def interrupted(callbacks):
    pulls.clear()
    schedule = keras.optimizers.schedules.InverseTimeDecay(0.5, 1, 1.0)
    try:
        train([*callbacks, Breaks()], rate=schedule)
    except KeyboardInterrupt:
        return len(pulls)
assert interrupted([tracker]) == interrupted([])
keras.Model.jax_state_sync = whole
assert modes == [True, True]
run = autotrack.runs(order_by="-created")[0]
assert run.status == "interrupted" and run.config["stopped"]["by"] == "interrupted"
assert len(values(run, "loss")) == 2 and len(values(run, "auto/loss")) == 8
rates = run.history(keys=["auto/lr"])["auto/lr"]
assert rates.steps.tolist() == list(range(1, 9)), rates.steps
assert np.allclose(rates.values, [0.5 / step for step in range(1, 9)])

sizes = (8, 4, 8, 8)
parts = [slice(sum(sizes[:at]), sum(sizes[:at + 1])) for at in range(4)]
class Uneven(keras.utils.PyDataset):
    def __len__(self):
        return 4
    def __getitem__(self, index):
        return x[parts[index]], y[parts[index]]
alone = [float(frozen.evaluate(x[part], y[part], verbose=0)) for part in parts]
frozen.fit(Uneven(), epochs=2, shuffle=False, verbose=0, callbacks=[tracker])
run = autotrack.runs(order_by="-created")[0]
assert np.allclose(values(run, "auto/loss"), alone * 2, rtol=1e-5), (values(run, "auto/loss"), alone)
frozen.compile(keras.optimizers.SGD(0.0), "mse", steps_per_execution=3)
def together(*places):
    return np.average([alone[at] for at in places], weights=[sizes[at] for at in places])
frozen.fit(Uneven(), epochs=2, shuffle=False, verbose=0, callbacks=[tracker])
run = autotrack.runs(order_by="-created")[0]
assert np.allclose(values(run, "auto/loss"), [together(0, 1, 2), alone[3]] * 2, rtol=1e-5), values(run, "auto/loss")
endless = (batch for _ in range(9) for batch in Uneven())
frozen.fit(endless, steps_per_epoch=4, epochs=2, verbose=0, callbacks=[tracker])  # Keras's last execution is a whole one
run = autotrack.runs(order_by="-created")[0]
expected = [together(0, 1, 2), together(3, 0, 1), together(2, 3, 0), together(1, 2, 3)]
assert np.allclose(values(run, "auto/loss"), expected, rtol=1e-5), (values(run, "auto/loss"), expected)

class Counting(keras.optimizers.schedules.LearningRateSchedule):
    asked = 0
    def __call__(self, step):
        Counting.asked += 1
        return 0.1 / (step + 1.0)
train([], rate=Counting())
asked = Counting.asked
train([tracker], rate=Counting())
assert Counting.asked == 2 * asked, (Counting.asked, asked)
run = autotrack.runs(order_by="-created")[0]
assert "auto/lr" not in run.metrics
skipped, = [row for row in run.capture_report if row["what"] == "auto/lr"]
assert (skipped["status"], "compiled" in skipped["why"]) == ("skipped", True), skipped

before = Counting.asked
train([], rate=Counting(), run_eagerly=True)
asked = Counting.asked - before
train([tracker], rate=Counting(), run_eagerly=True)
assert Counting.asked == before + 2 * asked, (Counting.asked, before, asked)
run = autotrack.runs(order_by="-created")[0]
rates = run.history(keys=["auto/lr"])["auto/lr"]
assert rates.steps.tolist() == list(range(1, 9)), rates.steps
assert np.allclose(rates.values, [0.1 / step for step in range(1, 9)]), rates.values
assert not [row for row in run.capture_report if row["what"] == "auto/lr"]

rate = keras.callbacks.LearningRateScheduler(lambda epoch, rate: [0.5, 0.125][epoch])
train([rate, tracker])
series = autotrack.runs(order_by="-created")[0].history(keys=["auto/lr"])["auto/lr"]
assert (series.steps.tolist(), series.values.tolist()) == ([1, 5], [0.5, 0.125]), (series.steps, series.values)
print("fine")
"""


def test_records_on_jax_without_touching_the_state_that_jax_has_taken(store: Path) -> None:
    done = python(ON_JAX, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
    assert done.stdout.strip() == "fine", done.stderr[-3000:]
