"""`Trainer.hyperparameter_search`: one run for the search, a child run for each trial."""

from typing import Any

import optuna
import pytest
from tiny_transformers import Watched, bert, trainer

import autotrack
from autotrack.testing import points

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "transformers"


def space(trial: Any) -> dict[str, Any]:
    return {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)}


def rate(trial: Any) -> str:
    return f"rate {trial.params['learning_rate']:.6f}"


def searching(store: Any, callbacks: list[Any], **settings: Any) -> Any:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = trainer(store.parent, callbacks, **{"max_steps": 2, **settings})
    made.model_init = bert
    return made


def test_trials_are_children_with_their_parameters_and_objectives(store, arm):
    made = searching(store, arm(), eval_strategy="steps", eval_steps=1)
    sampler = optuna.samplers.RandomSampler(seed=0)
    best = made.hyperparameter_search(hp_space=space, n_trials=3, backend="optuna", sampler=sampler)
    (search,) = [run for run in autotrack.runs() if run.parent is None]
    trials = sorted(search.children, key=lambda run: run.config["trial"]["number"])
    assert [run.name for run in trials] == ["trial 0", "trial 1", "trial 2"]
    assert {run.status for run in [search, *trials]} == {"finished"}
    for run in trials:
        assert run.config["trial"]["params"]["learning_rate"] == run.config["learning_rate"]
        assert [step for step, _ in points(run, "auto/loss")] == [1, 2]
        assert points(run, "auto/objective") == [(2, points(run, "eval_loss")[-1][1])]
    assert (search.config["search"]["n_trials"], search.config["search"]["sampler"]) == (3, "RandomSampler")
    assert search.config["best"]["trial"] == best.run_id
    assert search.config["best"]["objective"] == best.objective
    assert search.config["best"]["hyperparameters"] == best.hyperparameters
    assert autotrack.active_run() is None


def test_an_objective_that_is_evaluated_behind_the_training_is_recorded_too(store, arm):
    searching(store, arm()).hyperparameter_search(hp_space=space, n_trials=2, backend="optuna")
    (search,) = [run for run in autotrack.runs() if run.parent is None]
    for run in search.children:
        assert points(run, "auto/objective") == points(run, "eval_loss")


class PruneTheSecond(optuna.pruners.BasePruner):
    def prune(self, study: Any, trial: Any) -> bool:
        return bool(trial.number == 1)


def test_a_trial_that_is_given_up_is_no_failure(store, arm):
    made = searching(store, arm(), eval_strategy="steps", eval_steps=1)
    made.hyperparameter_search(hp_space=space, n_trials=2, backend="optuna", pruner=PruneTheSecond())
    (search,) = [run for run in autotrack.runs() if run.parent is None]
    (pruned,) = [run for run in search.children if run.config["trial"]["number"] == 1]
    assert pruned.status == "finished"
    assert pruned.config["stopped"]["by"] == "pruned"
    assert [step for step, _ in points(pruned, "auto/loss")] == [1]


def test_a_trial_that_fails_fails_the_search(store, arm):
    class Fails(Watched):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            raise ValueError("bad luck")

    made = searching(store, arm(), kind=Fails)
    with pytest.raises(ValueError, match="bad luck"):
        made.hyperparameter_search(hp_space=space, n_trials=2, backend="optuna")
    assert {run.status for run in autotrack.runs()} == {"failed"}
    assert len(autotrack.runs()) == 2


def test_inside_of_a_run_the_search_is_that_run(store, arm):
    with autotrack.init(project="p", name="mine") as run:
        searching(store, arm()).hyperparameter_search(
            hp_space=space, n_trials=2, backend="optuna", hp_name=rate
        )
    record = autotrack.get_run(run.id)
    assert record.config["search"]["n_trials"] == 2
    assert [child.name[:5] for child in record.children] == ["rate ", "rate "]
    assert len(autotrack.runs()) == 3
