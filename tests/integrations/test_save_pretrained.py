"""What the user's own code saves with `save_pretrained`: models of transformers, adapters of PEFT."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import autotrack
from autotrack.testing import only_run

# PEFT 0.21 asks transformers 5 for what that has another name for.
pytestmark = [
    pytest.mark.usefixtures("store"),
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]


@pytest.fixture(autouse=True)
def _armed() -> Iterator[None]:
    autotrack.autolog()
    yield
    autotrack.autolog(disable=True)


def test_a_model_and_its_adapter_are_each_one_checkpoint(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    from transformers import BertConfig, BertForSequenceClassification

    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForSequenceClassification(BertConfig(vocab_size=50, **shape))
    with autotrack.init(project="p"):
        model.save_pretrained(tmp_path / "base")
        peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["query"])).save_pretrained(
            str(tmp_path / "adapter"), save_embedding_layers=False
        )
    base, adapter = only_run().checkpoints
    assert (base.path, base.by) == (str(tmp_path / "base"), "BertForSequenceClassification.save_pretrained")
    assert (adapter.path, adapter.by) == (str(tmp_path / "adapter"), "PeftModel.save_pretrained")
    assert [one.format for one in (base, adapter)] == ["safetensors", "safetensors"]
    assert [one.state for one in (base, adapter)] == ["sealed", "sealed"]
