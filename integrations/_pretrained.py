"""Folders that `save_pretrained` writes and `from_pretrained` reads: models of transformers, adapters of PEFT."""

import os
import sys
from collections.abc import Callable
from typing import Any

from autotrack import loads, saves
from autotrack.callback import ByIdentity
from autotrack.guard import guarded
from autotrack.integrations._by_hand import run_for
from autotrack.patcher import Call
from autotrack.run import Run

_OTHERS = "checkpoint-"
_MARK = "_is_hf_initialized"
"""What transformers sets on each weight that it has loaded, from version 5 on."""
_FROM_5_ON = "transformers.core_model_loading"

_known: ByIdentity[bool] = ByIdentity()
"""The models that were trained before: what they were loaded from is not what they are now."""


def load(call: Call) -> Callable[[Call], None] | None:
    """`Model.from_pretrained(pretrained_model_name_or_path, …)`, or `load_adapter(model_id, …)` of PEFT, where that is a folder."""
    named = call.kwargs.get("pretrained_model_name_or_path", call.kwargs.get("model_id"))
    path = call.args[1] if len(call.args) > 1 else named
    if not isinstance(path, (str, os.PathLike)) or not os.path.isdir(path):
        return None
    release = loads.loading(path)
    return lambda call: release()


def folders_of(model: Any) -> set[str]:
    """The folders that the weights of a model were read from, as each model of transformers in it says: `name_or_path`.

    One that was made of a configuration alone says so, too, but no weight of it is marked as loaded; before version 5 none is, and
    one that was loaded is not in training mode.
    """
    found: set[str] = set()
    with guarded("asking a model what it was loaded from"):
        for part in model.modules() if _is_new(model) else ():
            name = vars(part).get("name_or_path")
            if isinstance(name, str) and name and os.path.isdir(name) and _has_loaded_weights(part):
                found.add(name)
    return found


def begin(run: Run, model: Any, folders: set[str]) -> None:
    """A training of a model begins in a run: what its weights were read from is what the run began from."""
    with guarded("noting what a model was loaded from"):
        if _is_new(model):
            _known.set(model, True)
            for folder in sorted(folders):
                loads.told(run, folder)


def _is_new(model: Any) -> bool:
    return hasattr(model, "modules") and _known.get(model) is None


def _has_loaded_weights(model: Any) -> bool:
    if _FROM_5_ON in sys.modules:
        return any(getattr(weight, _MARK, False) for weight in model.parameters())
    return "transformers" in sys.modules and not model.training


def saved(call: Call) -> Callable[[Call], None] | None:
    """`model.save_pretrained(save_directory, …, is_main_process=True)`: the checkpoints of a Trainer beside it are not of it."""
    if saves.is_enclosed() or not call.kwargs.get("is_main_process", True):
        return None
    run = run_for(call.args[0])
    if run is None:
        return None
    path = os.fspath(call.kwargs["save_directory"] if len(call.args) < 2 else call.args[1])
    written = saves.Written(path, without=_OTHERS)
    by = f"{type(call.args[0]).__name__}.save_pretrained"
    release = saves.enclose()

    def end(call: Call) -> None:
        release()
        if call.error is None:
            part, overwrites = written.part()
            saves.saved(run, path, overwrites=overwrites, part=part, by=by)

    return end
