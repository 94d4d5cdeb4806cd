"""Keras on JAX, whose trainer keeps the state of model and optimizer to itself during an epoch."""

from pathlib import Path

from python_process import python

FRAMEWORK = "keras"

BEGINNING = """
import numpy as np
import autotrack
import autotrack.background
autotrack.autolog()
import keras
assert keras.backend.backend() == "jax"

def last():
    autotrack.background.drain(60)  # the helper thread writes what was skipped, and why
    return autotrack.runs(order_by="-created")[0]

def points(run, key):
    found = run.history(keys=[key])[key]
    return dict(sorted(zip(found.steps.tolist(), found.values.tolist())))  # worker threads tell of two batches in any order
"""

RATES = """
class Weight(keras.layers.Layer):
    def build(self, shape):
        self.weight = self.add_weight(shape=(1,), initializer="ones")
    def call(self, x):
        return x * 0 + self.weight

x = np.zeros((32, 1), "float32")

def falls(callback, **settings):  # the gradient is 1: each step takes its rate off the weight, which is the loss
    optimizer = keras.optimizers.SGD(0.5)
    model = keras.Sequential([keras.Input((1,)), Weight()])
    model.compile(optimizer, lambda y, found: keras.ops.mean(found, axis=-1), **settings)
    model.fit(x, x, batch_size=8, epochs=2, verbose=0, callbacks=[callback(optimizer)])
    losses = [*points(last(), "auto/loss").values(), float(model.get_weights()[0][0])]
    return [before - after for before, after in zip(losses, losses[1:])]

def used():
    told, rates, rate = points(last(), "auto/lr"), [], None
    for step in range(1, 9):
        rate = told.get(step, rate)
        rates.append(rate)
    return rates

class Callback(keras.callbacks.Callback):
    async_safe = False
    def __init__(self, optimizer):
        super().__init__()
        self.held, self.made = optimizer, 0
    def rate(self):
        self.made += 1
        return 0.001 * self.made

class AtTheBeginning(Callback):
    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = self.rate()

class AtTheEnd(Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.optimizer.learning_rate.assign(self.rate())

class Halved(Callback):
    def on_train_batch_begin(self, batch, logs=None):
        optimizer = self.model.optimizer
        optimizer.learning_rate = optimizer.learning_rate * 0.5

class Lost(Callback):  # but for the first of an epoch, whose state is with the model yet
    def on_train_batch_begin(self, batch, logs=None):
        self.held.learning_rate = self.rate()

class OnlyAsked(Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.optimizer

for kind in (AtTheBeginning, AtTheEnd, Halved, Lost, OnlyAsked):
    for settings in ({}, {"run_eagerly": True}):
        true = falls(kind, **settings)
        assert np.allclose(used(), true, rtol=1e-3, atol=1e-6), (kind, settings, used(), true)
assert points(last(), "auto/lr") == {1: 0.5}
assert len({round(rate, 4) for rate in falls(Lost)}) == 2

model = keras.Sequential([keras.Input((1,)), Weight()])
model.compile(keras.optimizers.SGD(0.5), "mse")
for rate in (0.5, 0.25, 0.25, 0.125):
    model.optimizer.learning_rate = rate
    model.train_on_batch(x, x)
assert points(last(), "auto/lr") == {1: 0.5, 2: 0.25, 4: 0.125}, points(last(), "auto/lr")
print("fine")
"""

OWN_STEPS = """
class Plain(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
    def call(self, x):
        return self.dense(x)
    def train_step(self, state, data):
        return super().train_step(state, data)

class Frozen(Plain):
    def train_step(self, state, data):
        trained, others, optimizer, metrics = state
        return {"loss": keras.ops.mean(data[0])}, state

x = np.ones((32, 1), "float32")
for kind, steps in ((Plain, True), (Frozen, False)):
    model = kind()
    model.compile("sgd", "mse")
    for _ in range(2):  # the second fit finds the step compiled
        model.fit(x, x, batch_size=8, epochs=2, verbose=0)
        run = last()
        skipped = [row["why"] for row in run.capture_report if row["what"] == "auto/lr"]
        assert ("auto/lr" in run.metrics, not skipped) == (steps, steps), (kind, skipped)
        assert not steps or list(points(run, "auto/lr")) == [1], points(run, "auto/lr")
print("fine")
"""


def test_an_optimizer_that_the_users_own_step_leaves_alone_has_no_rate(store: Path) -> None:
    done = python(BEGINNING + OWN_STEPS, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
    assert done.stdout.strip() == "fine", done.stderr[-3000:]


def test_the_rates_are_those_that_the_steps_use_whenever_a_callback_sets_them(store: Path) -> None:
    done = python(BEGINNING + RATES, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
    assert done.stdout.strip() == "fine", done.stderr[-3000:]
