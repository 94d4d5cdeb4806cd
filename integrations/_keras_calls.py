"""How Keras's `fit`, `evaluate` and `predict` are given a callback, in a copy of what the user gave them; and how they are called."""

import sys
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from autotrack.callback import AutoTrack
from autotrack.guard import shielded
from autotrack.patcher import Call

Hooks = dict[str, Callable[..., None]]


def listener(hooks: Hooks) -> Any:
    """A Keras callback that hands its hooks to these functions; the others keep Keras's default."""
    base = sys.modules["keras.src.callbacks.callback"].Callback
    # Keras's defaults of these two call a second method each, at every batch.
    methods: dict[str, Any] = {"on_train_batch_begin": _nothing, "on_train_batch_end": _nothing} | {
        name: shielded(f"the keras hook {name}", wanted) for name, wanted in hooks.items()
    }
    own = {name: staticmethod(method) for name, method in methods.items()}
    return type("AutoTrackListener", (base,), own | {"async_safe": True})()


def _nothing(batch: int, logs: Any = None) -> None:
    """What a hook does that nobody waits for."""


def with_hooks(callbacks: Any, model: Any, first: Hooks, last: Hooks) -> Any:
    """New callbacks: the user's own, with ours before and behind them, and without each AutoTrack, whose work they do."""
    before, behind = ([listener(hooks)] if hooks else [] for hooks in (first, last))
    if callbacks is None:
        return [*before, *behind]
    if isinstance(callbacks, list | tuple):
        return [*before, *_theirs(callbacks), *behind]
    if isinstance(getattr(callbacks, "callbacks", None), list):
        for one in (*before, *behind):
            one.set_model(model)
            one.set_params(callbacks.params)
        return _twin(callbacks, lambda theirs: [*before, *_theirs(theirs), *behind])
    # Only in a list or a tuple does Keras look for callbacks that cannot be called from other threads.
    names = iter("012")
    return {next(names): one for one in (*before, *_theirs([callbacks]), *behind)}


def _twin(callbacks: Any, around: Callable[[list[Any]], list[Any]]) -> Any:
    """A `CallbackList` that shares all of its state with the user's, so that theirs is afterwards as without us; only the
    callbacks in it are others."""
    inside = around(callbacks.callbacks)

    def put(twin: Any, theirs: list[Any]) -> None:
        vars(twin)["callbacks"] = theirs
        inside[:] = around(theirs)

    kind = type(callbacks)
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    twin: Any = object.__new__(
        type(kind.__name__, (kind,), names | {"callbacks": property(lambda _: inside, put)})
    )
    twin.__dict__ = vars(callbacks)
    return twin


def _theirs(callbacks: Iterable[Any]) -> list[Any]:
    return [one for one in callbacks if not isinstance(one, AutoTrack) or one.extended]


def flat(callbacks: Any) -> list[Any]:
    """The callbacks in what the user gave, in a new list."""
    inner = getattr(callbacks, "callbacks", callbacks)
    if isinstance(inner, list | tuple):
        return list(inner)
    return list(inner.values()) if isinstance(inner, dict) else [] if inner is None else [inner]


@cache
def _parameters(method: str) -> dict[str, Any]:
    """Names and defaults, of Keras's own method: the user's may be a subclass's with other ones."""
    import inspect

    found = inspect.signature(getattr(sys.modules["keras.src.models.model"].Model, method)).parameters
    return {name: one.default for name, one in found.items()}


def arguments_of(method: str, call: Call) -> dict[str, Any]:
    """All arguments but the model, by name, those left out with their defaults."""
    parameters = _parameters(method)
    given = dict(zip(parameters, call.args, strict=False)) | call.kwargs
    found = {name: given.get(name, default) for name, default in parameters.items()} | call.kwargs
    return {name: value for name, value in found.items() if name not in ("self", "callbacks", "kwargs")}


def callbacks_of(method: str, call: Call) -> Any:
    """What was given as `callbacks`."""
    return (dict(zip(_parameters(method), call.args, strict=False)) | call.kwargs).get("callbacks")


def put_callbacks(call: Call, method: str, callbacks: Any) -> None:
    """Let the call have these callbacks."""
    place = list(_parameters(method)).index("callbacks")
    if place < len(call.args):
        call.args = (*call.args[:place], callbacks, *call.args[place + 1 :])
    else:
        call.kwargs = {**call.kwargs, "callbacks": callbacks}


class Inner:
    """The function under the shell that Keras puts around a method to shorten tracebacks, as an attribute to be replaced.

    `model.fit(…, callbacks=[AutoTrack()])` has looked up the shell before the first AutoTrack is made: what is put into the
    place of `Model.fit` then comes too late for this call, what is put under the shell does not.
    """

    def __init__(self, name: str, cell: Any) -> None:
        vars(self)["_cell"] = cell
        vars(self)[name] = cell.cell_contents

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self)[name] = value
        vars(self)["_cell"].cell_contents = value


def inner_of(owner: Any, name: str) -> Inner | None:
    """The inner function of `owner.name`; None where Keras has put no shell around it that is known here."""
    shell = getattr(owner, name)
    code, cells = getattr(shell, "__code__", None), getattr(shell, "__closure__", None)
    if code is None or not cells or "fn" not in code.co_freevars:
        return None
    cell = cells[code.co_freevars.index("fn")]
    function = getattr(shell, "__wrapped__", None)
    return Inner(name, cell) if function is not None and cell.cell_contents is function else None
