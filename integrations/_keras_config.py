"""What a Keras model, its optimizer and its `compile` and `fit` say of themselves, for the run's config."""

import sys
from typing import Any

from autotrack.guard import reason


def has_own_train_step(model: Any) -> bool:
    """Whether the class of the model is a `train_step` of the user's own, whose logs may mean anything."""
    owner = next((kind for kind in type(model).__mro__ if "train_step" in vars(kind)), None)
    return owner is not None and not owner.__module__.startswith("keras.src.")


def config_of(model: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Optimizer, `compile`, `fit` and model, each under its name."""
    optimizer: Any = getattr(model, "optimizer", None)
    keras = sys.modules.get("keras.src.backend.config")
    config: dict[str, Any] = {
        "model": {"class": type(model).__name__, "name": getattr(model, "name", None)} | _size(model),
        "optimizer": {"class": type(optimizer).__name__},
        "compile": _compiled(model),
        "fit": arguments,
    }
    own, _ = reason(optimizer.get_config) if optimizer is not None else (None, None)
    config["optimizer"] |= own or {}
    if keras is not None:
        config["backend"] = keras.backend()
    return config


def _size(model: Any) -> dict[str, Any]:
    def count(weights: Any) -> int:
        total = 0
        for weight in weights:
            size = 1
            for length in weight.shape:
                size *= int(length)
            total += size
        return total

    sizes, _ = reason(lambda: (count(model.weights), count(model.trainable_weights)))
    return {"parameters": sizes[0], "trainable_parameters": sizes[1]} if sizes else {}


def _compiled(model: Any) -> dict[str, Any]:
    """What `compile` was given, without the optimizer. Keras's own serialisation warns about lambdas, so it is not asked."""
    given: Any = getattr(getattr(model, "_compile_config", None), "config", None)
    if not isinstance(given, dict):
        return {}
    return {name: _told(value) for name, value in given.items() if name != "optimizer"}


def _told(value: Any) -> Any:
    """Names for objects: a loss or a metric by its class, a function by its name."""
    if is_setting(value):
        return value
    if isinstance(value, list | tuple):
        return [_told(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _told(item) for key, item in value.items()}
    return getattr(value, "__name__", None) or type(value).__name__


def is_setting(value: Any) -> bool:
    """Whether a value can stand in a config as it is."""
    return value is None or isinstance(value, bool | int | float | str)
