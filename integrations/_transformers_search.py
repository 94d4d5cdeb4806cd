"""`Trainer.hyperparameter_search`: a run for the search, a child run for each trial."""

from contextvars import ContextVar
from typing import Any

from autotrack.guard import guarded, reason
from autotrack.integrations._transformers_steps import Train
from autotrack.options import Options
from autotrack.training import begin_training


class Search:
    """One `hyperparameter_search` that is on the stack."""

    def __init__(self, trainer: Any, training: Any) -> None:
        self.trainer = trainer
        self.training = training
        self._trials: dict[int, tuple[Train, Any]] = {}

    def add(self, number: int | None, train: Train, state: Any) -> None:
        """A trial's training has begun."""
        if number is not None:
            self._trials[number] = (train, state)

    def note_objectives(self) -> None:
        """Record the objectives of trials that are complete; backends tell of them only after the trial."""
        study = getattr(getattr(self.trainer, "_trial", None), "study", None)
        trials, _ = reason(lambda: study.get_trials(deepcopy=False)) if study is not None else ([], None)
        for trial in trials or []:
            if trial.number in self._trials and trial.state.is_finished():
                train, state = self._trials.pop(trial.number)
                values = {"auto/objective": trial.value} if len(trial.values or ()) == 1 else {
                    f"auto/objective/{place}": value for place, value in enumerate(trial.values or ())
                }  # fmt: skip
                train.log(values, state.global_step)

    def end(self, result: Any, error: BaseException | None) -> None:
        """The search is over, with the best trial, or several best ones of a search with several objectives."""
        with guarded("recording the result of a search"):
            self.note_objectives()
            best = result if isinstance(result, list) else [result]
            rows = [
                {"trial": one.run_id, "objective": one.objective, "hyperparameters": one.hyperparameters}
                for one in best
                if hasattr(one, "hyperparameters")
            ]
            if rows:
                self.training.run.update_config(
                    {"best": rows[0] if len(rows) == 1 else rows}, source="transformers"
                )
        self.training.finish(error)


searching: ContextVar[Search | None] = ContextVar("autotrack_transformers_search", default=None)


def begin_search(
    trainer: Any, options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Search | None:
    """A run for a search. `args`, `kwargs`: of `hyperparameter_search(hp_space, compute_objective, n_trials, direction, …)`."""
    names = ("hp_space", "compute_objective", "n_trials", "direction", "backend", "hp_name")
    given = {"n_trials": 20, "direction": "minimize"} | dict(zip(names, args, strict=False)) | kwargs
    training = begin_training(
        "transformers",
        name=f"search over {type(trainer.model).__name__}",
        config={"search": given, "trainer": type(trainer).__name__},
        options=options,
        nested="child",
    )
    return None if training is None else Search(trainer, training)


def trial_number(trainer: Any) -> int | None:
    """The number of the trial that is being trained, where the backend counts them."""
    number = getattr(getattr(trainer, "_trial", None), "number", None)
    return number if isinstance(number, int) else None
