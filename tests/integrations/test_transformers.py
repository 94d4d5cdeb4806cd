"""transformers' Trainer: what is recorded equals what it computes and logs, and the training is the untracked one."""

import random
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_transformers import BATCH, Rows, Texts, bert, llama, logged, trainer
from transformers import Trainer
from warm_process import told

import autotrack
from autotrack.testing import only_run, points

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "transformers"


def test_records_the_loss_of_every_step_also_when_nothing_is_logged(store, arm):
    made = trainer(store.parent, arm())
    made.train()
    run = only_run()
    assert points(run, "auto/loss") == list(enumerate(made.losses, 1))
    assert run.status == "finished"
    assert run.framework == "transformers"
    assert run.name == "BertForSequenceClassification"
    assert points(run, "train_loss") == logged(made, "train_loss")


def test_records_what_is_logged_under_its_own_name_and_step(store, arm):
    made = trainer(store.parent, arm(), logging_steps=2, eval_strategy="epoch")
    made.train()
    run = only_run()
    for key in ("loss", "grad_norm", "learning_rate", "eval_loss", "epoch", "train_loss"):
        assert points(run, key) == logged(made, key)
    assert [step for step, _ in points(run, "loss")] == [2, 4, 6]
    assert [step for step, _ in points(run, "eval_loss")] == [3, 6]


def test_averages_the_micro_batches_of_a_model_that_ignores_the_number_of_items(store, arm):
    made = trainer(store.parent, arm(), gradient_accumulation_steps=2, num_train_epochs=1)
    made.train()
    first, second, third = made.losses
    found = dict(points(only_run(), "auto/loss"))
    assert found == {1: pytest.approx((first + second) / 2), 2: pytest.approx(third)}


def test_adds_the_micro_batches_of_a_model_that_counts_the_items_of_the_step(store, arm):
    made = trainer(
        store.parent,
        arm(),
        llama(),
        rows=Texts(),
        gradient_accumulation_steps=3,
        num_train_epochs=1,
        logging_steps=1,
    )
    made.train()
    ((step, loss),) = points(only_run(), "auto/loss")
    assert step == 1
    assert loss == pytest.approx(sum(made.losses))
    assert loss == pytest.approx(logged(made, "loss")[0][1], abs=1e-4)  # transformers 4 rounds it to 4 digits
    assert 3 < loss < 5  # near log(60): the mean over all tokens, not a third of it


def test_leaves_weights_random_state_and_logs_as_they_are_untracked(store):
    def train(callbacks: list[Any]) -> list[Any]:
        random.seed(3)
        np.random.seed(3)
        made = trainer(store.parent, callbacks, logging_steps=2, kind=Trainer)
        result = made.train()
        kinds = [type(callback).__name__ for callback in made.callback_handler.callbacks]
        rows = [{key: row[key] for key in sorted(row) if "per_second" not in key and "runtime" not in key}
                for row in made.state.log_history]  # fmt: skip
        state = [random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()]
        weights = [weight.tolist() for weight in made.model.parameters()]
        return [result.training_loss, result.global_step, rows, state, weights, kinds]

    reference = train([])
    by_hand = train([autotrack.AutoTrack()])
    by_hand[-1].remove("AutoTrack")
    assert by_hand == reference
    autotrack.autolog()
    by_autolog = train([])
    autotrack.autolog(disable=True)
    by_autolog[-1] = [name for name in by_autolog[-1] if "AutoTrack" not in name]
    assert by_autolog == reference
    assert len(autotrack.runs()) == 2


def test_takes_arguments_and_model_config_as_config(store, arm):
    made = trainer(store.parent, arm(), hub_token="hf_secretsecretsecretsecretsecretsecre")
    made.train()
    config = only_run().config
    assert config["learning_rate"] == 0.01
    assert config["per_device_train_batch_size"] == BATCH
    assert config["model"]["class"] == "BertForSequenceClassification"
    assert config["model"]["hidden_size"] == 16
    assert config["model"]["parameters"] == sum(weight.numel() for weight in made.model.parameters())
    assert config["optimizer"] == "AdamW"
    assert config["trainer"] == "Watched"
    assert "secretsecret" not in repr(config)


class Boom(transformers.TrainerCallback):
    """Raises behind the second step."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_step_end(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
        if state.global_step == 2:
            raise self.error


@pytest.mark.parametrize(("kind", "status"), [(ValueError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_records_how_a_training_fails_and_hands_the_error_on(store, arm, kind, status):
    error = kind("out of luck")
    made = trainer(store.parent, [*arm(), Boom(error)])
    with pytest.raises(kind) as caught:
        made.train()
    assert caught.value is error
    run = only_run()
    assert run.status == status
    assert kind.__name__ in str(run.error)
    assert points(run, "auto/loss") == list(enumerate(made.losses, 1))
    assert autotrack.active_run() is None


def test_logs_evaluate_and_predict_after_the_training_into_its_run(store, arm):
    made = trainer(store.parent, arm())
    made.train()
    found = made.evaluate()
    predicted = made.predict(Rows())
    run = only_run()
    assert points(run, "eval_loss") == [(6, found["eval_loss"])]
    assert points(run, "test_loss") == [(6, predicted.metrics["test_loss"])]
    assert run.status == "finished"


def test_records_a_nested_report_by_one_name_for_each_number(store, arm):
    made = trainer(store.parent, arm(), eval_strategy="epoch")
    deep = {"b": {"c": {"d": {"e": {"f": 1.0}}}}}
    report = {"PER": {"f1": 0.5, "number": 3, "names": ["x"]}, "accuracy": 0.25, "a": deep}
    made.compute_metrics = lambda predicted: dict(report)
    with pytest.warns(autotrack.AutotrackWarning, match="'eval_(PER/names|a/b/c/d/e)'") as told:
        made.train()
    assert len(told) == 2
    with pytest.warns(autotrack.AutotrackWarning, match="'test_(PER/names|a/b/c/d/e)'"):
        made.predict(Rows())
    run = only_run()
    assert {key for key in run.metrics if key.startswith(("eval_PER", "eval_a", "test_PER"))} == {
        "eval_PER/f1", "eval_PER/number", "eval_accuracy", "test_PER/f1", "test_PER/number",
    }  # fmt: skip
    assert points(run, "eval_PER/f1") == [(3, 0.5), (6, 0.5)]
    assert points(run, "test_PER/number") == [(6, 3.0)]


def test_opens_no_run_for_an_evaluation_or_a_prediction(store, arm):
    made = trainer(store.parent, arm())
    found = made.evaluate()
    made.predict(Rows())
    assert not store.exists()
    with autotrack.init(project="p"):
        made.evaluate()
    assert points(only_run(), "eval_loss") == [(0, found["eval_loss"])]


def test_a_resumed_training_goes_on_in_the_run_of_its_checkpoint(store, arm):
    made = trainer(store.parent, arm(), save_strategy="epoch", logging_steps=1)
    made.train()
    again = trainer(store.parent, arm(), num_train_epochs=3, logging_steps=1)
    again.train(resume_from_checkpoint=str(store.parent / "out" / "checkpoint-6"))
    done = trainer(store.parent, arm())
    done.train(resume_from_checkpoint=str(store.parent / "out" / "checkpoint-6"))  # no step is left
    run = only_run()
    assert run.attempts == 2
    assert points(run, "auto/loss") == list(enumerate(made.losses + again.losses, 1))
    assert [step for step, _ in points(run, "loss")] == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_records_subclasses_that_log_of_their_own(store, arm):
    class Rewarding(transformers.Seq2SeqTrainer):
        def log(self, logs: dict[str, float], *args: Any) -> None:
            super().log({**logs, "reward": 2.5}, *args)

    arguments = transformers.Seq2SeqTrainingArguments(
        output_dir=str(store.parent),
        max_steps=2,
        logging_steps=1,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    Rewarding(bert(), arguments, train_dataset=Rows(), callbacks=arm()).train()
    assert points(only_run(), "reward") == [(1, 2.5), (2, 2.5), (2, 2.5)]


def test_records_the_first_training_in_the_open_run_and_others_in_children(store, arm):
    with autotrack.init(project="p") as run:
        trainer(store.parent, arm(), max_steps=1).train()
        trainer(store.parent, arm(), max_steps=2).train()
        assert run.status == "running"
    record = autotrack.get_run(run.id)
    (child,) = record.children
    assert (record.config["max_steps"], child.config["max_steps"]) == (1, 2)


def test_one_autotrack_serves_a_training_inside_of_another(store):
    tracker = autotrack.AutoTrack()
    inner = trainer(store.parent, [tracker], max_steps=2, learning_rate=0.5)

    class Inside(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
            if state.global_step == 2:
                inner.train()

    outer = trainer(store.parent, [tracker, Inside()])
    outer.train()
    by_rate = {run.config["learning_rate"]: run for run in autotrack.runs()}
    assert points(by_rate[0.01], "auto/loss") == list(enumerate(outer.losses, 1))
    assert points(by_rate[0.5], "auto/loss") == list(enumerate(inner.losses, 1))


class Meets(transformers.TrainerCallback):
    """Waits at the first step for the other training."""

    def __init__(self, barrier: Barrier) -> None:
        self.barrier = barrier

    def on_step_end(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
        if state.global_step == 1:
            self.barrier.wait(60)


def test_two_trainers_in_two_threads_at_once_have_a_run_each(store, arm):
    callbacks = [*arm(), Meets(Barrier(2))]
    made = [
        trainer(store.parent / str(rate), callbacks, learning_rate=rate, logging_steps=1)
        for rate in (0.5, 0.25)
    ]
    threads = [Thread(target=one.train) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    by_rate = {run.config["learning_rate"]: run for run in autotrack.runs()}
    assert len(by_rate) == len(autotrack.runs()) == 2
    for one in made:
        run = by_rate[one.args.learning_rate]
        assert (run.status, run.parent) == ("finished", None)
        assert points(run, "auto/loss") == list(enumerate(one.losses, 1))
        assert [step for step, _ in points(run, "auto/loss")] == [1, 2, 3, 4, 5, 6]
        assert dict(points(run, "auto/grad_norm")) == pytest.approx(dict(logged(one, "grad_norm")), rel=1e-4)
        for key in ("loss", "train_loss"):
            assert points(run, key) == logged(one, key)


def test_only_one_of_several_autotracks_acts(store):
    autotrack.autolog(project="autolog")
    made = trainer(store.parent, [autotrack.AutoTrack(project="mine"), autotrack.AutoTrack(project="other")])
    made.train()
    made.evaluate()
    autotrack.autolog(disable=True)
    run = only_run()
    assert run.project == "mine"
    assert points(run, "auto/loss") == list(enumerate(made.losses, 1))
    assert len(points(run, "eval_loss")) == 1


def test_autolog_serves_trainers_made_before_it_and_stops_with_those_made_under_it(store):
    before = trainer(store.parent, [])
    callbacks = list(before.callback_handler.callbacks)
    autotrack.autolog(project="p", tags=["t"], group="g")
    under = trainer(store.parent, [])
    before.train()
    autotrack.autolog(disable=True)
    under.train()
    assert before.callback_handler.callbacks == callbacks
    run = only_run()
    assert (run.project, tuple(run.tags), run.group) == ("p", ("t",), "g")


RESTORED = """
import autotrack, transformers
from transformers import Trainer
autotrack.autolog()
autotrack.autolog(disable=True)
defaults = transformers.trainer.DEFAULT_CALLBACKS
before = [vars(Trainer)["train"], vars(Trainer)["training_step"], defaults, list(defaults)]
assert not any(hasattr(function, "__autotrack_patch__") for function in before[:2])
autotrack.autolog()
autotrack.autolog()
assert len(defaults) == len(before[3]) + 1
assert vars(Trainer)["train"] is not before[0]
autotrack.autolog(disable=True)
after = [vars(Trainer)["train"], vars(Trainer)["training_step"], transformers.trainer.DEFAULT_CALLBACKS]
assert all(one is other for one, other in zip(after, before, strict=False))
assert defaults == before[3]
"""


def test_autolog_switched_off_restores_the_originals(store):
    """In a process of its own: an `AutoTrack` of another test may be alive, and keeps its watch on the Trainer."""
    told(RESTORED)
