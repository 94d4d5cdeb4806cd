"""The checkpoints of a Trainer: `checkpoint-<step>` folders, what rotation removes, and the models that the user saves.

`Trainer._save_checkpoint` writes a folder and then rotates; with `save_total_limit=1` and a metric to compare by, one more is
removed behind the last `on_log` of the training. So the folders beside are compared before and after, and once more at the end.
"""

import os
from collections.abc import Callable
from typing import Any

from autotrack import saves
from autotrack.callback import open_run
from autotrack.integrations._transformers_end import metric_name
from autotrack.integrations._transformers_steps import Train
from autotrack.patcher import Call, Patcher
from autotrack.run import Run

_PREFIX = "checkpoint-"


class Checkpoints:
    """Notes what a Trainer saves and removes, in the run of its training."""

    def __init__(self, train_of: Callable[[Any], Train | None]) -> None:
        self._train_of = train_of

    def install(self, patcher: Patcher, trainer: Any) -> None:
        """Watch the Trainer class."""
        patcher.observe(trainer, "_save_checkpoint", self.save)
        patcher.observe(trainer, "save_model", self.save_model)

    def save(self, call: Call) -> Callable[[Call], None] | None:
        """`trainer._save_checkpoint(model, trial)`."""
        trainer = call.args[0]
        run = self._writes(trainer)
        if run is None:
            return None
        folder = trainer._get_output_dir(trial=call.kwargs.get("trial", call.args[-1]))
        before = folders(folder)
        path = os.path.join(folder, f"{_PREFIX}{trainer.state.global_step}")
        if trainer.args.save_total_limit is not None:
            tell_going(run, before)
        release = saves.enclose()

        def end(call: Call) -> None:
            release()
            if call.error is None:
                state = trainer.state
                facts = {"step": state.global_step, "epoch": state.epoch, **_score(trainer.args, state)}
                saves.saved(run, path, overwrites=path in before, by=type(trainer).__name__, **facts)
            left = folders(folder)
            tell_rotated(run, before, left)
            train = self._train_of(trainer)
            if train is not None:
                train.saved_in[folder] = left

        return end

    def save_model(self, call: Call) -> Callable[[Call], None] | None:
        """`trainer.save_model(output_dir)`, which the Trainer itself calls with `_internal_call=True`."""
        trainer = call.args[0]
        words = dict(zip(("output_dir", "_internal_call"), call.args[1:], strict=False)) | call.kwargs
        run = None if words.get("_internal_call") else self._writes(trainer)
        if run is None:
            return None
        path = words.get("output_dir") or trainer.args.output_dir
        written = saves.Written(path, without=_PREFIX)
        release = saves.enclose()

        def end(call: Call) -> None:
            release()
            if call.error is None:
                part, overwrites = written.part()
                saves.saved(run, path, overwrites=overwrites, part=part, **self._of_model(trainer))

        return end

    def _of_model(self, trainer: Any) -> dict[str, Any]:
        """Step and epoch of the weights that the trainer's model has: behind `load_best_model_at_end` those of the best checkpoint."""
        args, state = trainer.args, trainer.state
        train = self._train_of(trainer)
        best = state.best_model_checkpoint if args.load_best_model_at_end else None
        if best is None or train is None or train.active:
            return {"step": state.global_step, "epoch": state.epoch}
        number = os.path.basename(best).removeprefix(_PREFIX)
        step = int(number) if number.isdecimal() else state.global_step
        epochs = [row["epoch"] for row in state.log_history if row.get("step") == step and "epoch" in row]
        facts = {"step": step, "epoch": epochs[-1] if epochs else None}
        return facts | {"score": state.best_metric, **_compared_by(args)}

    def _writes(self, trainer: Any) -> Run | None:
        """The run that this process notes the trainer's files in."""
        if not trainer.args.should_save:
            return None
        train = self._train_of(trainer)
        return train.run if train is not None else open_run()


def folders(folder: str) -> set[str]:
    """The paths of the checkpoints in a folder."""
    try:
        return {os.path.join(folder, name) for name in os.listdir(folder) if name.startswith(_PREFIX)}
    except OSError:
        return set()


def tell_going(run: Run, paths: set[str]) -> None:
    """Rotation may remove these; which ones it does is seen behind it."""
    for path in sorted(paths):
        saves.going(run, path)


def tell_rotated(run: Run, before: set[str], left: set[str]) -> None:
    """Rotation is over: what it has removed, and what it has not."""
    for path in sorted(before - left):
        saves.removed(run, path, "rotation", by="Trainer")
    for path in sorted(before & left):
        saves.stayed(run, path)


def _score(args: Any, state: Any) -> dict[str, Any]:
    """The metric that the Trainer compares checkpoints by, as it was evaluated at this step."""
    compared_by = _compared_by(args)
    for row in reversed(state.log_history):
        if row.get("step") != state.global_step:
            break
        if compared_by["monitor"] in row:
            return {"score": row[compared_by["monitor"]], **compared_by}
    return {}


def _compared_by(args: Any) -> dict[str, Any]:
    """The metric that checkpoints are compared by, and which is the better one; where the Trainer has none the evaluation's loss."""
    if args.metric_for_best_model is None:
        return {"monitor": "eval_loss", "mode": "min"}
    return {"monitor": metric_name(args), "mode": "max" if args.greater_is_better else "min"}
