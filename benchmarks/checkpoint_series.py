"""Series of ten checkpoints from real trainings, for benchmarks/checkpoints.py; in the environment `training`.

The models have random weights, as nothing is downloaded, and learn random labels: what changes between two saves is what AdamW
changes. Beside each series lies `<name>.json` with the file name, the step and the held-out loss of each save.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
)

SAVES = 10
STEPS = 2
"""Between two saves."""
Saved = tuple[str, int, float]


def make(folder: Path, series: str, seed: int, small: bool) -> dict[str, Any]:
    """Train, and save ten times; which model it was."""
    torch.manual_seed(seed)
    place = folder / series
    place.mkdir(parents=True)
    saved, about = SERIES[place.name](place, small)
    place.with_suffix(".json").write_text(json.dumps(saved))
    os.sync()
    return {"saves": len(saved), "about": about}


def frozen(place: Path, small: bool) -> tuple[list[Saved], str]:
    """A ViT of which only the head is trained: `torch.save` of model, optimizer and step."""
    config = ViTConfig(
        hidden_size=32 if small else 384, num_hidden_layers=12, num_attention_heads=2 if small else 6,
        intermediate_size=128 if small else 1536, image_size=64, num_labels=10 if small else 1000,
    )  # fmt: skip
    model = ViTForImageClassification(config)
    for parameter in model.vit.parameters():
        parameter.requires_grad = False
    optimizer = torch.optim.AdamW(model.classifier.parameters(), lr=1e-3)
    images, labels = torch.randn(12, 3, 64, 64), torch.randint(config.num_labels, (12,))

    def loss(rows: slice) -> torch.Tensor:
        return cross_entropy(model(images[rows]).logits, labels[rows])

    saved = []
    for step, held_out in trained(model, optimizer, loss):
        name = f"step={step}.pt"
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(state, place / name)
        saved.append((name, step, held_out))
    return saved, f"{described(model)}, the head trained"


def lora(place: Path, small: bool) -> tuple[list[Saved], str]:
    """A Llama with an adapter of PEFT: the weights with the adapter in them, the adapter as PEFT saves it, the optimizer."""
    return _adapted(place, small, whole=True)


def adapter(place: Path, small: bool) -> tuple[list[Saved], str]:
    """The same without the weights that do not change."""
    return _adapted(place, small, whole=False)


def _adapted(place: Path, small: bool, whole: bool) -> tuple[list[Saved], str]:
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import save_model

    layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(llama(small, layers=10), LoraConfig(r=8, lora_alpha=16, target_modules=layers))
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=1e-3)
    saved = []
    for step, held_out in trained(model, optimizer, on_tokens(model, small)):
        folder = place / f"checkpoint-{step}"
        model.save_pretrained(folder)
        if whole:
            save_model(model, str(folder / "model.safetensors"))
        torch.save(optimizer.state_dict(), folder / "optimizer.pt")
        saved.append((folder.name, step, held_out))
    return saved, f"{described(model)}, LoRA of rank 8 on all linear layers"


def full(place: Path, small: bool) -> tuple[list[Saved], str]:
    """A Llama of which everything is trained, by transformers' Trainer: its `checkpoint-N` folders."""
    model = llama(small, layers=3)
    words = TrainingArguments(
        output_dir=str(place), max_steps=SAVES * STEPS, save_steps=STEPS, eval_steps=STEPS, eval_strategy="steps",
        per_device_train_batch_size=2, logging_steps=STEPS, report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(model, words, train_dataset=rows(small, 40), eval_dataset=rows(small, 4))
    trainer.train()
    losses = {row["step"]: row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row}
    return [
        (f"checkpoint-{step}", step, losses[step]) for step in sorted(losses)
    ], f"{described(model)}, all trained"


def llama(small: bool, layers: int) -> LlamaForCausalLM:
    """A small Llama."""
    size = 32 if small else 384
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=200 if small else 4000, hidden_size=size, intermediate_size=8 * size // 3, num_hidden_layers=layers,
            num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=64, tie_word_embeddings=False,
        )
    )  # fmt: skip


def rows(small: bool, count: int) -> list[dict[str, torch.Tensor]]:
    """Random texts of 16 tokens."""
    tokens = torch.randint(200 if small else 4000, (count, 16))
    return [{"input_ids": each, "labels": each} for each in tokens]


def on_tokens(model: Any, small: bool) -> Callable[[slice], torch.Tensor]:
    """The loss of a language model on some of twelve random texts."""
    tokens = torch.stack([each["input_ids"] for each in rows(small, 12)])

    def loss(some: slice) -> torch.Tensor:
        found: torch.Tensor = model(input_ids=tokens[some], labels=tokens[some]).loss
        return found

    return loss


def trained(model: Any, optimizer: Any, loss: Callable[[slice], torch.Tensor]) -> Iterator[tuple[int, float]]:
    """Train; at each save the step and the loss on what is held out."""
    for step in range(1, SAVES * STEPS + 1):
        optimizer.zero_grad()
        loss(slice(0, 8)).backward()
        optimizer.step()
        if step % STEPS == 0:
            with torch.no_grad():
                yield step, loss(slice(8, 12)).item()


def described(model: Any) -> str:
    """The model's name and size."""
    inside = model.get_base_model() if hasattr(model, "get_base_model") else model
    count = sum(each.numel() for each in model.parameters())
    return f"{type(inside).__name__} of {count / 1e6:.1f} M parameters"


SERIES: dict[str, Callable[[Path, bool], tuple[list[Saved], str]]] = {
    "frozen": frozen,
    "lora": lora,
    "adapter": adapter,
    "full": full,
}
