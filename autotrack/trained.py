"""Which run an object was trained in, as long as it lives: what is saved of it behind its training belongs there.

A model is known by itself, and by its weights: `model.state_dict()` holds tensors that lie where the model's lie.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from autotrack.callback import ByIdentity
from autotrack.guard import attempt

if TYPE_CHECKING:
    from autotrack.run import Run

_TENSORS = 64
"""So many of what is saved are looked at."""

_runs: "ByIdentity[Run]" = ByIdentity()


def trained(model: Any, run: "Run") -> None:
    """A model, or any other estimator, is trained in a run: the last one counts."""
    _runs.set(model, run)


def run_of(value: Any) -> "Run | None":
    """The run in which this was trained, or the one thing of those in it that was, or the model whose weights it holds.

    None of what is not known, and of what was trained in several runs.
    """
    known = _runs.get(value)
    if known is None and isinstance(value, Mapping | list | tuple):
        found: Run | None = attempt("looking up whose model is saved", _run_of_parts, value)
        return found
    return known


def _run_of_parts(value: Mapping[Any, Any] | list[Any] | tuple[Any, ...]) -> "Run | None":
    parts = islice(value.values() if isinstance(value, Mapping) else value, _TENSORS)
    found = {run.id: run for run in map(_runs.get, parts) if run is not None}
    if found:
        return next(iter(found.values())) if len(found) == 1 else None
    return _run_of_weights(value) if isinstance(value, Mapping) else None


def _run_of_weights(values: Mapping[Any, Any]) -> "Run | None":
    places = set(islice(_places(values), _TENSORS))
    for model, run in _runs.living() if places else ():
        if hasattr(model, "parameters") and any(weight.data_ptr() in places for weight in model.parameters()):
            return run
    return None


def _places(values: Mapping[Any, Any], deeper: bool = True) -> Iterator[int]:
    """Where tensors lie in memory, also those of a dict in it: `{"model": model.state_dict(), "epoch": 3}`."""
    for value in values.values():
        if hasattr(value, "data_ptr"):
            place = value.data_ptr()
            if place:
                yield place
        elif deeper and isinstance(value, Mapping):
            yield from _places(value, deeper=False)
