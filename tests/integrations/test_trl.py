"""TRL's SFT, DPO and GRPO trainers, with PEFT: tiny models made from their configs, nothing is downloaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autotrack
from autotrack.testing import only_run, points

pytestmark = [pytest.mark.proof, pytest.mark.filterwarnings("default")]
FRAMEWORK = "transformers"

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
SETTINGS = {
    "num_train_epochs": 2,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "logging_steps": 1,
    "save_strategy": "epoch",
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
    "gradient_checkpointing": False,
    "learning_rate": 0.01,
}
CLOCKS = ("runtime", "per_second", "step_time", "clip_ratio", "num_tokens")


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: place for place, word in enumerate(["<pad>", "<eos>", "<unk>", *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def model(folder: Path) -> Any:
    """From a folder: DPO loads what it compares with from there."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    made = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=11, max_position_embeddings=64, pad_token_id=0, eos_token_id=1, bos_token_id=1, **shape
        )
    )
    made.save_pretrained(folder / "model")
    return LlamaForCausalLM.from_pretrained(folder / "model")


def rows(*columns: str) -> Any:
    from datasets import Dataset

    return Dataset.from_list(
        [
            {name: " ".join(WORDS[(at + place) % 8 :][:4]) for place, name in enumerate(columns)}
            for at in range(8)
        ]
    )


def sft(folder: Path, callbacks: list[Any], peft: Any) -> Any:
    import trl

    settings = trl.SFTConfig(str(folder), max_length=16, **SETTINGS)
    return trl.SFTTrainer(
        model(folder.parent),
        settings,
        train_dataset=rows("text"),
        processing_class=tokenizer(),
        peft_config=peft,
        callbacks=callbacks,
    )


def dpo(folder: Path, callbacks: list[Any], peft: Any) -> Any:
    import trl

    settings = trl.DPOConfig(str(folder), max_length=16, **SETTINGS)
    return trl.DPOTrainer(
        model(folder.parent), args=settings, train_dataset=rows("prompt", "chosen", "rejected"), processing_class=tokenizer(),
        peft_config=peft, callbacks=callbacks,
    )  # fmt: skip


def grpo(folder: Path, callbacks: list[Any], peft: Any) -> Any:
    import trl

    def longest(completions: list[str], **facts: Any) -> list[float]:
        return [float(len(text)) for text in completions]

    settings = trl.GRPOConfig(
        str(folder), num_generations=2, max_completion_length=4, **SETTINGS | {"num_train_epochs": 1}
    )
    return trl.GRPOTrainer(
        model(folder.parent), longest, settings, train_dataset=rows("prompt"), processing_class=tokenizer(), peft_config=peft,
        callbacks=callbacks,
    )  # fmt: skip


def lora(wanted: bool) -> Any:
    from peft import LoraConfig

    return LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM") if wanted else None


def trained(make: Callable[..., Any], folder: Path, callbacks: list[Any], peft: bool) -> tuple[Any, Any, Any]:
    """The trainer, its weights, and what it logged but for the times."""
    import torch
    import transformers

    transformers.set_seed(0)
    made = make(folder, callbacks, lora(peft))
    made.train()
    told = [
        {key: value for key, value in row.items() if not key.endswith(CLOCKS)}
        for row in made.state.log_history
    ]
    return (
        made,
        ([weight.tolist() for weight in made.model.parameters()], torch.get_rng_state().tolist()),
        told,
    )


@pytest.mark.parametrize("peft", [False, True], ids=["whole", "peft"])
@pytest.mark.parametrize("make", [sft, dpo, grpo])
def test_is_recorded_whole_and_trains_as_untracked(store, tmp_path, arm, make, peft):
    with autotrack.disabled():
        _, expected, said = trained(make, tmp_path / "untracked", [], peft)
    callbacks = arm()
    made, state, told = trained(make, tmp_path / "tracked", callbacks, peft)
    assert state == expected
    assert repr(told) == repr(said)
    run = only_run()
    assert (run.status, run.framework) == ("finished", "transformers")
    last = made.state.global_step
    logged = {key for row in made.state.log_history for key in row} - {"step", "epoch"}
    assert {"loss", "grad_norm", "learning_rate"} < logged
    for key in logged:
        seen = [(row["step"], row[key]) for row in made.state.log_history if key in row]
        assert repr(points(run, key)) == repr([(step, float(value)) for step, value in seen]), key
    assert [step for step, _ in points(run, "auto/loss")] == list(range(1, last + 1))
    assert [step for step, _ in points(run, "auto/grad_norm")] == list(range(1, last + 1))
    assert run.config["trainer"] == type(made).__name__
    assert ("peft" in run.config) is peft
    assert run.config["model"]["trainable_parameters"] < run.config["model"]["parameters"] or not peft
    assert [one.step for one in run.checkpoints if "checkpoint-" in one.path] == sorted(
        {last // 2, last} if make is not grpo else {last}
    )


def test_what_trls_parser_reads_from_a_file_and_the_command_line_is_recorded(store, tmp_path):
    from trl import ModelConfig, ScriptArguments, TrlParser

    (tmp_path / "set.yaml").write_text("model_name_or_path: mine\n", encoding="utf-8")
    autotrack.argparse.autolog()
    with autotrack.init():
        TrlParser((ScriptArguments, ModelConfig)).parse_args_and_config(
            ["--config", str(tmp_path / "set.yaml"), "--dataset_name", "d"]
        )
    autotrack.autolog(disable=True)
    assert only_run().config == {"model_name_or_path": "mine", "dataset_name": "d"}
