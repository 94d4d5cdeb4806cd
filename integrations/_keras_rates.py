"""The learning rate that each step of a Keras fit uses.

A plain rate is a variable: it is read before a step where its value lies in a tensor that says by its version whether it has
changed (torch), elsewhere at the beginning of each epoch, because JAX has taken it away until the epoch's end. A schedule of
Keras's own is a formula of the number of steps: it is worked out here in plain numbers, because Keras's operations cost a
hundred times as much, and compile first on JAX. They differ by the rounding of 32-bit numbers. A schedule of the user's own is
asked once an epoch, and a copy of it, so that whatever it counts stays right. A function is not called.
"""

from collections.abc import Callable
from copy import deepcopy
from math import ceil, cos, floor, log, pi
from typing import Any

from autotrack.guard import reason

_OURS = "keras.src.optimizers.schedules."

Formula = Callable[[Any, float], float]


class Rates:
    """`auto/lr` of a fit: handed out with the first step, and whenever it has changed."""

    def __init__(self) -> None:
        self.variable: Any = None
        """What holds the rate, where every step has to be asked whether it has changed."""
        self.formula: Callable[[float], float] | None = None
        self.changes: dict[int, Any] = {}
        """By step of the epoch: the rates that have not been taken."""
        self._iterations = 0
        self._tensor: Any = None
        self._version = -1
        self._last: Any = None

    def begin_epoch(self, optimizer: Any, done: int = 0) -> None:
        """An epoch begins, of which `done` steps are made, and every callback has set what it sets."""
        optimizer = getattr(optimizer, "inner_optimizer", None) or optimizer
        rate: Any = getattr(optimizer, "_learning_rate", None)
        self.formula = self.variable = self._tensor = None
        self.changes = {}
        if hasattr(rate, "assign"):
            if hasattr(getattr(rate, "_value", None), "_version"):
                self.variable = rate
                self.before(0)
            else:
                self.changes[0] = reason(float, rate)[0]
        elif hasattr(type(rate), "get_config"):
            self._begin_schedule(rate, getattr(optimizer, "_iterations", None), done)
        elif isinstance(rate, float):
            self.changes[0] = rate

    def before(self, batch: int) -> None:
        """With a `variable`: a batch is about to be trained. The value of a tensor on an accelerator is not waited for."""
        tensor = self.variable._value
        version = tensor._version
        if tensor is not self._tensor or version != self._version:
            self._tensor, self._version = tensor, version
            self.changes[batch] = tensor.item() if tensor.is_cpu else tensor.detach().clone()

    def take(self, first: int, after: int, values: dict[str, Any]) -> None:
        """With a `formula` or `changes`: put the rate of the steps from `first` to `after` (excluded) of the epoch into their
        values, if it is new."""
        if self.formula is not None:
            rate: Any = self.formula(self._iterations + after - 1)
        else:
            rate = self.changes.pop(first, None)
        if rate is not None and (type(rate) is not float or rate != self._last):
            values["auto/lr"] = self._last = rate

    def _begin_schedule(self, schedule: Any, iterations: Any, done: int) -> None:
        self._iterations = (reason(int, iterations)[0] or 0) - done
        self.formula = formula_of(schedule)
        if self.formula is None:
            self.changes[0] = reason(lambda: float(deepcopy(schedule)(iterations)))[0]


def formula_of(schedule: Any) -> Callable[[float], float] | None:
    """A schedule of Keras's own as a function of the number of steps made before; None for any other."""
    kind = type(schedule)
    formula = _FORMULAS.get(kind.__name__) if kind.__module__.startswith(_OURS) else None
    return None if formula is None else lambda step: formula(schedule, step)


def _exponential(its: Any, step: float) -> float:
    part = step / its.decay_steps
    return float(its.initial_learning_rate * its.decay_rate ** (floor(part) if its.staircase else part))


def _inverse_time(its: Any, step: float) -> float:
    part = step / its.decay_steps
    return float(its.initial_learning_rate / (1 + its.decay_rate * (floor(part) if its.staircase else part)))


def _piecewise(its: Any, step: float) -> float:
    for boundary, value in zip(its.boundaries, its.values, strict=False):
        if step <= boundary:
            return float(value)
    return float(its.values[-1])


def _polynomial(its: Any, step: float) -> float:
    steps = its.decay_steps
    if its.cycle:
        steps *= ceil(step / steps) or 1
    part = min(step, steps) / steps
    end = its.end_learning_rate
    return float((its.initial_learning_rate - end) * (1 - part) ** its.power + end)


def _cosine(its: Any, step: float) -> float:
    start, steps = its.initial_learning_rate, its.decay_steps
    if its.warmup_target is not None:
        if step < its.warmup_steps:
            return float(start + (its.warmup_target - start) * step / its.warmup_steps)
        start, step = its.warmup_target, step - its.warmup_steps
    wave = 0.5 * (1 + cos(pi * min(step, steps) / steps))
    return float(start * ((1 - its.alpha) * wave + its.alpha))


def _cosine_restarts(its: Any, step: float) -> float:
    part, times = step / its.first_decay_steps, its._t_mul
    if times == 1:
        restarts = floor(part)
        part -= restarts
    else:
        restarts = floor(log(1 - part * (1 - times)) / log(times))
        part = (part - (1 - times**restarts) / (1 - times)) / times**restarts
    wave = 0.5 * its._m_mul**restarts * (1 + cos(pi * part))
    return float(its.initial_learning_rate * ((1 - its.alpha) * wave + its.alpha))


_FORMULAS: dict[str, Formula] = {
    "ExponentialDecay": _exponential,
    "InverseTimeDecay": _inverse_time,
    "PiecewiseConstantDecay": _piecewise,
    "PolynomialDecay": _polynomial,
    "CosineDecay": _cosine,
    "CosineDecayRestarts": _cosine_restarts,
}
