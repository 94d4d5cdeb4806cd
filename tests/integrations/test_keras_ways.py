"""Keras in other ways: lists of callbacks, fits in fits, fits that nobody records, data of any kind, and what is read on the way."""

import os
from typing import Any

import pytest
import tiny_keras
from tensor_reads import Reads
from tiny_keras import BATCH, PLAIN, ROWS, X, Y, values

import autotrack
from autotrack.testing import only_run, points

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import torch

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "keras"

SIZES = (8, 2, 12, 6)
PARTS = [slice(sum(SIZES[:at]), sum(SIZES[: at + 1])) for at in range(4)]


def net(rate: Any = 0.0) -> Any:
    return tiny_keras.net(rate)


def alone(made: Any, parts: list[slice], place: int = 0) -> list[float]:
    """What `evaluate` says of each batch with the weights that the model has."""
    return [float(made.evaluate(X[part], Y[part], verbose=0)[place]) for part in parts]


EVEN = [slice(at, at + BATCH) for at in range(0, ROWS, BATCH)]


class Uneven(keras.utils.PyDataset):
    """Batches of different sizes."""

    def __len__(self) -> int:
        return len(SIZES)

    def __getitem__(self, index: int) -> Any:
        return X[PARTS[index]], Y[PARTS[index]]


def generator() -> Any:
    while True:
        yield from ((X[part], Y[part]) for part in PARTS)


def loader(**settings: Any) -> Any:
    rows = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    return torch.utils.data.DataLoader(rows, **settings)


def dropping(rows: list[Any]) -> Any:
    """Batches of 10 and 18 rows of which only the even ones are left."""
    return tuple(torch.stack(part[::2]) for part in zip(*rows, strict=True))


DATA = {
    "dataset": (Uneven, PARTS, {}),
    "generator": (generator, PARTS, {"steps_per_epoch": 4}),
    "batch sampler": (
        lambda: loader(batch_sampler=[list(range(ROWS))[part] for part in PARTS]),
        PARTS,
        {},
    ),
    "collate": (
        lambda: loader(batch_size=20, collate_fn=dropping),
        [slice(0, 20, 2), slice(20, 28, 2)],
        {},
    ),
}


@pytest.mark.parametrize("kind", DATA)
def test_batches_of_any_data_are_weighed_by_their_own_size(store, arm, kind):
    make, parts, settings = DATA[kind]
    made = net()
    expected = {"auto/loss": alone(made, parts), "auto/batch/mae": alone(made, parts, 1)}
    made.fit(make(), epochs=2, verbose=0, shuffle=False, callbacks=arm(), **settings)
    run = only_run()
    for key, found in expected.items():
        assert values(run, key) == pytest.approx(found * 2, rel=1e-5), key
    assert 0 < len(values(run, "auto/samples_per_second")) <= 2 * len(parts)
    assert "auto/reported/loss" not in run.metrics


def test_batches_whose_size_is_not_plain_are_recorded_as_keras_tells_them(store, arm):
    class Folds(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.layer = keras.layers.Dense(1)

        def call(self, rows: Any) -> Any:
            return self.layer(keras.ops.reshape(rows, (-1, 4)))

    told = []

    class Listens(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            told.append(logs["loss"])

    batches = [(X[:8].reshape(4, 8), Y[:8]), (X[8:10].reshape(1, 8), Y[8:10])]
    made = Folds()
    made.compile("sgd", "mse")
    made.fit((batch for batch in batches), verbose=0, callbacks=[*arm(), Listens()])
    run = only_run()
    assert points(run, "auto/reported/loss") == list(enumerate(told, 1))
    assert "auto/loss" not in run.metrics


INTERRUPTIONS = {
    "evaluate": lambda made: made.evaluate(X[:9], Y[:9], verbose=0),
    "train_on_batch": lambda made: made.train_on_batch(X[:9], Y[:9]),
    "test_on_batch": lambda made: made.test_on_batch(X[:9], Y[:9]),
    "reset_metrics": lambda made: made.reset_metrics(),
    "fit": lambda made: made.fit(X[:9], Y[:9], verbose=0),
}


@pytest.mark.parametrize("kind", INTERRUPTIONS)
def test_what_a_callback_does_to_the_means_within_an_epoch_makes_the_rest_of_it_reported(store, arm, kind):
    told = []

    class Interrupts(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            told.append(logs["loss"])
            if len(told) == 2:
                INTERRUPTIONS[kind](self.model)

    made = net()
    expected = alone(made, EVEN)
    made.fit(X, Y, validation_data=(X, Y), callbacks=[*arm(), Interrupts()], **PLAIN)
    run = only_run()
    wanted = [(step, expected[(step - 1) % 4]) for step in (1, 2, 5, 6, 7, 8)]
    assert points(run, "auto/loss") == [(step, pytest.approx(value, rel=1e-5)) for step, value in wanted]
    assert points(run, "auto/reported/loss") == list(zip([3, 4], told[2:4], strict=True))


class Counts(keras.callbacks.CallbackList):
    """A list of the user's own that counts."""

    batches = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches += 1
        super().on_train_batch_end(batch, logs)


class Last(keras.callbacks.Callback):
    """Remembers what it was told last."""

    async_safe = True
    told: Any = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.told = dict(logs)


def test_a_list_object_of_the_users_is_after_the_fit_as_without_us(store):
    def fit(callbacks: list[Any]) -> dict[str, Any]:
        made = net()
        given = Counts([*callbacks, Last()], add_history=True, model=made)
        before = list(given.callbacks)
        history = made.fit(X, Y, callbacks=given, **PLAIN)
        assert given.callbacks == before
        assert type(given) is Counts
        assert history is given._history
        state = vars(given) | {"_history": history.history, "_model": None, "_executor": None}
        state["callbacks"] = given.callbacks[-2].told
        return state

    reference = fit([])
    assert (reference["batches"], reference["_futures"]) == (8, [])
    assert fit([autotrack.AutoTrack()]) == reference
    run = only_run()
    assert values(run, "auto/loss") == pytest.approx(alone(net(), EVEN) * 2, rel=1e-5)
    assert [step for step, _ in points(run, "auto/batch/mae")] == list(range(1, 9))
    autotrack.keras.autolog()
    assert fit([]) == reference
    autotrack.autolog(disable=True)
    assert len(autotrack.runs()) == 2


def test_a_list_object_may_be_given_other_callbacks_in_the_fit(store, arm):
    late = Last()

    class Grows(keras.callbacks.CallbackList):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                self.callbacks = [*given.callbacks, late]
            super().on_epoch_begin(epoch, logs)

    made = net()
    given = Grows(arm(), add_history=True, model=made)
    made.fit(X, Y, callbacks=given, **PLAIN)
    assert given.callbacks[-1] is late
    assert late.told is not None
    assert len(values(only_run(), "auto/loss")) == 8


def test_a_fit_inside_of_a_fit_has_a_child_run_and_takes_nothing_from_the_outer_one(store, arm):
    callbacks, inner = arm(), net(0.1)
    histories = []

    class Teaches(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 1:
                histories.append(
                    inner.fit(X, Y, callbacks=callbacks, **PLAIN | {"epochs": 1}).history["loss"]
                )

    made = net()
    history = made.fit(X, Y, callbacks=[*callbacks, Teaches()], **PLAIN).history
    (run,) = [run for run in autotrack.runs() if run.parent is None]
    assert points(run, "loss") == list(zip([4, 8], history["loss"], strict=True))
    assert values(run, "auto/loss") == pytest.approx(alone(made, EVEN) * 2, rel=1e-5)
    assert run.status == "finished"
    children = sorted(run.children, key=lambda child: child.created)
    assert [values(child, "loss") for child in children] == histories
    assert [len(values(child, "auto/loss")) for child in children] == [4, 4]
    assert autotrack.active_run() is None


def test_a_fit_of_the_same_model_inside_of_its_fit_is_not_recorded(store, arm):
    callbacks = arm()

    class Again(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.fit(X, Y, callbacks=callbacks, **PLAIN)

    made = net()
    expected = alone(made, EVEN)
    made.fit(X, Y, callbacks=[*callbacks, Again()], **PLAIN)
    run = only_run()
    assert [step for step, _ in points(run, "loss")] == [4, 8]
    assert values(run, "auto/loss") == pytest.approx(expected * 2, rel=1e-5)


def untracked(made: Any) -> None:
    made.fit(X, Y, **PLAIN)


def disabled(made: Any) -> None:
    with autotrack.disabled():
        made.fit(X, Y, callbacks=[autotrack.AutoTrack()], **PLAIN)


def by_batches(made: Any) -> None:
    made.train_on_batch(X, Y)


@pytest.mark.parametrize("train", [untracked, disabled, by_batches])
def test_what_is_evaluated_after_a_training_that_is_not_recorded_is_no_value_of_the_one_before(store, train):
    made = net(0.1)
    made.fit(X, Y, callbacks=[autotrack.AutoTrack()], **PLAIN)
    train(made)
    made.evaluate(X, Y, verbose=0)
    assert "test_loss" not in only_run().metrics


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of the user's own that waits for nothing."""

    def __call__(self, step: Any) -> Any:
        return 0.1 * keras.ops.cast(step + 1, "float32")


RATES = {
    "number": lambda: 0.1,
    "of keras": lambda: keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5),
    "own": Warmup,
}


@pytest.mark.parametrize("kind", RATES)
def test_no_tensor_is_read_but_the_rates_and_the_steps_that_were_made(store, kind):
    def reads(callbacks: list[Any]) -> int:
        made = net(RATES[kind]())
        last = Last()
        last.async_safe = False  # whatever Keras reads is read in this thread
        with Reads() as counted:
            made.fit(X, Y, validation_data=(X, Y), callbacks=[*callbacks, last], **PLAIN)
            made.evaluate(X, Y, verbose=0)
        return counted.count

    more = reads([autotrack.AutoTrack()]) - reads([])
    run = only_run()
    assert {"auto/loss", "auto/batch/mae", "loss", "val_loss", "test_loss"} <= set(run.metrics)
    rates = len(points(run, "auto/lr"))
    assert rates == (1 if kind == "number" else 8)
    # On the CPU a rate is read when it changes, and the steps of the optimizer once an epoch for Keras's own schedules.
    assert more == {"number": rates, "of keras": 2, "own": rates}[kind]


def test_what_lies_on_an_accelerator_is_handed_on_unread():
    from autotrack.integrations._keras_rates import Rates

    class Optimizer(keras.optimizers.SGD):
        pass

    optimizer = Optimizer(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5))
    model = keras.Sequential()
    model.compile(optimizer)
    optimizer._iterations._value = torch.empty((), dtype=torch.int64, device="meta")
    rates = Rates()
    with Reads() as counted:
        rates.begin_epoch(model)
        assert rates.formula is None
        rates.batch = 3
        used = torch.empty((), device="meta")
        optimizer._backend_update_step([], [], used)
        rates.close(None)
        optimizer._backend_update_step([], [], used)
    assert counted.count == 0
    assert list(rates.changes) == [3]
    assert rates.changes[3].device.type == "meta"


def test_a_backup_of_a_class_of_the_users_own_is_gone_on_from(store, arm, tmp_path):
    class Backup(keras.callbacks.BackupAndRestore):
        pass

    class Boom(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                raise ValueError("the power is gone")

    callbacks = arm()
    with pytest.raises(ValueError, match="power"):
        net(0.1).fit(X, Y, callbacks=[*callbacks, Backup(tmp_path / "backup"), Boom()], **PLAIN)
    net(0.1).fit(X, Y, callbacks=[*callbacks, Backup(tmp_path / "backup")], **PLAIN)
    run = only_run()
    assert run.attempts == 2
    assert [step for step, _ in points(run, "loss")] == [4, 8]
