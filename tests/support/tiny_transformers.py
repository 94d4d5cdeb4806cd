"""Tiny models, data and Trainers of transformers for the tests: nothing is downloaded, everything runs on the CPU."""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM, Trainer

ROWS, BATCH = 12, 4


class Rows(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> dict[str, Any]:
        words = torch.randint(5, 50, (8,), generator=torch.Generator().manual_seed(row))
        return {"input_ids": words, "attention_mask": torch.ones(8, dtype=torch.long), "labels": row % 2}


class Texts(Rows):
    """The first word is no label: no model predicts it, but version 4 counts it among the items of a step."""

    def __getitem__(self, row: int) -> dict[str, Any]:
        words = super().__getitem__(row)["input_ids"]
        return {"input_ids": words, "labels": torch.cat([torch.tensor([-100]), words[1:]])}


def bert() -> Any:
    return _bert()


def steady_bert() -> Any:
    """Without dropout: version 4 keeps that of the attention outside of any module."""
    return _bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def _bert(**settings: Any) -> Any:
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    config = BertConfig(vocab_size=60, max_position_embeddings=16, **shape, **settings)
    return BertForSequenceClassification(config)


def llama() -> Any:
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=60, max_position_embeddings=16, **shape))


class Watched(Trainer):
    """Keeps the loss of each micro-batch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.losses: list[float] = []

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)
        if self.model.training:
            self.losses.append(float((loss[0] if isinstance(loss, tuple) else loss).detach()))
        return loss


def trainer(folder: Path, callbacks: list[Any], model: Any = None, **settings: Any) -> Any:
    settings = {
        "output_dir": str(folder / "out"),
        "num_train_epochs": 2,
        "per_device_train_batch_size": BATCH,
        "use_cpu": True,
        "disable_tqdm": True,
        "report_to": "none",
        "save_strategy": "no",
        "dataloader_pin_memory": False,
        "learning_rate": 0.01,
        **settings,
    }
    kind = settings.pop("kind", Watched)
    rows = settings.pop("rows", Rows())
    arguments = transformers.TrainingArguments(**settings)
    return kind(model or bert(), arguments, train_dataset=rows, eval_dataset=rows, callbacks=callbacks)


def logged(made: Any, key: str) -> list[tuple[int, float]]:
    return [(row["step"], row[key]) for row in made.state.log_history if key in row]
