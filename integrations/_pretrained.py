"""Folders that `save_pretrained` writes and `from_pretrained` reads: models of transformers, adapters of PEFT."""

import os
from collections.abc import Callable

from autotrack import loads, saves
from autotrack.callback import open_run
from autotrack.digests import names_in
from autotrack.patcher import Call

_OTHERS = "checkpoint-"


def load(call: Call) -> Callable[[Call], None] | None:
    """`Model.from_pretrained(pretrained_model_name_or_path, …)`, where that is a folder."""
    path = call.args[1] if len(call.args) > 1 else call.kwargs.get("pretrained_model_name_or_path")
    if not isinstance(path, (str, os.PathLike)) or not os.path.isdir(path):
        return None
    release = loads.loading(path)
    return lambda call: release()


def saved(call: Call) -> Callable[[Call], None] | None:
    """`model.save_pretrained(save_directory, …, is_main_process=True)`: the checkpoints of a Trainer beside it are not of it."""
    if saves.is_enclosed() or not call.kwargs.get("is_main_process", True):
        return None
    run = open_run()
    if run is None:
        return None
    path = os.fspath(call.kwargs["save_directory"] if len(call.args) < 2 else call.args[1])
    overwrites = bool(names_in(path, without=_OTHERS))
    by = f"{type(call.args[0]).__name__}.save_pretrained"
    release = saves.enclose()

    def end(call: Call) -> None:
        release()
        if call.error is None:
            saves.saved(run, path, overwrites=overwrites, without=_OTHERS, by=by)

    return end
