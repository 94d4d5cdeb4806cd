"""transformers' Trainer: every save and removal of a checkpoint is an event of the run that wrote it."""

import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
from tiny_transformers import Watched, bert, trainer

import autotrack
from autotrack import checkpoints, sealing
from autotrack.testing import only_run

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "transformers"
SAVES: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2}


class Judged(Watched):
    """Evaluations get better, then worse."""

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        output = super().evaluation_loop(*args, **kwargs)
        output.metrics["eval_accuracy"] = {2: 0.5, 4: 0.75, 6: 0.25}[self.state.global_step]
        return output


def test_folders_have_their_scores_and_rotation_is_told(store, arm, tmp_path):
    made = trainer(
        store.parent,
        arm(),
        kind=Judged,
        metric_for_best_model="accuracy",
        load_best_model_at_end=True,
        save_total_limit=1,
        **SAVES,
    )
    made.train()
    found = only_run().checkpoints
    out = store.parent / "out"
    assert [(one.path, one.step, one.score, one.monitor) for one in found] == [
        (str(out / "checkpoint-2"), 2, 0.5, "eval_accuracy"),
        (str(out / "checkpoint-4"), 4, 0.75, "eval_accuracy"),
        (str(out / "checkpoint-6"), 6, 0.25, "eval_accuracy"),
    ]
    # The last one goes when the training is over, behind the last `on_save`: until then it can be linked into the store.
    assert [one.state for one in found] == ["removed", "sealed", "stored"]
    assert [path.name for path in out.iterdir()] == ["checkpoint-4"]
    files = [path.stat().st_size for path in (out / "checkpoint-4").rglob("*") if path.is_file()]
    assert (found[1].size, found[1].files) == (sum(files), len(files))
    assert found[0].epoch == pytest.approx(2 / 3)
    assert {one.by for one in found} == {"Judged"}


def test_what_a_training_is_resumed_from_is_no_model_that_the_user_has_saved(store, arm):
    made = trainer(store.parent, arm(), max_steps=2, save_strategy="steps", save_steps=1)
    made.train()
    made.save_model(str(store.parent / "final"))
    made.model.save_pretrained(str(store.parent / "exported"))
    run = only_run()
    assert checkpoints.resume(run.id) == store.parent / "out" / "checkpoint-2"
    shutil.rmtree(store.parent / "out")
    assert checkpoints.resume(run.id).parent == store.parent


def test_models_that_the_user_saves_belong_to_the_run_of_the_training(store, arm):
    made = trainer(store.parent, arm(), max_steps=2, save_strategy="steps", save_steps=1)
    made.train()
    made.save_model()
    made.save_model(str(store.parent / "final"))
    made.save_model(str(store.parent / "final"))
    *_, beside, first, second = only_run().checkpoints
    assert (beside.path, beside.step, beside.by) == (str(store.parent / "out"), 2, "user")
    own = [path for path in (store.parent / "out").iterdir() if path.is_file()]
    assert (beside.files, beside.size) == (len(own), sum(path.stat().st_size for path in own))
    assert [(one.path, one.state) for one in (first, second)] == [
        (str(store.parent / "final"), "overwritten"),
        (str(store.parent / "final"), "sealed"),
    ]


def test_the_final_model_is_known_whatever_is_written_beside_it_later(store, arm):
    made = trainer(store.parent, arm(), max_steps=2, save_strategy="no")
    made.train()
    made.save_model()
    made.save_metrics("train", {"train_loss": 1.0})
    made.save_state()
    sealing.wait(sealing.LONGEST_WAIT)
    out = store.parent / "out"
    (found,) = only_run().checkpoints
    assert found.state == "sealed"
    assert "model.safetensors" in found.names
    assert {"train_results.json", "trainer_state.json"} <= {path.name for path in out.iterdir()} - set(
        found.names
    )
    assert autotrack.checkpoints.get(f"{found.run}:last") == out
    copy = autotrack.checkpoints.get(f"{found.run}:last", to=store.parent / "copy")
    assert sorted(path.name for path in copy.iterdir()) == sorted(found.names)


class Undecided(Watched):
    """Two evaluations are equally good, and the one behind the training is another."""

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        output = super().evaluation_loop(*args, **kwargs)
        in_training = {2: 0.5, 4: 0.75, 6: 0.75}[self.state.global_step]
        output.metrics["eval_accuracy"] = in_training if self.is_in_train else 1.0
        return output


def test_the_model_behind_load_best_model_at_end_is_the_best_of_the_trainer(store, arm):
    facts = {"metric_for_best_model": "accuracy", "load_best_model_at_end": True}
    made = trainer(store.parent, arm(), kind=Undecided, **facts, **SAVES)
    made.train()
    final = store.parent / "final"
    made.save_model(str(final))
    made.evaluate()
    sealing.wait(sealing.LONGEST_WAIT)
    run = only_run()
    best = autotrack.checkpoints.find(f"{run.id}:best")
    assert (best.path, best.step) == (made.state.best_model_checkpoint, 4)
    saved = run.checkpoints[-1]
    assert (saved.path, saved.step, saved.score) == (str(final), 4, 0.75)
    assert saved.epoch == pytest.approx(4 / 3)
    assert run.summary["eval_accuracy"] == 1.0
    assert autotrack.checkpoints.find(f"{run.id}:step=6").metrics["eval_accuracy"] == 0.75


def test_a_second_training_into_the_same_folder_overwrites(store, arm):
    for _ in range(2):
        trainer(store.parent, arm(), max_steps=1, save_strategy="steps", save_steps=1).train()
        sealing.wait(sealing.LONGEST_WAIT)
    first, second = (run.checkpoints for run in autotrack.runs(order_by="created"))
    assert [one.path for one in first] == [one.path for one in second]
    assert {one.state for one in (*first, *second)} == {"sealed"}
    text = "".join(path.read_text() for path in store.glob("runs/*/*/*.jsonl"))
    assert (text.count('"action":"saved"'), text.count('"action":"overwritten"')) == (1, 1)


def test_trials_of_a_search_have_their_own_checkpoints(store, arm):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = trainer(store.parent, arm(), max_steps=1, save_strategy="steps", save_steps=1, eval_strategy="no")
    made.model_init = lambda trial: bert()
    made.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-3)},
        compute_objective=lambda metrics: 1.0,
        n_trials=2,
        backend="optuna",
    )
    children = [run for run in autotrack.runs() if run.parent]
    assert sorted(Path(run.checkpoints[0].path).parent.name for run in children) == ["run-0", "run-1"]
