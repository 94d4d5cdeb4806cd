"""The same thing by hand: `AutoTrack()` in the Trainer's callbacks, and plain `python transformers_callback.py`."""

import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

from autotrack import AutoTrack

if __name__ == "__main__":
    set_seed(0)
    tokens = torch.randint(0, 50, (32, 10))
    data = [{"input_ids": row, "labels": row[0] % 2} for row in tokens]
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=2,
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=4,
            per_device_train_batch_size=8,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=BertForSequenceClassification(config),
            args=arguments,
            train_dataset=data,
            callbacks=[AutoTrack(project="examples", name="by hand")],
        )
        trainer.train()
