"""What a Lightning trainer, its module and its data are set to: the config of a run."""

import os
from collections.abc import Iterable, Mapping, Sequence
from operator import methodcaller
from typing import Any

from autotrack.guard import reason
from autotrack.integrations import _optimizer_groups
from autotrack.integrations._lightning_values import scalar

_TRAINER_FACTS = (
    "max_epochs", "min_epochs", "max_steps", "min_steps", "num_training_batches", "accumulate_grad_batches",
    "gradient_clip_val", "gradient_clip_algorithm", "precision", "num_devices", "device_ids", "num_nodes", "world_size",
    "check_val_every_n_epoch", "val_check_interval", "num_sanity_val_steps", "log_every_n_steps", "overfit_batches",
    "limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches",
    "reload_dataloaders_every_n_epochs", "default_root_dir", "ckpt_path", "barebones",
)  # fmt: skip
_TRAINER_PARTS = ("strategy", "accelerator", "precision_plugin", "profiler")
_LOADER_FACTS = (
    "batch_size",
    "num_workers",
    "drop_last",
    "pin_memory",
    "prefetch_factor",
    "persistent_workers",
)
_PLAIN = (str, int, float, bool, type(None))
SUMMARY_ROWS, SUMMARY_DEPTH = 1_000, 2


def config_of(trainer: Any, module: Any, own: Iterable[Any] = ()) -> dict[str, Any]:
    """Hyper-parameters of the module under their own names; what Lightning knows under trainer, model, optimizer, ….

    Where a hyper-parameter bears one of these names it keeps it, and what Lightning knows is under `lightning`.
    `own`: callbacks that are not listed.
    """
    facts = {
        "trainer": trainer_facts(trainer),
        "model": model_facts(module),
        "optimizer": _one_or_all(
            [optimizer_facts(one, _scheduled(trainer, one)) for one in trainer.optimizers]
        ),
        "lr_scheduler": _one_or_all([_scheduler(entry) for entry in trainer.lr_scheduler_configs]),
        "callbacks": _by_class(_foreign(trainer.callbacks, own)),
        "data": _data(trainer),
        "datamodule": _datamodule(trainer.datamodule),
        "loggers": [type(logger).__name__ for logger in trainer.loggers],
    }
    facts = {name: value for name, value in facts.items() if value}
    settings = dict(module.hparams)
    hidden = {name: facts.pop(name) for name in list(facts) if name in settings}
    return facts | ({"lightning": hidden} if hidden else {}) | settings


def trainer_facts(trainer: Any) -> dict[str, Any]:
    """Settings of the trainer, and the classes of its parts."""
    facts = {name: reason(getattr, trainer, name, None)[0] for name in _TRAINER_FACTS}
    for name in _TRAINER_PARTS:
        facts[name] = type(getattr(trainer, name, None)).__name__
    facts["plugins"] = [type(plugin).__name__ for plugin in _listed(getattr(trainer, "plugins", None))]
    if reason(getattr, trainer, "train_dataloader", None)[0] is not None:  # else asking would load the data
        facts["estimated_stepping_batches"] = reason(getattr, trainer, "estimated_stepping_batches")[0]
    return {name: value for name, value in facts.items() if value is not None and value != []} | seed_facts()


def seed_facts() -> dict[str, Any]:
    """What `seed_everything` was given last, which Lightning keeps in the environment."""
    seed, workers = os.environ.get("PL_GLOBAL_SEED"), os.environ.get("PL_SEED_WORKERS")
    if seed is None or not seed.isdecimal():
        return {}
    return {"seed": int(seed), "seed_workers": workers == "1"}


def model_facts(module: Any) -> dict[str, Any]:
    """Class, number of parameters, and number of bytes of them."""
    facts: dict[str, Any] = {"class": type(module).__name__}
    counts, _ = reason(lambda: [(w.numel(), w.requires_grad, w.element_size()) for w in module.parameters()])
    if counts is not None:  # lazy layers have no size yet
        facts["parameters"] = sum(n for n, _, _ in counts)
        facts["trainable_parameters"] = sum(n for n, trained, _ in counts if trained)
        facts["parameter_bytes"] = sum(n * size for n, _, size in counts)
    return facts


def summary_of(module: Any) -> list[dict[str, Any]]:
    """The parts of a model down to two levels: name, class, own and trained parameters."""
    rows: list[dict[str, Any]] = []
    for name, part in module.named_modules():
        if name and name.count(".") < SUMMARY_DEPTH and len(rows) < SUMMARY_ROWS:
            facts = model_facts(part)
            counts = {key: facts.get(key) for key in ("parameters", "trainable_parameters")}
            rows.append({"name": name, "class": facts["class"], **counts, "training": part.training})
    return rows


def optimizer_facts(optimizer: Any, scheduled: Iterable[Any] = ()) -> dict[str, Any]:
    """Class and settings of an optimizer; those of each group where there are several.

    `scheduled`: the rates that its schedulers set last.
    """
    groups = [
        {key: _waits_for_nobody(value) for key, value in _optimizer_groups.settings(group, scheduled).items()}
        for group in optimizer.param_groups
    ]
    facts: dict[str, Any] = {"class": type(optimizer).__name__}
    return facts | groups[0] if len(groups) == 1 else facts | {"groups": groups}


def _scheduled(trainer: Any, optimizer: Any) -> list[Any]:
    schedulers = [entry.scheduler for entry in trainer.lr_scheduler_configs]
    return [
        rate
        for scheduler in schedulers
        if getattr(scheduler, "optimizer", None) is optimizer
        for rate in reason(methodcaller("get_last_lr"), scheduler)[0] or []
    ]


def _waits_for_nobody(value: Any) -> Any:
    """The value, but of a tensor on an accelerator only where it lies: to show its number is to wait for the device."""
    if not hasattr(value, "detach"):
        return value
    number = scalar(value)
    return f"<on {value.device}>" if hasattr(number, "detach") else number


def settings_of(part: Any) -> dict[str, Any]:
    """What an object was made with: arguments of its `__init__` that it keeps as plain values under the same name."""
    found: dict[str, Any] = {}
    held = vars(part)
    for kind in type(part).__mro__:
        code = getattr(vars(kind).get("__init__"), "__code__", None)
        names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount] if code is not None else ()
        for name in names:
            for key in (name, f"_{name}"):
                if key in held and name not in found and _is_plain(held[key]):
                    found[name] = held[key]
    return found


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple, set)):
        return len(value) < 100 and all(isinstance(item, _PLAIN) for item in value)
    if isinstance(value, dict):
        return len(value) < 100 and all(isinstance(item, _PLAIN) for item in value.values())
    return isinstance(value, _PLAIN) or type(value).__name__ in ("timedelta", "PosixPath", "WindowsPath")


def _by_class(parts: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """Settings by class; a second one of a class is numbered."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        name = kind = type(part).__name__
        number = 1
        while name in found:
            number += 1
            name = f"{kind}-{number}"
        found[name] = reason(settings_of, part)[0] or {}
    return found


def _foreign(callbacks: Iterable[Any], own: Iterable[Any]) -> list[Any]:
    ours = [id(callback) for callback in own]
    return [callback for callback in callbacks if id(callback) not in ours]


def _scheduler(entry: Any) -> dict[str, Any]:
    facts = {"class": type(entry.scheduler).__name__} | (reason(settings_of, entry.scheduler)[0] or {})
    facts.pop("last_epoch", None)
    for name in ("interval", "frequency", "monitor", "name"):
        value = getattr(entry, name, None)
        if value is not None:
            facts[name] = value
    return facts


def _datamodule(datamodule: Any) -> dict[str, Any]:
    if datamodule is None:
        return {}
    return {"class": type(datamodule).__name__} | dict(getattr(datamodule, "hparams", {}))


def _data(trainer: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for split, name in (
        ("train", "train_dataloader"),
        ("val", "val_dataloaders"),
        ("test", "test_dataloaders"),
    ):
        loaders = reason(getattr, trainer, name, None)[0]
        if loaders is not None:
            found[split] = _loaders(loaders)
    return found


def _loaders(loaders: Any) -> Any:
    if isinstance(loaders, Mapping):
        return {str(name): _loaders(loader) for name, loader in loaders.items()}
    if isinstance(loaders, (list, tuple)):
        return _one_or_all([_loaders(loader) for loader in loaders])
    facts: dict[str, Any] = {"class": type(loaders).__name__}
    for name in _LOADER_FACTS:
        value = getattr(loaders, name, None)
        if isinstance(value, (int, float)):
            facts[name] = value
    facts["batches"] = reason(len, loaders)[0]
    dataset = getattr(loaders, "dataset", None)
    if dataset is not None:
        facts["dataset"] = type(dataset).__name__
        facts["samples"] = reason(len, dataset)[0]
    sampler = getattr(loaders, "sampler", None)
    if sampler is not None:
        facts["sampler"] = type(sampler).__name__
    return {name: value for name, value in facts.items() if value is not None}


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _one_or_all(items: Sequence[Any]) -> Any:
    return items[0] if len(items) == 1 else list(items)
