"""transformers' Trainer: a tracked training leaves everything as an untracked one does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from tiny_transformers import Rows, Watched, bert, logged, trainer
from transformers import Trainer
from warm_process import warm

import autotrack
from autotrack.testing import only_run, points

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "transformers"

TRAIN = """
import sys
from pathlib import Path
from tiny_transformers import trainer
import autotrack
callbacks = [autotrack.AutoTrack()] if sys.argv[2] == "by hand" else []
if sys.argv[2] == "autolog":
    autotrack.autolog()
made = trainer(Path(sys.argv[1]), callbacks, output_dir="out", save_strategy="steps", save_steps=2, save_total_limit=2,
               eval_strategy="steps", eval_steps=2, load_best_model_at_end=True, logging_steps=2, seed=3)
if hasattr(made.args, "logging_dir"):
    made.args.logging_dir = "logs"  # in transformers 4 the clock is in it
made.train()
made.evaluate()
made.save_model("out/last")
"""
CLOCKS = ("runtime", "per_second", "preparation_time")


def plain(folder: Path) -> dict[str, Any]:
    """Every file of a training, without the times in it."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
            if path.name == "trainer_state.json":
                state = json.loads(path.read_text())
                for row in state["log_history"]:
                    for key in [key for key in row if key.endswith(CLOCKS)]:
                        del row[key]
                found[str(path.relative_to(folder))] = state
    return found


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str]]:
    return run_script(tmp_path_factory.mktemp("untracked"), "untracked")


def run_script(folder: Path, how: str) -> tuple[dict[str, Any], list[str]]:
    """The files, and what was printed but for the times."""
    support = str(Path(__file__).parents[1] / "support")
    done = warm(TRAIN, str(folder), how, folder=folder, path=support)
    assert done.returncode == 0, done.stderr
    printed = (done.stdout + done.stderr).splitlines()
    lines = [line for line in printed if not line.startswith("autotrack") and "%|" not in line]
    words = [
        [word for word in line.split(", ") if not any(clock in word for clock in CLOCKS)] for line in lines
    ]
    return plain(folder / "out"), [", ".join(line) for line in words]


@pytest.mark.parametrize("how", ["by hand", "autolog"])
def test_checkpoints_and_output_are_those_of_the_untracked_training(store, tmp_path, untracked, how):
    folder = tmp_path / "tracked"
    folder.mkdir()
    files, output = run_script(folder, how)
    assert files.keys() == untracked[0].keys()
    assert any(name.endswith("optimizer.pt") for name in files)
    assert [name for name in files if files[name] != untracked[0][name]] == []
    assert output == untracked[1]
    assert len(autotrack.runs()) == 1


def test_a_list_of_callbacks_that_is_used_twice_is_left_alone(store):
    callbacks = [autotrack.AutoTrack()]
    given = list(callbacks)
    first = trainer(store.parent, callbacks, max_steps=1)
    second = trainer(store.parent, callbacks, max_steps=2)
    first.train()
    second.train()
    assert callbacks == given
    assert sorted(run.config["max_steps"] for run in autotrack.runs()) == [1, 2]
    assert not any(run.parent for run in autotrack.runs())


def test_without_callbacks_of_their_own_trainers_are_served(store):
    autotrack.autolog()
    arguments = transformers.TrainingArguments(
        output_dir=str(store.parent), max_steps=1, use_cpu=True, report_to="none", disable_tqdm=True
    )
    Trainer(bert(), arguments, train_dataset=Rows(), callbacks=None).train()
    autotrack.autolog(disable=True)
    assert only_run().status == "finished"


def test_estimators_that_a_metric_fits_make_no_runs(store):
    from sklearn.linear_model import LogisticRegression

    def probe(predicted: Any) -> dict[str, float]:
        fitted = LogisticRegression().fit(np.arange(8.0).reshape(4, 2), [0, 1, 0, 1])
        return {"probe": float(fitted.coef_.sum())}

    autotrack.autolog()
    made = trainer(store.parent, [], eval_strategy="epoch", num_train_epochs=1)
    made.compute_metrics = probe
    made.train()
    autotrack.autolog(disable=True)
    run = only_run()
    assert run.framework == "transformers"
    assert points(run, "eval_probe") == logged(made, "eval_probe")


def test_what_the_user_switched_off_stays_off_through_a_training(store, arm):
    from sklearn.linear_model import LogisticRegression

    made = trainer(store.parent, arm(), max_steps=1)
    autotrack.sklearn.autolog(disable=True)
    made.train()
    LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    assert only_run().framework == "transformers"


def test_what_is_logged_after_the_training_goes_into_its_run(store, arm):
    made = trainer(store.parent, arm(), max_steps=2)
    made.train()
    made.log({"late": 0.25})
    assert points(only_run(), "late") == [(2, 0.25)]
    assert only_run().status == "finished"


def test_nothing_of_ours_is_in_the_state_that_callbacks_save_and_a_resume_goes_on(store):
    class Worse(Watched):
        def evaluate(self, *args: Any, **kwargs: Any) -> Any:
            found = super().evaluate(*args, **kwargs)
            found["eval_loss"] = 1.0 + self.state.global_step
            self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
            return found

    saving = {
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "eval_steps": 2,
        "save_steps": 2,
        "kind": Worse,
    }
    best = {"load_best_model_at_end": True, "metric_for_best_model": "loss", **saving}

    def early() -> Any:
        return transformers.EarlyStoppingCallback(early_stopping_patience=50)

    first = trainer(store.parent, [autotrack.AutoTrack(), early()], max_steps=4, **best)
    first.train()
    state = json.loads((store.parent / "out" / "checkpoint-4" / "trainer_state.json").read_text())
    assert set(state["stateful_callbacks"]) == {"EarlyStoppingCallback", "TrainerControl"}
    again = trainer(store.parent, [autotrack.AutoTrack(), early()], max_steps=6, **best)
    again.train(resume_from_checkpoint=True)
    assert [step for step, _ in points(only_run(), "auto/loss")] == [1, 2, 3, 4, 5, 6]


def test_the_traceback_of_an_error_shows_the_frames_of_the_user_only(store):
    class Fails(Watched):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            raise ValueError("bad luck")

    with pytest.raises(ValueError, match="bad luck") as caught:
        trainer(store.parent, [autotrack.AutoTrack()], kind=Fails).train()
    assert not [frame for frame in caught.traceback if "autotrack" in Path(str(frame.path)).parts[-2:]]


def test_a_model_that_is_dropped_after_its_training_is_freed(store):
    import gc
    from weakref import ref

    made = trainer(store.parent, [autotrack.AutoTrack()], max_steps=1)
    made.train()
    gone = [ref(made.model), ref(made), ref(made.state), ref(made.optimizer)]
    del made
    gc.collect()
    assert [one() for one in gone] == [None] * 4
