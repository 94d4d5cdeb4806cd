"""What Keras saves of a model: by `Model.save`, `Model.save_weights`, `keras.saving`, and by its callbacks.

All of them end in `saving_api.save_model` or `saving_api.save_weights`. A ModelCheckpoint has the logs of its epoch or batch
with it, and among them the value that it compares. BackupAndRestore deletes its folder when the training went well.
"""

import os
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Protocol

from autotrack import loads, saves
from autotrack.callback import ByIdentity, open_run
from autotrack.patcher import Call, Patcher
from autotrack.run import Run


class Fitted(Protocol):
    """The recording of a fit, as far as its checkpoints need it."""

    @property
    def run(self) -> Run | None:
        """The run, once it has begun."""

    @property
    def place(self) -> dict[str, int]:
        """Step and epoch that the fit has reached."""

    @property
    def saved(self) -> dict[int, dict[str, Any]]:
        """By the id of a callback: what it saved last."""


class Checkpoints:
    """Notes what is saved of a model, in the run of its fit."""

    def __init__(
        self,
        fit_of: Callable[[Any], Fitted | None],
        fit_in: Callable[[Run], Fitted | None],
        fits: Callable[[Any], object],
    ) -> None:
        self._fit_of = fit_of
        self._fit_in = fit_in
        self._fits = fits
        self._savers: ByIdentity[tuple[Any, Any]] = ByIdentity()
        """By model: the callback that saves it just now, and the logs that it was given."""

    def install(self, patcher: Patcher, module: ModuleType) -> None:
        """Watch the functions of `saving_api`, or a callback that saves."""
        known = vars(module)
        if "save_weights" in known:
            patcher.observe(module, "save_model", self.save)
            patcher.observe(module, "save_weights", self.save)
            patcher.observe(module, "load_model", self.load)
            patcher.observe(module, "load_weights", self.load)
        for name in ("ModelCheckpoint", "BackupAndRestore"):
            if name in known:
                patcher.observe(known[name], "_save_model", self.by_itself)
        if "BackupAndRestore" in known:
            patcher.observe(known["BackupAndRestore"], "on_train_end", self.clean_up)

    def by_itself(self, call: Call) -> Callable[[Call], None]:
        """`callback._save_model(epoch, batch, logs)`, of BackupAndRestore without arguments: what is saved now is not the user's."""
        callback = call.args[0]
        model = callback.model
        logs = call.kwargs.get("logs", call.args[3] if len(call.args) > 3 else None)
        self._savers.set(model, (callback, logs))
        return lambda call: self._savers.drop(model)

    def save(self, call: Call) -> Callable[[Call], None] | None:
        """`save_model(model, filepath, …)` and `save_weights(model, filepath, …)`."""
        words = dict(zip(("model", "filepath"), call.args, strict=False)) | call.kwargs
        model, path = words["model"], os.fspath(words["filepath"])
        fit = self._fit_of(model)
        run = open_run() if fit is None else fit.run
        if run is None:
            return None
        facts: dict[str, Any] = {"overwrites": os.path.lexists(path)}
        around = (
            self._fit_in(run) if fit is None else fit
        )  # of a model that this one is a part of, as a GAN's generator is
        if around is not None:
            facts |= around.place
        saver = self._savers.get(model)
        if saver is not None:
            facts |= {"by": type(saver[0]).__name__, **_score(*saver)}
        release = saves.enclose()

        def end(call: Call) -> None:
            release()
            if call.error is not None:
                return
            if fit is not None and saver is not None and "score" in facts:
                known = {"value": facts["score"], "epoch": facts["epoch"], "checkpoint": path}
                fit.saved[id(saver[0])] = known
            saves.saved(run, path, **facts)

        return end

    def load(self, call: Call) -> Callable[[Call], None] | None:
        """`load_model(filepath, …)` and `load_weights(model, filepath, …)`; in a fit BackupAndRestore calls it."""
        words = dict(zip(("model", "filepath"), call.args, strict=False)) | call.kwargs
        path = words.get("filepath", words.get("model"))
        if not isinstance(path, (str, os.PathLike)) or self._fits(words.get("model")):
            return None
        release = loads.loading(path)
        return lambda call: release()

    def clean_up(self, call: Call) -> Callable[[Call], None] | None:
        """`backup_and_restore.on_train_end()` deletes what it has saved."""
        callback = call.args[0]
        folder, fit = str(callback.backup_dir), self._fit_of(callback.model)
        run = None if fit is None else fit.run
        if run is None or not os.path.lexists(folder):
            return None

        def end(call: Call) -> None:
            if not os.path.lexists(folder):
                saves.removed(run, folder, "training over", by="BackupAndRestore")

        return end


def _score(callback: Any, logs: Any) -> dict[str, Any]:
    """The value that a ModelCheckpoint compares, where the logs have it."""
    monitor = getattr(callback, "monitor", None)
    value = (logs or {}).get(monitor)
    if value is None:
        return {}
    # `monitor_op` is keras.ops.less or greater, chosen by the callback at its first comparison.
    mode = {"less": "min", "greater": "max"}.get(
        getattr(getattr(callback, "monitor_op", None), "__name__", "")
    )
    return {"score": value, "monitor": monitor, "mode": mode}


def backup_of(callbacks: Iterable[Any]) -> str | None:
    """The weights that a BackupAndRestore has just restored: those in its folder before a first epoch has ended."""
    for callback in callbacks:
        if any(kind.__name__ == "BackupAndRestore" for kind in type(callback).__mro__):
            path = str(callback._weights_path)
            return path if os.path.exists(path) else None
    return None
