"""What a Keras run knows of its model, data and callbacks, and why it stopped."""

import gc
import os
import weakref
from typing import Any

import numpy as np
import pytest
from tiny_keras import PLAIN, X, Y, values

import autotrack
from autotrack.testing import only_run, points

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import torch

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "keras"


def net(rate: float = 0.1, **settings: Any) -> Any:
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(3, activation="relu", name="hidden"),
        keras.layers.Dropout(0.25),
        keras.layers.Dense(1),
    ]
    made = keras.Sequential([keras.Input((4,)), *layers])
    made.compile(**{"optimizer": keras.optimizers.Adam(rate), "loss": "mse"} | settings)
    return made


def last() -> Any:
    return max(autotrack.runs(), key=lambda run: run.created)


def test_every_argument_of_fit_is_known_given_by_position_by_name_or_not(store, arm):
    made, callbacks = net(), arm()
    made.fit(X, Y, 7, 1, 0, callbacks, 0.25, None, False, {0: 1.0})
    fit = only_run().config["fit"]
    assert (fit["batch_size"], fit["epochs"], fit["verbose"], fit["validation_split"]) == (7, 1, 0, 0.25)
    assert (fit["shuffle"], fit["class_weight"], fit["steps"]) == (False, {"0": 1.0}, 3)
    assert (fit["initial_epoch"], fit["validation_freq"]) == (0, 1)
    assert not {"x", "y", "callbacks", "validation_data"} & set(fit)


def test_the_data_are_described_and_not_kept(store, arm):
    callbacks = arm()
    net().fit(X, Y, sample_weight=np.ones(28), validation_data=(X[:9], Y[:9]), callbacks=callbacks, **PLAIN)
    assert only_run().config["data"] == {
        "train": {
            "x": {"class": "ndarray", "shape": [28, 4], "dtype": "float32"},
            "y": {"class": "ndarray", "shape": [28, 1], "dtype": "float32"},
        },
        "validation": {
            "x": {"class": "ndarray", "shape": [9, 4], "dtype": "float32"},
            "y": {"class": "ndarray", "shape": [9, 1], "dtype": "float32"},
        },
        "sample_weight": {"class": "ndarray", "shape": [28], "dtype": "float64"},
    }


def test_the_settings_of_losses_and_callbacks_are_known_and_ours_is_not_among_them(store, arm):
    loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.125)
    callbacks = [
        *arm(),
        keras.callbacks.EarlyStopping("loss", patience=7),
        keras.callbacks.ReduceLROnPlateau("loss"),
    ]
    net(loss=loss).fit(X, (Y > 0).astype("float32"), callbacks=callbacks, **PLAIN)
    config = only_run().config
    assert config["compile"]["loss"]["class"] == "BinaryCrossentropy"
    assert (config["compile"]["loss"]["from_logits"], config["compile"]["loss"]["label_smoothing"]) == (
        True,
        0.125,
    )
    assert set(config["callbacks"]) == {"EarlyStopping", "ReduceLROnPlateau"}
    assert config["callbacks"]["EarlyStopping"]["patience"] == 7
    assert config["seed"] == 0
    assert (config["optimizer"]["class"], config["optimizer"]["beta_1"]) == ("Adam", 0.9)
    assert values(only_run(), "learning_rate") == pytest.approx(
        [0.1, 0.1]
    )  # ReduceLROnPlateau puts it into the logs


def test_the_layers_are_a_table_with_what_they_were_made_with(store, arm):
    net().fit(X, Y, callbacks=arm(), **PLAIN)
    run = only_run()
    (table,) = [artifact for artifact in run.artifacts if artifact.name == "model_summary.json"]
    rows = table.open().read().decode()
    assert "hidden" in rows
    assert "relu" in rows
    assert "0.25" in rows
    assert run.config["model"]["layers"] == 3
    assert run.config["model"]["parameters"] == 19


def test_a_fit_that_does_all_its_epochs_says_so(store, arm):
    net().fit(X, Y, callbacks=arm(), **PLAIN)
    stopped = only_run().config["stopped"]
    assert stopped == {"by": "max_epochs", "reason": "epochs=2 done", "epoch": 2, "step": 8}


def test_early_stopping_is_told_with_its_best(store, arm):
    stopper = keras.callbacks.EarlyStopping("val_loss", patience=2)
    made = net(rate=0.0)
    made.fit(X, Y, callbacks=[stopper, *arm()], validation_split=0.25, **{**PLAIN, "epochs": 9})
    run = only_run()
    assert run.config["stopped"] | {"reason": ""} == {
        "by": "early_stopping",
        "reason": "",
        "epoch": 3,
        "step": 9,
    }
    assert run.config["stopped"]["reason"].startswith("val_loss was no better than ")
    assert run.config["best"] == {"metric": "val_loss", "value": stopper.best, "epoch": 0}


def test_early_stopping_by_a_metric_of_one_place_is_told_all_the_same(store, arm):
    metric = keras.metrics.F1Score(name="f1")
    stopper = keras.callbacks.EarlyStopping("val_f1", mode="max", patience=9)
    made = net(metrics=[metric])
    made.fit(X, Y > 0, validation_data=(X[:9], Y[:9] > 0), callbacks=[*arm(), stopper], **PLAIN)
    # Keras 3.11 makes a float of it.
    best = stopper.best if isinstance(stopper.best, float) else str(stopper.best)
    assert only_run().config["best"] == {"metric": "val_f1", "value": best, "epoch": stopper.best_epoch}
    assert only_run().config["stopped"]["by"] == "max_epochs"


def test_who_may_have_stopped_the_training_is_named(store, arm):
    class Enough(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = batch == 1

    net().fit(X, Y, callbacks=[*arm(), Enough()], **PLAIN)
    stopped = only_run().config["stopped"]
    assert (stopped["by"], stopped["epoch"], stopped["step"]) == ("callback", 1, 2)
    assert "Enough" in stopped["reason"]


@pytest.mark.parametrize(("kind", "by"), [(KeyboardInterrupt, "interrupted"), (ZeroDivisionError, "error")])
@pytest.mark.parametrize(
    ("hook", "when"),
    [
        ("on_epoch_begin", "in epoch 2 of 2"),
        ("on_test_begin", "in epoch 1 of 2"),
        ("on_epoch_end", "after epoch 2 of 2"),
    ],
)
def test_a_fit_that_is_broken_off_says_by_what_and_when(store, arm, kind, by, hook, when):
    class Boom(keras.callbacks.Callback):
        pass

    def boom(self: Any, place: Any = None, logs: Any = None) -> None:
        if place != 0:
            raise kind("now")

    setattr(Boom, hook, boom)
    with pytest.raises(kind):
        net().fit(X, Y, validation_data=(X, Y), callbacks=[Boom(), *arm()], **PLAIN)
    assert only_run().config["stopped"]["by"] == by
    assert only_run().config["stopped"]["reason"].endswith(f"now, {when}")


def test_a_training_that_goes_on_from_a_backup_counts_the_steps_of_the_epochs_before(store, arm, tmp_path):
    class Boom(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                raise ValueError("the power is gone")

    settings = {**PLAIN, "epochs": 3}
    backup = [keras.callbacks.BackupAndRestore(tmp_path / "backup")]
    with pytest.raises(ValueError, match="power"):
        net().fit(X, Y, callbacks=[*arm(), *backup, Boom()], **settings)
    history = net().fit(X, Y, callbacks=[*backup, *arm()], **settings).history
    run = only_run()
    assert values(run, "epoch") == [0, 1, 2]
    assert points(run, "loss")[2:] == [(12, history["loss"][0])]
    assert run.attempts == 2
    through = net()
    assert through.fit(X, Y, **settings).history["loss"][2] == pytest.approx(history["loss"][0], rel=0.2)


def test_the_validation_is_recorded_in_the_epochs_that_have_one(store, arm):
    made = net()
    history = made.fit(
        X, Y, callbacks=arm(), validation_data=(X, Y), validation_freq=2, **{**PLAIN, "epochs": 4}
    ).history
    assert points(only_run(), "val_loss") == list(zip([8, 16], history["val_loss"], strict=True))


def test_a_generator_of_unknown_length_is_recorded(store, arm):
    class Rows(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            return X[:8], Y[:8]

    def endless() -> Any:
        while True:
            yield X[:8], Y[:8]

    callbacks = arm()
    net().fit(Rows(), epochs=2, verbose=0, callbacks=callbacks)
    assert [step for step, _ in points(only_run(), "auto/loss")] == [1, 2, 3, 4, 5, 6]
    assert only_run().config["data"]["train"]["x"] == {"class": "Rows", "batches": 3}
    net().fit(endless(), steps_per_epoch=2, epochs=2, verbose=0, callbacks=callbacks)
    assert [step for step, _ in points(last(), "auto/loss")] == [1, 2, 3, 4]


def test_asynchronous_dispatch_stays_on(store, arm):
    seen = []

    class Looks(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            frame = __import__("sys")._getframe(1)
            seen.append(frame.f_locals["self"]._async_train)

    net().fit(X, Y, callbacks=[*arm(), Looks()], **PLAIN)
    assert seen == [True]
    assert len(values(only_run(), "auto/loss")) == 8


def test_mixed_precision_and_a_scaled_loss_are_recorded(store, arm):
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01))
    net(optimizer=optimizer).fit(X, Y, callbacks=arm(), **PLAIN)
    run = only_run()
    assert points(run, "auto/lr") == [(1, float(np.float32(0.01)))]
    assert run.config["optimizer"]["inner_optimizer"]["learning_rate"] == 0.01


def test_the_first_fit_of_a_process_is_watched_below_the_shell_that_keras_has_put_around_it(store, alone):
    autotrack.autolog()
    autotrack.autolog(disable=True)
    before = keras.Model.__mro__[1:]
    owner = next(kind for kind in before if "fit" in vars(kind))
    shell = vars(owner)["fit"]
    cell = shell.__closure__[shell.__code__.co_freevars.index("fn")]
    autotrack.autolog()
    assert cell.cell_contents is not shell.__wrapped__
    autotrack.autolog(disable=True)
    assert cell.cell_contents is shell.__wrapped__


def test_no_model_or_data_is_kept_alive(store, arm):
    made, rows = net(), torch.tensor(X)
    kept = [weakref.ref(made), weakref.ref(rows)]
    made.fit(rows, torch.tensor(Y), callbacks=arm(), **PLAIN)
    made.evaluate(rows, torch.tensor(Y), verbose=0)
    del made, rows
    gc.collect()
    assert [one() for one in kept] == [None, None]


class Losses(keras.callbacks.Callback):
    """The validation of each epoch is made to be as good as this."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["val_loss"] = [3.0, 1.0, 2.0, 2.5][epoch]


@pytest.mark.parametrize("epochs", [9, 3])
def test_what_follows_a_fit_is_of_the_epoch_whose_weights_were_put_back(store, arm, tmp_path, epochs):
    stopper = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    made, data = net(), PLAIN | {"validation_data": (X, Y), "epochs": epochs}
    made.fit(X, Y, callbacks=[*arm(), Losses(), stopper], **data)
    made.save(tmp_path / "best.keras")
    made.evaluate(X, Y, verbose=0)
    run = only_run()
    stopped = run.config["stopped"]
    assert (stopped["restored_epoch"], stopped["step"]) == (1, 4 * min(epochs, 4))
    assert [(one.step, one.epoch) for one in run.checkpoints] == [(8, 1)]
    assert [step for step, _ in points(run, "test_loss")] == [8]


def test_a_fit_that_was_broken_off_has_put_no_weights_back(store, arm):
    class Boom(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                raise ValueError("out of luck")

    stopper = keras.callbacks.EarlyStopping(restore_best_weights=True, patience=5)
    made, data = net(), PLAIN | {"validation_data": (X, Y), "epochs": 4}
    with pytest.raises(ValueError, match="luck"):
        made.fit(X, Y, callbacks=[*arm(), Losses(), stopper, Boom()], **data)
    made.evaluate(X, Y, verbose=0)
    assert "restored_epoch" not in only_run().config["stopped"]
    assert [step for step, _ in points(only_run(), "test_loss")] == [12]


def test_what_is_called_best_was_saved_there_and_had_that_value(store, arm, tmp_path):
    keep = keras.callbacks.ModelCheckpoint(str(tmp_path / "f{epoch:02d}.keras"), "loss", save_best_only=True)
    losses = net().fit(X, Y, callbacks=[*arm(), keep], **PLAIN).history["loss"]
    epoch = losses.index(min(losses))
    saved = {"epoch": epoch, "checkpoint": str(tmp_path / f"f{epoch + 1:02d}.keras")}
    assert only_run().config["best"] == {"metric": "loss", "value": losses[epoch], **saved}


def test_a_checkpoint_that_was_never_good_enough_to_be_saved_is_not_called_best(store, arm, tmp_path):
    never = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "never.keras"), "loss", save_best_only=True, initial_value_threshold=1e-9
    )
    net().fit(X, Y, callbacks=[*arm(), never], **PLAIN)
    assert "best" not in only_run().config


def test_each_callback_tells_its_best_and_those_that_agree_tell_it_once(store, arm, tmp_path):
    stopper = keras.callbacks.EarlyStopping("loss")
    places = {metric: str(tmp_path / f"{metric}.keras") for metric in ("loss", "mae")}
    keep = [
        keras.callbacks.ModelCheckpoint(path, metric, save_best_only=True, mode="min")
        for metric, path in places.items()
    ]
    history = net(rate=0.01, metrics=["mae"]).fit(X, Y, callbacks=[*arm(), stopper, *keep], **PLAIN).history
    assert only_run().config["best"] == [
        {
            "metric": metric,
            "value": min(history[metric]),
            "epoch": history[metric].index(min(history[metric])),
            "checkpoint": path,
        }
        for metric, path in places.items()
    ]


def test_the_name_that_keras_gives_an_optimizer_is_none_of_its_settings_and_one_of_the_users_own_is(
    store, arm
):
    for optimizer in ("adam", "adam", keras.optimizers.Adam(name="mine")):
        net(optimizer=optimizer).fit(X, Y, callbacks=arm(), **PLAIN)
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.RMSprop())
    net(optimizer=scaled).fit(X, Y, callbacks=arm(), **PLAIN)
    first, second, mine, last = (run.config["optimizer"] for run in autotrack.runs(order_by="created"))
    assert "name" not in first
    assert first == second
    assert mine == first | {"name": "mine", "learning_rate": mine["learning_rate"]}
    assert (last["class"], last["inner_optimizer"]["class"]) == ("LossScaleOptimizer", "RMSprop")
    assert "name" not in last
    assert "name" not in last["inner_optimizer"]


class Adversaries(keras.Model):
    """Two parts, each with an optimizer of its own, as keras.io has its GANs."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.discriminator = keras.layers.Dense(4), keras.layers.Dense(1)
        self.turns = 0

    def call(self, x: Any) -> Any:
        return self.discriminator(self.generator(x))

    def compile(self, d_optimizer: Any, g_optimizer: Any, **settings: Any) -> None:
        super().compile(**settings)
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer

    def train_step(self, data: Any) -> Any:
        x, y = data
        self.turns += 1
        pairs = [(self.d_optimizer, self.discriminator), (self.g_optimizer, self.generator)]
        if self.turns > 2 and self.with_the_third:
            pairs.append((self.optimizer, self))
        for optimizer, part in pairs:
            self.zero_grad()
            loss = keras.ops.mean((self(x) - y) ** 2)
            loss.backward()
            with torch.no_grad():
                optimizer.apply([one.value.grad for one in part.trainable_weights], part.trainable_weights)
        return {"loss": loss}


@pytest.mark.parametrize("with_the_third", [False, True])
def test_the_optimizers_of_the_users_own_are_known_and_the_one_of_compile_only_once_it_makes_steps(
    store, arm, with_the_third
):
    made = Adversaries()
    made.with_the_third = with_the_third
    apply = keras.src.optimizers.base_optimizer.BaseOptimizer.apply
    given = {} if not with_the_third else {"optimizer": keras.optimizers.SGD(0.0625)}
    made.compile(keras.optimizers.Adam(0.5), keras.optimizers.SGD(0.25), **given)
    made.fit(X, Y, callbacks=arm(), **PLAIN)
    run = only_run()
    others = run.config["optimizers"]
    assert {name: (one["class"], one["learning_rate"]) for name, one in others.items()} == {
        "d_optimizer": ("Adam", 0.5),
        "g_optimizer": ("SGD", 0.25),
    }
    skipped = [row["why"] for row in run.capture_report if row["what"] == "auto/lr"]
    if with_the_third:
        assert points(run, "auto/lr") == [(3, 0.0625)]
        assert (run.config["optimizer"]["class"], skipped) == ("SGD", [])
    else:
        assert "auto/lr" not in run.metrics
        assert "optimizer" not in run.config
        assert skipped == ["the train_step of the model made no step with the optimizer of compile()"]
    assert keras.src.optimizers.base_optimizer.BaseOptimizer.apply is apply
