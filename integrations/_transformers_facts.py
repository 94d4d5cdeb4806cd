"""What a transformers Trainer knows about itself when a training begins, as config. Nothing is read from a data set but its head."""

from collections.abc import Mapping
from hashlib import sha256
from operator import methodcaller
from typing import Any

from autotrack.guard import reason
from autotrack.integrations import _optimizer_groups

_TOKENIZER = (
    "name_or_path", "vocab_size", "model_max_length", "padding_side", "truncation_side", "model_input_names",
    "special_tokens_map", "is_fast",
)  # fmt: skip
_PARTS = ("tokenizer", "image_processor", "feature_extractor", "video_processor")
_CALLBACKS_OF_ITS_OWN = (
    "DefaultFlowCallback",
    "PrinterCallback",
    "ProgressCallback",
    "AutoTrack",
    "AutoTrackByDefault",
)


def config_of(args: Any, state: Any, trainer: Any, facts: Mapping[str, Any]) -> dict[str, Any]:
    """`args` under their own names, those that differ from their defaults first; everything else under names of its own.

    `trainer` is None where its `train` is not on the stack. `facts`: the keywords of a callback's hook.
    """
    parts = {
        "model": reason(_model, facts.get("model"))[0],
        "peft": reason(_peft, facts.get("model"))[0],
        "generation": reason(_generation, facts.get("model"))[0],
        "processor": reason(_processor, facts.get("processing_class"))[0],
        "data": reason(_data, trainer, facts)[0],
        "schedule": reason(_schedule, args, state, trainer)[0],
        "optimizer": type(plain_optimizer(facts.get("optimizer"))).__name__,
        "optimizer_groups": reason(_groups, facts.get("optimizer"))[0],
        "lr_scheduler": _class_name(facts.get("lr_scheduler")),
        "trainer": None if trainer is None else type(trainer).__name__,
        "callbacks": None if trainer is None else reason(_callbacks, trainer)[0],
    }
    return _arguments(args) | {name: part for name, part in parts.items() if part}


def _arguments(args: Any) -> dict[str, Any]:
    """All of `TrainingArguments.to_dict()`, in which transformers masks tokens; what was changed stands first."""
    given: dict[str, Any] = dict(args.to_dict())
    defaults = {name: field.default for name, field in type(args).__dataclass_fields__.items()}
    changed = [
        name for name in given if name in defaults and _differs(getattr(args, name, None), defaults[name])
    ]
    return {name: given[name] for name in changed} | given


def _differs(value: Any, default: Any) -> bool:
    value, default = getattr(value, "value", value), getattr(default, "value", default)
    return bool(reason(lambda: value != default)[0])


def _model(model: Any) -> dict[str, Any] | None:
    if model is None:
        return None
    weights, _ = reason(lambda: [(weight.numel(), weight.requires_grad) for weight in model.parameters()])
    facts: dict[str, Any] = {"class": type(model).__name__, "parameters": None}
    if weights is not None:
        facts["parameters"] = sum(number for number, _ in weights)
        facts["trainable_parameters"] = sum(number for number, trained in weights if trained)
    return facts | _as_dict(getattr(model, "config", None))


def _peft(model: Any) -> dict[str, Any] | None:
    adapters = getattr(model, "peft_config", None)
    if not isinstance(adapters, dict):
        return None
    return {str(name): {"class": type(one).__name__} | _as_dict(one) for name, one in adapters.items()}


def _generation(model: Any) -> dict[str, Any] | None:
    """What differs from the defaults of generation."""
    settings = getattr(model, "generation_config", None)
    return None if settings is None else dict(settings.to_diff_dict())


def _processor(processor: Any) -> dict[str, Any] | None:
    """Tokenizers, image processors, feature extractors, and processors made of several of them."""
    if processor is None:
        return None
    facts: dict[str, Any] = {"class": type(processor).__name__}
    parts = {name: getattr(processor, name, None) for name in _PARTS}
    if any(part is not None for part in parts.values()):
        facts |= {name: _processor(part) for name, part in parts.items() if part is not None}
    elif hasattr(processor, "vocab_size"):
        facts |= {
            name: value for name in _TOKENIZER if (value := reason(getattr, processor, name)[0]) is not None
        }
        facts["length"] = reason(len, processor)[0]
    else:
        facts |= _as_dict(processor)
    template = getattr(processor, "chat_template", None)
    if isinstance(template, str):
        facts["chat_template_sha256"] = sha256(template.encode()).hexdigest()
    return facts


def _data(trainer: Any, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The data sets that the trainer was given; without it those of the loaders."""
    if trainer is not None:
        train, evaluated = getattr(trainer, "train_dataset", None), getattr(trainer, "eval_dataset", None)
    else:
        train, evaluated = (
            getattr(facts.get(f"{part}_dataloader"), "dataset", None) for part in ("train", "eval")
        )
    found: dict[str, Any] = {"train": _dataset(train)}
    if isinstance(evaluated, dict):
        found["eval"] = {str(name): _dataset(one) for name, one in evaluated.items()}
    else:
        found["eval"] = _dataset(evaluated)
    collator = getattr(trainer, "data_collator", None)
    found["collator"] = getattr(collator, "__name__", None) or _class_name(collator)
    return {name: one for name, one in found.items() if one}


def _dataset(data: Any) -> dict[str, Any] | None:
    """Class and length; of a `datasets.Dataset` also columns, fingerprint, split, and what it was built from."""
    if data is None:
        return None
    facts: dict[str, Any] = {"class": type(data).__name__}
    if hasattr(data, "__len__"):
        facts["rows"] = reason(len, data)[0]
    columns = getattr(data, "column_names", None)
    if isinstance(columns, list):
        facts["columns"] = [str(column) for column in columns]
    info = getattr(data, "info", None)
    texts = {
        "fingerprint": getattr(data, "_fingerprint", None),
        "split": getattr(data, "split", None),
        "name": getattr(info, "dataset_name", None),
        "builder": getattr(info, "builder_name", None),
        "configuration": getattr(info, "config_name", None),
        "version": getattr(info, "version", None),
    }
    return facts | {name: str(value) for name, value in texts.items() if value is not None}


def _schedule(args: Any, state: Any, trainer: Any) -> dict[str, Any]:
    """What the Trainer has worked out from its arguments and the data."""
    facts = {"max_steps": state.max_steps, "epochs": state.num_train_epochs, "world_size": args.world_size}
    if trainer is not None:
        micro = int(trainer._train_batch_size)
        facts["micro_batch_size"] = micro
        facts["samples_per_step"] = micro * args.gradient_accumulation_steps * data_ranks(trainer)
    return facts


def data_ranks(trainer: Any) -> int:
    """How many ranks train on different data."""
    shared, _ = reason(trainer.get_tp_size)
    return max(1, int(trainer.args.world_size) // int(shared or 1))


def plain_optimizer(optimizer: Any) -> Any:
    """The optimizer under accelerate's shell."""
    return getattr(optimizer, "optimizer", optimizer)


def _groups(optimizer: Any) -> list[dict[str, Any]]:
    """The settings of each parameter group, and how many weights it holds."""
    return [
        _optimizer_groups.settings(group) | {"parameters": sum(weight.numel() for weight in group["params"])}
        for group in plain_optimizer(optimizer).param_groups
    ]


def _callbacks(trainer: Any) -> list[dict[str, Any]]:
    """The callbacks that the user gave, with the settings that they would save."""
    found = []
    for callback in trainer.callback_handler.callbacks:
        name = type(callback).__name__
        if name not in _CALLBACKS_OF_ITS_OWN:
            state, _ = reason(lambda one=callback: one.state()["args"])
            found.append({"class": name} | (state if isinstance(state, dict) else {}))
    return found


def _as_dict(settings: Any) -> dict[str, Any]:
    made, _ = reason(methodcaller("to_dict"), settings)
    return made if isinstance(made, dict) else {}


def _class_name(thing: Any) -> str | None:
    return None if thing is None else type(thing).__name__
