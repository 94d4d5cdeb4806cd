"""Keras batch by batch: values of a batch alone, learning rates, times, and loops around `train_on_batch`."""

import gc
import math
import os
import random
import time
from typing import Any

import numpy as np
import pytest
from packaging.version import Version
from tiny_keras import BATCH, PLAIN, ROWS, X, values

import autotrack
from autotrack import AutoTrack
from autotrack.integrations._keras_batches import Batches
from autotrack.integrations._keras_rates import formula_of
from autotrack.testing import only_run, points

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import torch

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "keras"

Y = (np.random.RandomState(1).rand(ROWS, 1) > 0.5).astype("float32")
ANEW = Version(keras.__version__) >= Version("3.15")
"""Whether `train_on_batch` begins its means anew."""
SCHEDULES = keras.optimizers.schedules


def net(rate: Any = 0.0, metrics: Any = ("mae",), **settings: Any) -> Any:
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, activation="sigmoid")])
    made.compile(optimizer=keras.optimizers.SGD(rate), loss="mse", metrics=list(metrics), **settings)
    return made


def alone(made: Any, place: int) -> list[float]:
    """What `evaluate` says of each batch with the weights that the model has."""
    parts = range(0, ROWS, BATCH)
    return [float(made.evaluate(X[i : i + BATCH], Y[i : i + BATCH], verbose=0)[place]) for i in parts]


def test_metrics_that_are_means_are_those_of_the_batch_alone_and_others_as_keras_tells_them(store, arm):
    metrics = [
        "mae",
        "accuracy",
        keras.metrics.AUC(name="auc"),
        keras.metrics.RootMeanSquaredError(name="root"),
    ]
    made = net(metrics=metrics)
    names = ["loss", *(metric if isinstance(metric, str) else metric.name for metric in metrics)]
    expected = {name: alone(made, names.index(name)) for name in ("mae", "accuracy")}
    made.fit(X, Y, callbacks=arm(), **PLAIN)
    run = only_run()
    for name, found in expected.items():
        assert values(run, f"auto/batch/{name}") == pytest.approx(found * 2, rel=1e-4), name
    for name in ("auc", "root"):
        assert f"auto/batch/{name}" not in run.metrics
        told = values(run, f"auto/reported/{name}")
        assert len(told) == 8
        assert told[3] == pytest.approx(values(run, name)[0])  # after the last batch it is the epoch's


def test_a_metric_that_samples_weigh_in_is_not_taken_apart(store, arm):
    made = net(metrics=(), weighted_metrics=["mae"])
    made.fit(X, Y, sample_weight=np.linspace(0, 1, ROWS), callbacks=arm(), **PLAIN)
    assert "auto/reported/mae" in only_run().metrics
    assert "auto/batch/mae" not in only_run().metrics


def test_the_batches_of_a_data_loader_have_their_own_sizes(store, arm):
    rows = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    made = net()
    expected = alone(made, 0)
    made.fit(torch.utils.data.DataLoader(rows, batch_size=BATCH), epochs=2, verbose=0, callbacks=arm())
    run = only_run()
    assert values(run, "auto/loss") == pytest.approx(expected * 2, rel=1e-5)
    assert run.config["data"]["train"]["x"]["samples"] == ROWS


def test_a_data_loader_whose_rows_come_from_an_iterator_is_recorded(store, arm):
    class Rows(torch.utils.data.IterableDataset):
        def __iter__(self) -> Any:
            return zip(torch.tensor(X), torch.tensor(Y), strict=True)

        def __len__(self) -> int:
            return ROWS

    net().fit(torch.utils.data.DataLoader(Rows(), batch_size=BATCH), verbose=0, callbacks=arm())
    assert [step for step, _ in points(only_run(), "auto/loss")] == [1, 2, 3, 4]
    assert len(values(only_run(), "auto/samples_per_second")) == 1


class Sized(keras.utils.PyDataset):
    """Batches of these sizes, whose first ones `made` judges right and all others as `right` says."""

    def __init__(self, made: Any, sizes: list[int], right: list[bool]) -> None:
        super().__init__()
        self.sizes = sizes
        x = np.random.RandomState(2).randn(sum(sizes), 4).astype("float32")
        found = (made.predict(x, verbose=0) > 0.5).astype("float32")
        kept = np.repeat(right, sizes)[:, None]
        self.x, self.y = x, np.where(kept, found, 1 - found)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Any:
        part = slice(sum(self.sizes[:index]), sum(self.sizes[: index + 1]))
        return self.x[part], self.y[part]


def test_late_in_a_long_epoch_as_many_batches_are_told_together_as_keras_means_can_tell_apart(store, arm):
    made = net(metrics=["accuracy"])
    right = [True, True, False, *[True, False] * 6]
    data = Sized(made, [30_000, 8, *[2] * 13], right)
    made.fit(data, verbose=0, shuffle=False, callbacks=arm())
    run = only_run()
    # 0.1 % of the mean are 8 of 30,000 samples: 8 at once, then four batches of 2, and one is left
    assert points(run, "auto/batch/accuracy")[:2] == [(1, 1.0), (2, 1.0)]
    for (step, found), count in zip(points(run, "auto/batch/accuracy")[2:], (4, 4, 4), strict=True):
        assert found == pytest.approx(np.mean(right[step - count : step]), abs=1e-3)
    assert "auto/reported/accuracy" not in run.metrics


def test_no_batch_is_beyond_what_a_metric_can_be_by_a_rounding(store, arm):
    made = net(metrics=["accuracy"])
    right = [True, True, False, *[True] * 40, *[False] * 20]
    data = Sized(made, [3_333, *[3] * (len(right) - 1)], right)
    made.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=arm())
    found = values(only_run(), "auto/batch/accuracy")
    assert found == pytest.approx([float(one) for one in right] * 2, abs=1e-3)
    assert 0.0 <= min(found) <= max(found) <= 1.0


def test_a_loss_that_has_fallen_far_in_a_long_epoch_is_told_to_what_32_bits_can_hold_and_never_below_zero():
    count, size = 20_000, np.float32(32)
    losses = np.random.RandomState(0).gamma(2, 0.5, count).astype("float32")
    losses[count // 2 :] *= 1e-5
    batches, sum_so_far, samples, told = Batches([], (32, 32 * count)), np.float32(0), np.float32(0), []
    for batch, loss in enumerate(losses):
        sum_so_far += loss * size
        samples += size
        for step, found in batches.add(batch + 1, {"loss": float(sum_so_far / samples)}):
            told += [(step, found["auto/loss"])] if "auto/loss" in found else []
    steps = [step for step, _ in told]
    assert steps[:4_000] == list(range(1, 4_001))
    assert 3 <= max(np.diff(steps)) <= 6
    assert steps[-1] > count - 6
    for before, (step, found) in zip([0, *steps], told, strict=False):
        assert found == pytest.approx(
            losses[before:step].mean(dtype=float), abs=float(2e-3 * losses[:step].mean())
        )
        assert found >= 0.0


def test_several_outputs_have_a_loss_each(store, arm):
    inputs = keras.Input((4,))
    outputs = {"a": keras.layers.Dense(1, name="a")(inputs), "b": keras.layers.Dense(1, name="b")(inputs)}
    made = keras.Model(inputs, outputs)
    made.compile("sgd", loss={"a": "mse", "b": "mae"}, metrics={"a": ["mae"]})
    history = made.fit(X, {"a": Y, "b": Y}, callbacks=arm(), **PLAIN).history
    run = only_run()
    assert {"loss", "a_loss", "b_loss", "a_mae"} == set(history)
    for name in ("auto/loss", "auto/batch/a_loss", "auto/batch/b_loss", "auto/batch/a_mae"):
        weights = [BATCH, BATCH, BATCH, ROWS - 3 * BATCH]
        mean = np.average(values(run, name)[:4], weights=weights)
        assert mean == pytest.approx(history[name.rpartition("/")[2]][0], rel=1e-4)


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_epoch_end"])
def test_what_was_trained_before_a_callback_raised_is_recorded(store, arm, hook):
    class Boom(keras.callbacks.Callback):
        pass

    def boom(self: Any, index: int, logs: Any = None) -> None:
        if index == 1:
            raise ValueError("out of luck")

    setattr(Boom, hook, boom)
    with pytest.raises(ValueError, match="out of luck"):
        net(0.1).fit(X, Y, callbacks=[Boom(), *arm()], **PLAIN)
    run = only_run()
    assert len(values(run, "auto/loss")) == (2 if hook == "on_train_batch_end" else 8)
    if hook == "on_epoch_end":
        assert [step for step, _ in points(run, "loss")] == [4, 8]
    assert run.config["stopped"]["by"] == "error"


def test_the_rate_is_recorded_when_it_changes(store, arm):
    class Halves(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 2:
                self.model.optimizer.learning_rate = float(self.model.optimizer.learning_rate) / 2

    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, rate: [0.5, 0.125][epoch])
    net(0.25).fit(X, Y, callbacks=[*arm(), scheduler, Halves()], **PLAIN)
    run = only_run()
    assert points(run, "auto/lr") == [(1, 0.5), (3, 0.25), (5, 0.125), (7, 0.0625)]
    assert run.config["optimizer"]["learning_rate"] == 0.25
    assert "LearningRateScheduler" in run.config["callbacks"]


ALL = [
    SCHEDULES.ExponentialDecay(0.1, 10, 0.9),
    SCHEDULES.ExponentialDecay(0.1, 10, 0.9, staircase=True),
    SCHEDULES.InverseTimeDecay(0.1, 10, 0.5),
    SCHEDULES.InverseTimeDecay(0.1, 10, 0.5, staircase=True),
    SCHEDULES.PiecewiseConstantDecay([10, 20, 30], [1.0, 0.5, 0.25, 0.125]),
    SCHEDULES.PolynomialDecay(0.1, 17, 0.01, power=2.0),
    SCHEDULES.PolynomialDecay(0.1, 17, 0.01, cycle=True),
    SCHEDULES.CosineDecay(0.1, 30, alpha=0.2),
    SCHEDULES.CosineDecay(0.1, 30, warmup_target=0.4, warmup_steps=11),
    SCHEDULES.CosineDecayRestarts(0.1, 9, t_mul=2.0, m_mul=0.5),
    SCHEDULES.CosineDecayRestarts(0.1, 9, t_mul=1.0, alpha=0.1),
]


@pytest.mark.parametrize("schedule", ALL, ids=lambda schedule: type(schedule).__name__)
def test_a_schedule_of_keras_is_followed_at_every_step(schedule):
    formula = formula_of(schedule)
    assert formula is not None
    # Where it restarts, Keras's 32 bits may take the last step of one wave for the first of the next.
    steps = [step for step in range(50) if step not in (9, 18, 27, 36, 45)]
    expected = [float(schedule(keras.ops.convert_to_tensor(step, "int32"))) for step in steps]
    assert [formula(step) for step in steps] == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_the_rate_of_a_schedule_is_the_one_that_each_step_uses(store, arm):
    schedule = SCHEDULES.ExponentialDecay(0.5, 1, 0.5)
    made = net(schedule)
    made.fit(X, Y, callbacks=arm(), **PLAIN)
    run = only_run()
    assert points(run, "auto/lr") == [(step, 0.5**step) for step in range(1, 9)]
    assert run.config["lr_scheduler"]["class"] == "ExponentialDecay"
    assert run.config["lr_scheduler"]["decay_rate"] == 0.5


class Counting(SCHEDULES.LearningRateSchedule):
    """A schedule that notices how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, step: Any) -> Any:
        self.asked.append(int(step))
        return 0.25 / (int(step) + 1)


def test_a_schedule_of_the_users_own_is_asked_as_often_as_without(store, arm):
    made, callbacks = net(Counting()), arm()
    mine = made.optimizer._learning_rate
    made.fit(X, Y, callbacks=callbacks, **PLAIN)
    assert mine.asked == list(range(8))
    assert points(only_run(), "auto/lr") == [(step, 0.25 / step) for step in range(1, 9)]


class Drawing(SCHEDULES.LearningRateSchedule):
    """A schedule that draws random numbers, and remembers what it said."""

    def __init__(self) -> None:
        self.said: list[float] = []

    def __call__(self, step: Any) -> Any:
        drawn = random.random() + np.random.rand() + float(torch.rand(()))
        self.said.append(0.01 * drawn)
        return self.said[-1]


def test_a_schedule_that_draws_random_numbers_draws_those_that_it_draws_untracked(store):
    def fit(callbacks: list[Any]) -> list[Any]:
        made = net(Drawing())
        made.fit(X, Y, callbacks=callbacks, **PLAIN | {"shuffle": True})
        state = [random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()]
        return [[weight.tolist() for weight in made.get_weights()], made.optimizer._learning_rate.said, state]

    reference = fit([])
    assert fit([autotrack.AutoTrack()]) == reference
    assert points(only_run(), "auto/lr") == list(enumerate(reference[1], 1))


def test_a_function_as_the_rate_is_heard_and_not_called(store, arm):
    said = []

    def rate() -> float:
        said.append(0.5 ** len(said))
        return said[-1]

    before = vars(keras.src.optimizers.base_optimizer.BaseOptimizer)["_backend_update_step"]
    made = net()
    made.compile(keras.optimizers.Adafactor(rate, weight_decay=0.1), "mse")  # the decay of weights asks, too
    made.fit(X, Y, callbacks=arm(), **PLAIN)
    assert len(said) == 16
    assert points(only_run(), "auto/lr") == list(enumerate(said[1::2], 1))
    assert vars(keras.src.optimizers.base_optimizer.BaseOptimizer)["_backend_update_step"] is before


class Twice(keras.Sequential):
    """Trains each batch two times."""

    def train_step(self, data: Any) -> Any:
        super().train_step(data)
        return super().train_step(data)


def test_the_rate_of_a_step_of_the_users_own_is_the_last_that_it_used(store, arm):
    made = Twice([keras.Input((4,)), keras.layers.Dense(1)])
    made.compile(keras.optimizers.SGD(SCHEDULES.ExponentialDecay(0.5, 1, 0.5)), "mse")
    made.fit(X, Y, callbacks=arm(), **PLAIN)
    assert points(only_run(), "auto/lr") == [(step, 0.5 ** (2 * step)) for step in range(1, 9)]


def test_a_scaled_loss_that_leaves_steps_out_leaves_out_their_rates(store, arm):
    bad = X.copy()
    bad[9] = math.inf
    made = net()
    inner = keras.optimizers.SGD(SCHEDULES.ExponentialDecay(0.5, 1, 0.5))
    made.compile(keras.optimizers.LossScaleOptimizer(inner), "mse")
    made.fit(bad, Y, callbacks=arm(), **PLAIN)
    assert points(only_run(), "auto/lr") == [
        (step, 0.5**count) for count, step in enumerate([1, 3, 4, 5, 7, 8], 1)
    ]


if hasattr(keras.optimizers, "MultiOptimizer"):  # not in Keras 3.11

    def test_several_optimizers_in_one_have_no_rate_in_common(store, arm):
        made = net()
        optimizers = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1))
        made.compile(keras.optimizers.MultiOptimizer(optimizers), "mse")
        made.fit(X, Y, callbacks=arm(), **PLAIN)
        assert "auto/lr" not in only_run().metrics
        assert len(values(only_run(), "auto/loss")) == 8


def test_a_loop_around_train_on_batch_hears_the_rates_of_a_schedule_of_the_users_own(store):
    autotrack.keras.autolog()
    made = net(Counting())
    for _ in range(3):
        made.train_on_batch(X, Y)
    assert made.optimizer._learning_rate.asked == [0, 1, 2]
    autotrack.autolog(disable=True)
    # The loop is known from the end of its first batch on.
    assert points(only_run(), "auto/lr") == [(2, 0.125), (3, pytest.approx(0.25 / 3))]


class Slow(keras.callbacks.Callback):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        time.sleep(self.seconds)

    def on_test_begin(self, logs: Any = None) -> None:
        time.sleep(0.3)


class SlowInTurn(Slow):
    """With this hook Keras calls all of a batch in the thread that trains."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        pass


def test_times_are_those_of_the_steps_without_validation(store, arm):
    net().fit(X, Y, callbacks=[*arm(), SlowInTurn(0.02)], validation_data=(X, Y), **PLAIN)
    run = only_run()
    took, speed = values(run, "auto/step_time"), values(run, "auto/samples_per_second")
    assert len(took) == len(speed) == 8
    assert min(took) >= 0.02
    assert sorted(took)[4] < 0.3
    assert [time * rate for time, rate in zip(took, speed, strict=True)] == pytest.approx([8, 8, 8, 4] * 2)
    assert min(values(run, "auto/epoch_time")) > 0.38


@pytest.mark.parametrize("every", [1, 4])
def test_short_steps_that_worker_threads_tell_of_are_timed_together(store, every):
    rows, settings = np.zeros((480, 4), "float32"), {"batch_size": 8, "epochs": 2, "verbose": 0}
    net().fit(rows, rows[:, :1], callbacks=[AutoTrack(log_every=every), Slow(0.01)], **settings)
    took, speed = (points(only_run(), f"auto/{name}") for name in ("step_time", "samples_per_second"))
    assert {step > 60 for step, _ in took} == {False, True}
    for before, (step, seconds) in zip([0, *(step for step, _ in took)], took, strict=False):
        batches = step - (60 if before <= 60 < step else before)
        assert batches * seconds > 0.0999
        assert step % every == 0
        assert 0.01 <= seconds < 0.3
    assert [seconds * rate for (_, seconds), (_, rate) in zip(took, speed, strict=True)] == pytest.approx(
        [8] * len(took)
    )


def test_an_epoch_that_is_shorter_than_what_can_be_timed_is_timed_as_a_whole(store, arm):
    net().fit(X, Y, callbacks=[*arm(), Slow(0.01)], validation_data=(X, Y), **PLAIN)
    took = points(only_run(), "auto/step_time")
    assert [step for step, _ in took] == [4, 8]
    assert min(seconds for _, seconds in took) >= 0.01
    assert took[1][1] < 0.07  # without the validation


def test_a_loop_around_train_on_batch_is_a_run_a_model_while_autolog_is_on(store):
    autotrack.keras.autolog()
    made, other = net(0.1), net(0.2)
    found = [made.train_on_batch(X, Y) for _ in range(3)]
    other.train_on_batch(X, Y, return_dict=True)
    assert autotrack.active_run() is not None  # both are open, and neither is the current one
    made.fit(X, Y, **PLAIN)
    by_rate = {
        (
            round(run.config["optimizer"]["learning_rate"], 3),
            "fit" in run.config and "epochs" in run.config["fit"],
        ): run
        for run in autotrack.runs()
    }
    assert set(by_rate) == {(0.1, False), (0.2, False), (0.1, True)}
    loop = by_rate[0.1, False]
    loss, mae = ("auto/loss", "auto/batch/mae") if ANEW else ("auto/reported/loss", "auto/reported/mae")
    assert points(loop, loss) == [(step, float(row[0])) for step, row in enumerate(found, 1)]
    assert values(loop, mae) == [float(row[1]) for row in found]
    assert points(loop, "auto/lr") == [(1, pytest.approx(0.1))]
    assert (loop.status, by_rate[0.2, False].status) == ("finished", "running")
    autotrack.autolog(disable=True)
    assert {run.status for run in autotrack.runs()} == {"finished"}


def test_a_loop_has_losses_of_its_batches_alone_or_none_of_that_name(store):
    made = net()
    expected = alone(made, 0)
    autotrack.keras.autolog()
    made.reset_metrics()
    for at in range(0, ROWS, BATCH):
        made.train_on_batch(X[at : at + BATCH], Y[at : at + BATCH])
    autotrack.autolog(disable=True)
    found = values(only_run(), "auto/loss") if ANEW else expected
    assert found == pytest.approx(expected, rel=1e-5)
    assert ("auto/loss" in only_run().metrics) is ANEW


def test_a_loop_has_what_a_train_step_of_the_users_own_reports(store):
    class Reports(keras.Sequential):
        def train_step(self, data: Any) -> Any:
            return super().train_step(data) | {"loss": 2.5}

    made = Reports([keras.Input((4,)), keras.layers.Dense(1)])
    made.compile("sgd", "mse")
    autotrack.keras.autolog()
    made.train_on_batch(X, Y, return_dict=True)
    autotrack.autolog(disable=True)
    assert points(only_run(), "auto/reported/loss") == [(1, 2.5)]
    assert "auto/loss" not in only_run().metrics


def test_train_on_batch_is_not_recorded_without_autolog(store):
    tracker = autotrack.AutoTrack()
    net().train_on_batch(X, Y)
    assert not store.exists()
    del tracker
    gc.collect()


def test_a_loss_that_is_not_finite_is_seen_and_ends_the_fit_with_terminate_on_nan(store, arm):
    bad = X.copy()
    bad[20] = math.nan
    net(0.1).fit(bad, Y, callbacks=[*arm(), keras.callbacks.TerminateOnNaN()], **PLAIN)
    run = only_run()
    found = values(run, "auto/loss")
    assert [math.isnan(value) for value in found] == [False, False, True]
    assert run.config["stopped"]["by"] == "callback"
    assert run.config["stopped"]["reason"].startswith("TerminateOnNaN: the loss was nan")
    assert run.config["stopped"]["step"] == 3
    assert run.status == "finished"
