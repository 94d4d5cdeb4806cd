"""transformers' Trainer: what is recorded about a training besides its metrics, and why it stopped."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from tiny_transformers import BATCH, ROWS, Rows, Texts, Watched, bert, llama, logged, trainer
from tokenizers import Tokenizer, models
from transformers import Trainer

import autotrack
from autotrack.testing import only_run, points

OLD = transformers.__version__.startswith("4.")

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "transformers"


def test_arguments_are_all_recorded_and_the_changed_ones_come_first(store, arm):
    made = trainer(store.parent, arm(), max_steps=1, hub_token="hf_secretsecretsecretsecretsecretsecre")
    made.train()
    config = only_run().config
    given = made.args.to_dict()
    assert set(given) <= set(config)
    names = list(config)
    changed = names[: names.index("weight_decay")]
    assert {"output_dir", "learning_rate", "per_device_train_batch_size", "max_steps"} <= set(changed)
    assert "adam_beta1" not in changed
    assert "secretsecret" not in repr(config)


def test_the_data_are_recorded_by_class_and_length(store, arm):
    made = trainer(store.parent, arm(), max_steps=1)
    made.eval_dataset = {"short": Rows(), "other": Rows()}
    made.train()
    data = only_run().config["data"]
    assert data["train"] == {"class": "Rows", "rows": ROWS}
    assert data["eval"] == {
        "short": {"class": "Rows", "rows": ROWS},
        "other": {"class": "Rows", "rows": ROWS},
    }
    assert data["collator"] == "default_data_collator"


def test_a_data_set_is_recorded_with_columns_fingerprint_split_and_source(store, arm):
    info = SimpleNamespace(
        dataset_name="imdb", builder_name="parquet", config_name="plain_text", version="1.2.3"
    )

    class Table(Rows):
        """With what a `datasets.Dataset` has besides its rows."""

        def __init__(self) -> None:
            self.info, self.split, self._fingerprint = info, "train[:10%]", "0a1b2c3d"
            self.column_names = ["input_ids", "labels"]

    trainer(store.parent, arm(), rows=Table(), max_steps=1).train()
    assert only_run().config["data"]["train"] == {
        "class": "Table",
        "rows": ROWS,
        "columns": ["input_ids", "labels"],
        "fingerprint": "0a1b2c3d",
        "split": "train[:10%]",
        "name": "imdb",
        "builder": "parquet",
        "configuration": "plain_text",
        "version": "1.2.3",
    }


def test_a_trainer_without_a_length_of_its_data_is_recorded(store, arm):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self) -> Any:
            return (Rows()[row] for row in range(8))

    made = trainer(store.parent, arm(), rows=Stream(), max_steps=10)
    made.train()
    run = only_run()
    assert run.config["data"]["train"] == {"class": "Stream"}
    assert run.config["stopped"]["by"] == "max_steps"


@pytest.mark.skipif(OLD, reason="this version of transformers looks for labels in a batch that is not there")
def test_data_that_end_before_the_steps_do_are_the_reason(store, arm):
    class Once(torch.utils.data.IterableDataset):
        def __init__(self) -> None:
            self.rows = iter([Rows()[row] for row in range(8)])

        def __iter__(self) -> Any:
            return self.rows

    alone = {"dispatch_batches": False}
    trainer(store.parent, arm(), rows=Once(), max_steps=10, accelerator_config=alone).train()
    run = only_run()
    assert run.config["stopped"] == {"by": "data", "reason": "the data ended at step 2 of 10"}
    assert run.status == "finished"


def test_a_tokenizer_is_recorded_by_what_it_does_to_texts(store, arm):
    words = {"[PAD]": 0, "[UNK]": 1, "a": 2}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="[UNK]")),
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_max_length=77,
    )
    tokenizer.chat_template = "{{ messages }}"
    made = trainer(store.parent, arm(), max_steps=1)
    made.processing_class = made.callback_handler.processing_class = tokenizer
    made.train()
    facts = only_run().config["processor"]
    assert facts["class"] in ("PreTrainedTokenizerFast", "TokenizersBackend")
    assert (facts["vocab_size"], facts["length"], facts["model_max_length"]) == (3, 3, 77)
    assert facts["special_tokens_map"]["pad_token"] == "[PAD]"
    assert len(facts["chat_template_sha256"]) == 64


def test_a_processor_is_recorded_by_its_settings(store, arm):
    made = trainer(store.parent, arm(), max_steps=1)
    pictures = transformers.ViTImageProcessor(size={"height": 7, "width": 9})
    made.processing_class = made.callback_handler.processing_class = pictures
    made.train()
    facts = only_run().config["processor"]
    assert facts["class"].startswith("ViTImageProcessor")
    assert (facts["size"]["height"], facts["size"]["width"]) == (7, 9)


def test_model_optimizer_and_schedule_are_recorded(store, arm):
    model = llama()
    model.generation_config.max_new_tokens = 33
    for weight in model.model.embed_tokens.parameters():
        weight.requires_grad = False
    settings = {"gradient_accumulation_steps": 2, "weight_decay": 0.1, "warmup_steps": 2}
    trainer(store.parent, arm(), model, rows=Texts(), **settings).train()
    config = only_run().config
    everything = sum(weight.numel() for weight in model.parameters())
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert (config["model"]["parameters"], config["model"]["trainable_parameters"]) == (everything, trained)
    assert config["generation"]["max_new_tokens"] == 33
    assert [group["weight_decay"] for group in config["optimizer_groups"]] == [0.1, 0.0]
    assert [group["lr"] for group in config["optimizer_groups"]] == [
        0.01,
        0.01,
    ]  # not the 0 of the first step
    assert sum(group["parameters"] for group in config["optimizer_groups"]) == trained
    assert config["lr_scheduler"] == "LambdaLR"
    schedule = {
        "max_steps": 4,
        "epochs": 2,
        "world_size": 1,
        "micro_batch_size": BATCH,
        "samples_per_step": 2 * BATCH,
    }
    assert config["schedule"] == schedule


@pytest.mark.parametrize(
    ("settings", "by", "words"),
    [
        ({"max_steps": 2}, "max_steps", "max_steps=2"),
        ({"num_train_epochs": 1}, "max_epochs", "num_train_epochs=1"),
    ],
)
def test_a_training_that_is_done_says_by_what(store, arm, settings, by, words):
    trainer(store.parent, arm(), **settings).train()
    stopped = only_run().config["stopped"]
    assert stopped["by"] == by
    assert words in stopped["reason"]


class Stop(transformers.TrainerCallback):
    """Stops behind the second step, or raises there."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def on_step_end(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
        if state.global_step == 2:
            if self.error is not None:
                raise self.error
            control.should_training_stop = True


def test_a_callback_that_stops_the_training_is_named(store, arm):
    trainer(store.parent, [*arm(), Stop()]).train()
    run = only_run()
    reason = "control.should_training_stop was set at step 2 of 6, by Stop"
    assert run.config["stopped"] == {"by": "callback", "reason": reason}
    assert run.status == "finished"
    assert [one["class"] for one in run.config["callbacks"]] == ["Stop"]


@pytest.mark.parametrize(("kind", "by"), [(ValueError, "error"), (KeyboardInterrupt, "interrupted")])
def test_an_error_that_stops_the_training_is_its_reason(store, arm, kind, by):
    made = trainer(store.parent, [*arm(), Stop(kind("bad luck"))])
    with pytest.raises(kind):
        made.train()
    stopped = only_run().config["stopped"]
    assert stopped["by"] == by
    assert stopped["reason"] == f"{kind.__name__}: bad luck at step 2 of 6"


class Worse(Watched):
    """Each evaluation is worse than the one before."""

    number = 0.0

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        Worse.number += 1.0
        return super().evaluate(*args, **kwargs)


def worse(_: Any) -> dict[str, float]:
    return {"score": 10.0 - Worse.number}


def test_early_stopping_and_the_best_checkpoint_are_recorded(store, arm):
    Worse.number = 0.0
    early = transformers.EarlyStoppingCallback(early_stopping_patience=2)
    made = trainer(
        store.parent,
        [*arm(), early],
        kind=Worse,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=1,
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="score",
        greater_is_better=True,
    )
    made.compute_metrics = worse
    made.train()
    config = only_run().config
    assert config["stopped"]["by"] == "early_stopping"
    assert config["stopped"]["reason"] == "eval_score was no better than 9 in 2 evaluations, step 3 of 6"
    checkpoint = str(store.parent / "out" / "checkpoint-1")
    assert config["best"] == {"metric": "eval_score", "value": 9.0, "step": 1, "checkpoint": checkpoint}
    assert config["callbacks"] == [
        {"class": "EarlyStoppingCallback", "early_stopping_patience": 2, "early_stopping_threshold": 0.0}
    ]


def test_each_of_several_evaluation_sets_has_its_metrics(store, arm):
    made = trainer(store.parent, arm(), eval_strategy="epoch")
    made.eval_dataset = {"near": Rows(), "far": Rows()}
    made.train()
    run = only_run()
    for key in ("eval_near_loss", "eval_far_loss"):
        assert points(run, key) == logged(made, key)
        assert [step for step, _ in points(run, key)] == [3, 6]


def test_evaluations_are_recorded_also_when_log_hands_nothing_on(store, arm):
    class Silent(Trainer):
        def log(self, logs: dict[str, float], *args: Any) -> None:
            logs["mine"] = 1.0

    made = trainer(store.parent, arm(), kind=Silent, eval_strategy="epoch", logging_steps=1)
    made.train()
    found = made.evaluate()
    run = only_run()
    assert [step for step, _ in points(run, "eval_loss")] == [3, 6, 6]
    assert points(run, "eval_loss")[-1] == (6, found["eval_loss"])
    assert [step for step, _ in points(run, "auto/loss")] == [1, 2, 3, 4, 5, 6]


def test_what_a_loss_function_logs_of_its_own_is_recorded(store, arm):
    class Chatty(Watched):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(*args, **kwargs)
            self.log({"mine": 2.0})
            return loss

    made = trainer(store.parent, arm(), kind=Chatty, max_steps=2)
    made.train()
    run = only_run()
    assert points(run, "mine") == [(0, 2.0), (1, 2.0)]  # the steps that the Trainer itself gives them
    assert points(run, "auto/loss") == list(enumerate(made.losses, 1))


def test_each_training_of_a_trainer_has_facts_of_its_own(store, arm):
    made = trainer(store.parent, arm(), max_steps=1)
    made.train()
    made.args.max_steps = 2
    made.train()
    reasons = {run.config["stopped"]["reason"] for run in autotrack.runs()}
    assert reasons == {"max_steps=1 reached", "max_steps=2 reached"}


def test_the_second_trainer_of_a_model_sees_what_was_changed(store):
    model = bert()
    for rate in (0.5, 0.25):
        trainer(store.parent, [autotrack.AutoTrack()], model, max_steps=1, learning_rate=rate).train()
    assert {run.config["optimizer_groups"][0]["lr"] for run in autotrack.runs()} == {0.5, 0.25}
