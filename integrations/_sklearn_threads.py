"""joblib's threads: what they fit belongs to the training that started them.

A thread has context variables of its own, so that a fit in a pool's thread would look like an outermost one.
The state is remembered where `Parallel` is called, put on each batch, and taken up in the thread that runs
the batch; when joblib pickles a batch for another process it leaves it behind. Only our own variables are
carried over: to copy the whole context would change what the user's code sees.
"""

from collections.abc import Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Any, NamedTuple

from autotrack import session
from autotrack.patcher import Call, Patcher

PLACE = "_autotrack_place"

inside: ContextVar[object] = ContextVar("autotrack_sklearn_inside", default=None)
"""What scikit-learn call this context is inside of, recorded or not; None outside."""


class Place(NamedTuple):
    """Where a piece of code stands: inside which call, training and run."""

    inside: object
    training: Any
    run: Any


def here() -> Place:
    """The place of the code that calls."""
    run = session.set_current(None)
    session.set_current(run)
    return Place(inside.get(), session.training(), run)


def move(place: Place) -> Place:
    """Take up another place; the one before is returned."""
    before = Place(inside.get(), session.set_training(place.training), session.set_current(place.run))
    inside.set(place.inside)
    return before


def follow_threads(patcher: Patcher, parallel: ModuleType) -> None:
    """Watch joblib's `Parallel` and its batches."""
    patcher.observe(parallel.Parallel, "__call__", _remember)
    patcher.observe(parallel.Parallel, "_dispatch", _hand_on)
    patcher.observe(parallel.BatchedCalls, "__call__", _enter)


def _remember(call: Call) -> None:
    place = here()
    vars(call.args[0])[PLACE] = place if place.inside is not None or place.training is not None else None


def _hand_on(call: Call) -> None:
    place = vars(call.args[0]).get(PLACE)
    if place is not None:
        vars(call.args[1])[PLACE] = place


def _enter(call: Call) -> Callable[[Call], object] | None:
    place = vars(call.args[0]).get(PLACE)
    if place is None or place == here():
        return None
    before = move(place)
    return lambda _: move(before)
