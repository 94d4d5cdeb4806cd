"""Scalars of torch, JAX and ml_dtypes: logged as they are, read back as their numbers; the rest is refused by name."""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch

import autotrack
from autotrack import AutotrackWarning, background

SCALARS: list[tuple[str, Callable[[], Any], float]] = [
    ("loss with a graph", lambda: torch.tensor(3.0, requires_grad=True) * 0.5, 1.5),
    ("parameter", lambda: torch.nn.Parameter(torch.tensor(2.0)), 2.0),
    ("bfloat16", lambda: torch.tensor(1.5, dtype=torch.bfloat16), 1.5),
    ("float16", lambda: torch.tensor(0.1, dtype=torch.float16), 0.0999755859375),
    ("float64", lambda: torch.tensor(0.1, dtype=torch.float64), 0.1),
    ("int64", lambda: torch.tensor(2**62 + 1), float(2**62 + 1)),
    ("uint8", lambda: torch.tensor(255, dtype=torch.uint8), 255.0),
    ("bool", lambda: torch.tensor(True), 1.0),
    ("nan", lambda: torch.tensor(float("nan")), float("nan")),
    ("-inf", lambda: torch.tensor(float("-inf")), float("-inf")),
    ("indexed", lambda: torch.arange(4.0)[2], 2.0),
    ("jax float32", lambda: jnp.float32(0.1), 0.10000000149011612),
    ("jax bfloat16", lambda: jnp.bfloat16(1.5), 1.5),
    ("jax int32", lambda: jnp.int32(-7), -7.0),
    ("jax bool", lambda: jnp.array(True), 1.0),
    ("jax mean", lambda: jnp.arange(4.0).mean(), 1.5),
    ("ml_dtypes bfloat16", lambda: ml_dtypes.bfloat16(1.5), 1.5),
    ("ml_dtypes float8", lambda: ml_dtypes.float8_e4m3fn(0.5), 0.5),
    ("0-d array of bfloat16", lambda: np.array(1.5, ml_dtypes.bfloat16), 1.5),
]


def test_scalars_come_back_as_their_numbers(store: Path) -> None:
    made = {name: make() for name, make, _ in SCALARS}
    with autotrack.init(project="p") as run:
        run.log(made, step=3)
    record = autotrack.get_run(run.id)
    history = record.history()
    for name, _, expected in SCALARS:
        assert np.array_equal(history[name].values, [expected], equal_nan=True), name
        assert history[name].steps.tolist() == [3], name
    assert made["loss with a graph"].requires_grad
    assert made["loss with a graph"].grad_fn is not None


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.tensor(1j),
        lambda: torch.tensor([1.0]),
        lambda: torch.zeros(2, 2),
        lambda: torch.empty((), device="meta"),
        lambda: jnp.array(1j),
        lambda: jnp.zeros(1),
    ],
)
def test_what_is_not_one_number_is_refused_by_its_name(store: Path, make: Callable[[], Any]) -> None:
    run = autotrack.init(project="p")

    def log_twice() -> None:
        for number in (1.0, 2.0):
            run.log({"bad": make(), "good": number})
            background.drain(60)

    with pytest.warns(AutotrackWarning, match="'bad'") as told:
        log_twice()
    run.finish()
    assert len(told) == 1
    assert autotrack.get_run(run.id).history()["good"].values.tolist() == [1.0, 2.0]


def test_a_tensor_that_is_changed_later_is_logged_as_it_was(store: Path) -> None:
    loss = torch.tensor(1.0)
    with autotrack.init(project="p") as run:
        run.log({"loss": loss})
        loss += 1
        run.log({"loss": loss})
    assert autotrack.get_run(run.id).history()["loss"].values.tolist() == [1.0, 2.0]


class Event:
    """What an accelerator's module calls an event; done when the test says so."""

    done = False
    recorded = 0

    def record(self) -> None:
        Event.recorded += 1

    def query(self) -> bool:
        return Event.done


class OnDevice(torch.Tensor):
    """A scalar on an accelerator that cannot be had here: reading it waits, a copy to the host arrives later."""

    @property
    def device(self) -> torch.device:
        return torch.device("privateuseone")

    def item(self) -> float:
        raise AssertionError("the device was waited for")

    def detach(self) -> "OnDevice":
        return self

    def to(self, place: str, non_blocking: bool = False) -> torch.Tensor:
        assert (place, non_blocking) == ("cpu", True)
        host = torch.full((), -1.0)
        arriving.append((host, float(self.as_subclass(torch.Tensor))))
        return host


arriving: list[tuple[torch.Tensor, float]] = []


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """An accelerator; what it was given is done when the returned function is called."""
    monkeypatch.setattr(torch, "privateuseone", SimpleNamespace(Event=Event), raising=False)
    Event.done, Event.recorded = False, 0

    def finish() -> None:
        for host, value in arriving:
            host.fill_(value)
        arriving.clear()
        Event.done = True

    return finish


def on_device(value: float) -> torch.Tensor:
    return torch.tensor(value).as_subclass(OnDevice)


def test_nobody_waits_for_an_accelerator_and_its_scalars_come_in_order(
    store: Path, accelerator: Callable[[], None]
) -> None:
    run = autotrack.init(project="p")
    for step in range(3):
        run.log({"loss": on_device(step / 2), "norm": on_device(step), "lr": 0.1}, step=step)
    assert Event.recorded == 3
    assert not background.drain(0.05)
    assert set(autotrack.get_run(run.id).summary) == {"lr"}
    accelerator()
    run.finish()
    history = autotrack.get_run(run.id).history()
    assert history["loss"].values.tolist() == [0.0, 0.5, 1.0]
    assert history["norm"].steps.tolist() == [0, 1, 2]


def test_what_was_logged_before_an_error_is_there(store: Path, accelerator: Callable[[], None]) -> None:
    def train() -> None:
        with autotrack.init(project="p") as run:
            run.log({"loss": on_device(0.5)}, step=0)
            accelerator()
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        train()
    (run,) = autotrack.runs()
    assert (run.status, run.summary["loss"]) == ("failed", 0.5)


def test_the_journal_is_synced_while_a_device_is_busy(store: Path, accelerator: Callable[[], None]) -> None:
    run = autotrack.init(project="p")
    called: list[float] = []
    task = background.every(0.02, lambda: called.append(1.0))
    run.log({"loss": on_device(0.5)}, step=0)
    until = time.monotonic() + 20
    while len(called) < 4:
        assert time.monotonic() < until
        time.sleep(0.02)
    task.cancel()
    accelerator()
    run.finish()
    assert run.summary["loss"] == 0.5
