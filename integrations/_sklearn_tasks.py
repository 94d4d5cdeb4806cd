"""The tasks of a fit, as scikit-learn tells callbacks of them from 1.9 on: steps of a pipeline, iterations of a solver."""

import sys
from operator import methodcaller
from time import perf_counter
from typing import TYPE_CHECKING, Any

from autotrack.callback import AutoTrack, first_of
from autotrack.guard import reason

if TYPE_CHECKING:
    from autotrack.training import Training

_PLACE = frozenset(
    ("task_id_path", "parent_task_id_path", "estimator_name", "task_name", "task_id", "sequential_subtasks")
)
"""What stands beside the scores in a row of a `ScoringMonitor`."""


def tracker_of(estimator: Any) -> AutoTrack | None:
    """The `AutoTrack` that acts among the callbacks of an estimator, None without one."""
    callbacks = getattr(estimator, "__dict__", {}).get("_skl_callbacks")
    return first_of(callbacks) if callbacks else None


def tracker_within(estimator: Any) -> AutoTrack | None:
    """The same, also of an estimator among its parameters: a search, an ensemble, a cross-validation fit clones, which have it too."""
    tracker = tracker_of(estimator)
    if tracker is None:
        values, _ = reason(methodcaller("get_params"), estimator)
        tracker = first_of(filter(None, map(tracker_of, (values or {}).values())))
    return tracker


class Tasks:
    """The tasks of one fit that is recorded: those right below the fit, not those of estimators inside of it."""

    def __init__(self, training: "Training", tracker: AutoTrack) -> None:
        self.tracker = tracker
        self._run = training.run
        self._every = training.log_every
        self._tree: Any = None
        self._begun: dict[int, tuple[float, bool]] = {}
        self._counts: dict[str, int] = {}

    def begin(self, context: Any, has_data: bool) -> None:
        """A task begins."""
        self._tree = context.root_uuid
        if _is_below_fit(context):
            self._begun[context.task_id] = perf_counter(), has_data

    def end(self, context: Any, has_data: bool) -> None:
        """A task has ended: its seconds are logged, at its number among the tasks beside it as the step."""
        ended = perf_counter()
        begun = self._begun.pop(context.task_id, None) if _is_below_fit(context) else None
        if begun is None:
            return
        began, had_data = begun
        if had_data and not has_data:
            return  # L-BFGS tells of one iteration more than there were, and has no data at its end
        name = context.task_name
        count = self._counts[name] = self._counts.get(name, 0) + 1
        if self._due(count):
            self._run.log({f"auto/task_time/{name}": ended - began}, step=context.task_id)

    def log_scores(self, estimator: Any) -> None:
        """Log what a `ScoringMonitor` beside us has found in this fit, under the names that the scores have there."""
        monitor: Any = sys.modules["sklearn.callback"].ScoringMonitor
        for callback in vars(estimator).get("_skl_callbacks", ()):
            if isinstance(callback, monitor):
                logs, _ = reason(callback.get_logs, "all")  # it raises where there are none
                for log in logs or ():
                    if log.run_id == self._tree:
                        self._log_rows(log.data)

    def _log_rows(self, rows: list[dict[str, Any]]) -> None:
        parents = {row["parent_task_id_path"] for row in rows}
        leaves = [row for row in rows if row["task_id_path"] not in parents]
        for count, row in enumerate(leaves, 1):
            scores = {name: value for name, value in row.items() if name not in _PLACE}
            if scores and self._due(count):
                self._run.log(scores, step=row["task_id"])

    def _due(self, count: int) -> bool:
        return count == 1 or count % self._every == 0


def _is_fit(context: Any) -> bool:
    """Whether it stands for the whole fit of an estimator; one inside of another has the place of the other's task."""
    return context.parent is None or context.source_estimator_name is not None


def _is_below_fit(context: Any) -> bool:
    return not _is_fit(context) and _is_fit(context.parent)
