"""The learning rate that each step of a Keras fit uses.

A plain rate is a variable. On torch its tensor says by its version whether it has changed. On JAX the steps hand their state on
to each other, and the variable is empty, until a callback asks for the model: that puts the state back, and what is set from then on
counts for the next step; what is set without that is lost. So it is read before the steps that take the state from the model, and
only where it is not what the step before has put there. A schedule of
Keras's own is a formula of the number of steps: it is worked out here in plain numbers, because Keras's operations cost a
hundred times as much, and compile first on JAX. They differ by the rounding of 32-bit numbers. A schedule or function of the
user's own is never called: it may count, or draw random numbers. We hear which rate Keras hands to the update of the weights;
where a step is compiled (as a rule on JAX, with `jit_compile` on torch) that is a symbol, and the run's capture report says
that there is no rate.
"""

from collections.abc import Callable
from math import ceil, cos, floor, log, pi
from numbers import Number
from typing import Any
from weakref import ref

from autotrack import background
from autotrack.guard import reason
from autotrack.late import report
from autotrack.patcher import Patcher
from autotrack.run import Run

_OURS = "keras.src.optimizers.schedules."
_COMPILED = (
    "it is no formula of Keras's own in plain numbers, and is worked out inside of a compiled step, where its value is not to be had; "
    "it is not called a second time for the record"
)
_SEVERAL = "each of several optimizers has a rate of its own"
_UNUSED = "the train_step of the model made no step with the optimizer of compile()"
_UPDATE = "_backend_update_step"
"""`optimizer._backend_update_step(gradients, variables, learning_rate)`, which every step goes through."""

Formula = Callable[[Any, float], float]


class Rates:
    """`auto/lr` of a fit: handed out with the first step, and whenever it has changed."""

    def __init__(self) -> None:
        self.variable: Any = None
        """What holds the rate, where every step has to be asked whether it has changed."""
        self.formula: Callable[[float], float] | None = None
        self.changes: dict[int, Any] = {}
        """By step of the epoch: the rates that have not been taken."""
        self.batch = -1
        """The step of the epoch that was begun last."""
        self.idle = False
        """Whether a `train_step` of the user's own has made no step with the optimizer so far: then it has no rate."""
        self._why_not: str | None = None
        self._reported: str | None = None
        self._iterations = self._done = 0
        self._model: Any = lambda: None
        self._tensor: Any = None
        self._version = -1
        self._epochs = 0
        self._last: Any = None
        self._heard: Any = lambda: None
        self._patcher = Patcher()
        self._steps = Patcher()
        self._awaited: Any = None

    def begin_epoch(self, model: Any, done: int = 0, *, own_step: bool = False) -> None:
        """An epoch begins, and every callback has set what it sets.

        `done`: the steps of it that are made, by `train_on_batch`, which puts the state back each time. `own_step`: a batch may be
        any number of steps of the optimizer.
        """
        self._epochs += 1
        self._model = (lambda: None) if done else ref(model)
        compiled = bool(getattr(model, "_jit_compile", False))
        optimizer = getattr(model, "optimizer", None)
        inner = getattr(
            optimizer, "inner_optimizer", None
        )  # steps are left out where a scaled loss is not finite
        optimizer, regular = inner or optimizer, not own_step and inner is None
        if own_step and self._awaited is None:
            self._await_step(optimizer, compiled)
        several = hasattr(optimizer, "_inner_optimizers")  # and a rate of its own that nobody uses
        rate: Any = None if several else getattr(optimizer, "_learning_rate", None)
        self.formula = self.variable = None
        self.changes = {}
        self._why_not = _SEVERAL if several else None
        if hasattr(rate, "assign"):
            self.variable = rate
            self.before(0)
        elif isinstance(rate, float):
            self.changes[0] = rate
        elif callable(rate):
            tensor: Any = getattr(getattr(optimizer, "_iterations", None), "_value", None)
            formula = formula_of(rate)
            heard = not compiled and (hasattr(tensor, "_version") or hasattr(tensor, "is_ready"))
            if not heard or (regular and getattr(tensor, "is_cpu", True)):
                self._count(optimizer, formula, done)
            if heard and self.formula is None:
                self._listen(optimizer)
            elif formula is None:
                self._why_not = _COMPILED

    def before(self, batch: int) -> None:
        """With a `variable`: a batch is about to be trained. The value of a tensor on an accelerator is not waited for."""
        tensor = self.variable._value
        if tensor is None:
            return
        version = getattr(tensor, "_version", self._epochs)
        if (tensor is not self._tensor or version != self._version) and not self._handed_on(tensor):
            self._tensor, self._version = tensor, version
            self.changes[batch] = reason(_kept, tensor)[0]

    def _handed_on(self, array: Any) -> bool:
        """Whether the next step on JAX has the rate of the step before: its state is with the trainer, or came back as it was."""
        model = self._model()
        if not getattr(model, "_jax_state_synced", True):
            return True
        state = (getattr(model, "_jax_state", None) or {}).get("optimizer_variables") or ()
        return self._tensor is not None and any(array is one for one in state)

    def take(self, first: int, after: int, values: dict[str, Any]) -> None:
        """With a `formula` or `changes`: put the rate of the steps from `first` to `after` (excluded) of the epoch into their
        values, if it is new."""
        if self.idle:
            if first in self.changes:
                self.changes.setdefault(after, self.changes.pop(first))
            return
        if self.formula is not None:
            rate: Any = self.formula(self._iterations + after - 1)
            self._done = after
        else:
            rate = self.changes.pop(first, None)
        if rate is not None and (type(rate) is not float or rate != self._last):
            values["auto/lr"] = self._last = rate

    def report(self, run: Run) -> None:
        """Where there is no rate, the run's capture report says why."""
        if self._why_not is not None and self._why_not != self._reported:
            background.submit(report, run, "auto/lr", "skipped", self._why_not)
        self._reported = self._why_not

    def close(self, run: Run | None) -> None:
        """The training is over."""
        self._patcher.restore()
        self._steps.restore()
        if self.idle and run is not None:
            self._why_not = _UNUSED
            self.report(run)

    def _count(self, optimizer: Any, formula: Callable[[float], float] | None, done: int) -> None:
        """Follow a formula from the step on that the optimizer has reached; one that may not be read is reckoned on."""
        made = None if formula is None else reached(getattr(optimizer, "_iterations", None))
        if made is not None:
            self._iterations = made - done
        elif self._done:
            self._iterations += self._done
        else:
            return
        self._done = 0
        self.formula = formula

    def _await_step(self, optimizer: Any, compiled: bool) -> None:
        """Until this optimizer has made a step it is idle. On JAX a step is heard when it is compiled."""
        iterations = getattr(optimizer, "_iterations", None)
        unheard = compiled and hasattr(getattr(iterations, "_value", None), "_version")
        owner = _owner_of(optimizer, "apply")
        if owner is None or unheard or reached(iterations):
            return
        self.idle, self._awaited = True, ref(optimizer)
        self._steps.listen(owner, "apply", self._stepped)

    def _stepped(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if self.idle and args[0] is self._awaited():
            self.idle = False

    def _listen(self, optimizer: Any) -> None:
        """Hear the rates that this optimizer uses, until the training is over."""
        if self._heard() is optimizer:
            return
        self._patcher.restore()
        owner = _owner_of(optimizer, _UPDATE)
        if owner is not None:
            self._heard, self._patcher = ref(optimizer), Patcher()
            self._patcher.listen(owner, _UPDATE, self._used)

    def _used(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if self.formula is None and args[0] is self._heard():
            rate = args[3] if len(args) > 3 else kwargs["learning_rate"]
            self.changes[self.batch] = reason(_plain, getattr(rate, "value", rate))[0]


def _owner_of(optimizer: Any, name: str) -> Any:
    """Keras's class that an optimizer has this method of."""
    kinds = [kind for kind in type(optimizer).__mro__ if kind.__module__.startswith("keras.src.")]
    return next((kind for kind in kinds if name in vars(kind)), None)


def _plain(rate: Any) -> Any:
    """A number; of a tensor on an accelerator, which is not waited for, a copy; an array of JAX, which never changes, as it is."""
    if hasattr(rate, "is_ready"):
        return rate
    if hasattr(rate, "is_cpu"):
        return rate.item() if rate.is_cpu else rate.detach().clone()
    return float(rate)


def _kept(rate: Any) -> Any:
    """`_plain`, of an array that a step on JAX is about to take for itself."""
    if not hasattr(rate, "is_ready"):
        return _plain(rate)
    return float(rate) if rate.is_ready() else rate.copy()


def reached(iterations: Any) -> int | None:
    """How many steps an optimizer has made; None where a device would have to be waited for."""
    value = getattr(iterations, "_value", None)
    ready = getattr(value, "is_ready", None)
    if not getattr(value, "is_cpu", True) or (ready is not None and not ready()):
        return None
    return reason(int, iterations)[0]


def formula_of(schedule: Any) -> Callable[[float], float] | None:
    """A schedule of Keras's own, made of plain numbers, as a function of the number of steps made before; None for any other."""
    kind = type(schedule)
    formula = _FORMULAS.get(kind.__name__) if kind.__module__.startswith(_OURS) else None
    if formula is None or not all(map(_is_plain, vars(schedule).values())):
        return None
    return lambda step: formula(schedule, step)


def _is_plain(setting: Any) -> bool:
    if isinstance(setting, list | tuple):
        return all(map(_is_plain, setting))
    return setting is None or isinstance(setting, str | Number)


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
