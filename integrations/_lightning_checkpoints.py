"""The checkpoints of a Lightning trainer: its saves, the links to them, and what is removed.

Every save goes through `Trainer.save_checkpoint` (a ModelCheckpoint's, the user's, that of an exception); `save_last="link"`
through `ModelCheckpoint._link_checkpoint`; every removal of Lightning's through the strategy's `remove_checkpoint`.
A ModelCheckpoint knows the score of a path before it is saved: `best_k_models` is filled first (its `_update_best_and_save`).
What a search for a learning rate or a batch size saves, to go back to it and to remove it at its end, is no checkpoint of a training.
"""

import os
from collections.abc import Callable
from typing import Any

from autotrack import loads, saves
from autotrack.callback import ByIdentity, open_run
from autotrack.guard import warn
from autotrack.integrations._lightning_writes import Writes
from autotrack.patcher import Call, Patcher
from autotrack.run import Run

_OF_A_SEARCH = (".lr_find_", ".scale_batch_size_")
_told: set[str] = set()
"""The folders that were looked at for where Lightning writes them from."""


class Checkpoints:
    """Notes what a trainer saves, links and removes, in the run of its fit."""

    def __init__(self, run_of: Callable[[Any], Run | None], writes: Writes) -> None:
        self._run_of = run_of
        self._writes = writes
        self._savers: ByIdentity[Any] = ByIdentity()
        """By trainer: the ModelCheckpoint that saves just now."""

    def install(self, patcher: Patcher, trainer: Any, saver: Any, strategy: Any) -> None:
        """Watch a namespace's Trainer, ModelCheckpoint and Strategy."""
        patcher.observe(trainer, "save_checkpoint", self.save)
        patcher.observe(saver, "_save_checkpoint", self.by_itself)
        patcher.observe(saver, "_link_checkpoint", self.link)
        patcher.observe(strategy, "remove_checkpoint", self.remove)

    def by_itself(self, call: Call) -> Callable[[Call], None]:
        """`model_checkpoint._save_checkpoint(trainer, filepath)`: what the trainer saves now is not the user's."""
        saver, trainer = call.args[:2]
        self._savers.set(trainer, saver)
        return lambda call: self._savers.drop(trainer)

    def save(self, call: Call) -> Callable[[Call], None] | None:
        """`trainer.save_checkpoint(filepath, weights_only, …)`."""
        trainer = call.args[0]
        words = dict(zip(("filepath", "weights_only"), call.args[1:], strict=False)) | call.kwargs
        path = words["filepath"]
        run = self._run(trainer)
        if run is None or of_a_search(path):
            return None
        saver = self._savers.get(trainer)
        facts = {"step": trainer.global_step, "epoch": trainer.current_epoch}
        if saver is not None:
            facts |= {"by": type(saver).__name__, **_score(saver, os.fspath(path))}
        elif not words.get("weights_only"):
            facts["by"] = "Trainer.save_checkpoint"
        _warn_of_moves(os.path.dirname(os.path.abspath(path)))
        return self._writes.begin(run, trainer.strategy, path, facts)

    def link(self, call: Call) -> Callable[[Call], None] | None:
        """`ModelCheckpoint._link_checkpoint(trainer, filepath, linkpath)`."""
        by_name = [call.kwargs[name] for name in ("trainer", "filepath", "linkpath") if name in call.kwargs]
        trainer, target, path = [*call.args, *by_name][-3:]
        run = self._run(trainer)
        if run is None or os.path.abspath(path) == os.path.abspath(target):
            return None

        def end(call: Call) -> None:
            if call.error is None and not self._writes.linked(
                trainer.strategy, path, target, "ModelCheckpoint"
            ):
                saves.linked(run, path, target, by="ModelCheckpoint")

        return end

    def remove(self, call: Call) -> Callable[[Call], None] | None:
        """`strategy.remove_checkpoint(filepath)`: newer or better ones took its place."""
        strategy, path = call.args[0], call.kwargs["filepath"] if len(call.args) < 2 else call.args[1]
        run = self._run(strategy.lightning_module.trainer) if strategy.lightning_module is not None else None
        if run is None or of_a_search(path):
            return None
        saves.going(run, path)

        def end(call: Call) -> None:
            if call.error is None:
                saves.removed(run, path, "rotation", by=type(strategy).__name__)
            else:
                saves.stayed(run, path)

        return end

    def _run(self, trainer: Any) -> Run | None:
        """The run that this process notes the trainer's files in."""
        return self._run_of(trainer) or open_run() if trainer.is_global_zero else None


def _warn_of_moves(folder: str) -> None:
    """Lightning writes into the temporary folder and moves it from there (`_atomic_save`, by fsspec's local transaction).

    Between two file systems a move is a copy, and a process that is killed meanwhile leaves a part of a checkpoint under its own
    name (Lightning-AI/pytorch-lightning#19970).
    """
    if "://" in folder or folder in _told:
        return
    _told.add(folder)
    import tempfile

    place = tempfile.gettempdir()
    try:
        apart = os.stat(place).st_dev != os.stat(_nearest(folder)).st_dev
    except OSError:
        return
    if apart:
        warn(
            "temporary-folder",
            f"Lightning writes each checkpoint to {place} and then copies it to {folder}, which is another file system: if the process "
            f"is killed meanwhile, a part of a checkpoint stays there under its own name. TMPDIR={folder} before the start makes it "
            "one step. Such a part is recorded as damaged, and is never resumed from.",
            key=folder,
        )


def _nearest(folder: str) -> str:
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return folder


def load(call: Call) -> Callable[[Call], None] | None:
    """`_load_from_checkpoint(cls, checkpoint_path, …)`, behind `LightningModule.load_from_checkpoint`."""
    path = call.args[1] if len(call.args) > 1 else call.kwargs.get("checkpoint_path")
    if not isinstance(path, (str, os.PathLike)):
        return None
    release = loads.loading(path)
    return lambda call: release()


def of_a_search(path: Any) -> bool:
    """Whether a search for a learning rate or a batch size keeps the state before it at this path."""
    name: str = os.path.basename(os.fsdecode(path))
    return name.startswith(_OF_A_SEARCH)


def _score(saver: Any, path: str) -> dict[str, Any]:
    """The score that a ModelCheckpoint has given to a path that it is about to save, if it compares scores."""
    best = getattr(saver, "best_k_models", None)
    if not isinstance(best, dict) or path not in best:
        return {}
    return {"score": best[path], "monitor": saver.monitor, "mode": saver.mode}
