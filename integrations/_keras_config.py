"""What a Keras model, its optimizer, its callbacks and its `compile` and `fit` say of themselves, for the run's config.

Keras's own serialisation warns of lambdas and pickles functions, so it is asked of optimizers and schedules only; what layers,
losses and callbacks were made with is read off their attributes.
"""

import sys
from collections.abc import Iterable
from operator import methodcaller
from typing import Any

from autotrack.guard import reason
from autotrack.integrations._keras_rates import reached
from autotrack.values import shortest

_DATA = ("x", "y", "sample_weight", "validation_data")
_PLAIN = (bool, int, float, str)
_SETTINGS_IN_ALL_LAYERS = {"name", "dtype", "trainable", "autocast", "activity_regularizer"}
_OF_KERAS = ("History", "ProgbarLogger")
MOST_LAYERS = 1_000


def has_own_train_step(model: Any) -> bool:
    """Whether the class of the model is a `train_step` of the user's own, whose logs may mean anything."""
    owner = next((kind for kind in type(model).__mro__ if "train_step" in vars(kind)), None)
    return owner is not None and not owner.__module__.startswith("keras.src.")


def config_of(
    model: Any, arguments: dict[str, Any], params: dict[str, Any], callbacks: Iterable[Any]
) -> dict[str, Any]:
    """Each part under its name. `arguments`: of `fit`; `params`: what Keras has made of them for its callbacks."""
    others = reason(_other_optimizers, model)[0] or {}
    parts = {
        "model": reason(_model, model)[0],
        **({} if others and _may_be_idle(model) else optimizer_of(model)),
        "optimizers": others,
        "compile": reason(_compiled, model)[0],
        "fit": {name: told(value) for name, value in (params | arguments).items() if name not in _DATA},
        "data": reason(_data, arguments)[0],
        "callbacks": reason(callbacks_of, callbacks)[0],
    }
    keras = sys.modules.get("keras.src.backend.config")
    if keras is not None:
        parts["backend"] = keras.backend()
    return {name: part for name, part in parts.items() if part} | _seed()


def _seed() -> dict[str, Any]:
    """What `keras.utils.set_random_seed` was given last."""
    seed, _ = reason(methodcaller("get_random_seed"), sys.modules.get("keras.src.utils.rng_utils"))
    return {} if seed is None else {"seed": seed}


def optimizer_of(model: Any) -> dict[str, Any]:
    """The optimizer of `compile`, and its schedule."""
    optimizer: Any = getattr(model, "optimizer", None)
    parts = {"optimizer": _optimizer(optimizer), "lr_scheduler": _schedule(optimizer)}
    return {name: part for name, part in parts.items() if part}


def layers_of(model: Any) -> list[dict[str, Any]]:
    """The layers of a model: name, class, shape of the output, own and trained parameters, and what they were made with."""
    rows: list[dict[str, Any]] = []
    for layer in list(model._flatten_layers(include_self=False))[:MOST_LAYERS]:
        shape, _ = reason(lambda layer=layer: str(tuple(layer.output.shape)))
        rows.append({"name": layer.name, "class": type(layer).__name__, "output": shape, **_size(layer),
                     "training": bool(layer.trainable), **made_with(layer)})  # fmt: skip
    columns = {key: None for row in rows for key in row}
    return [columns | row for row in rows]


def made_with(part: Any) -> dict[str, Any]:
    """What an object was made with: the arguments of its `__init__` that it keeps under the same name."""
    found: dict[str, Any] = {}
    held = vars(part)
    for kind in type(part).__mro__:
        code = getattr(
            getattr(vars(kind).get("__init__"), "__wrapped__", vars(kind).get("__init__")), "__code__", None
        )
        for name in (
            code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount] if code is not None else ()
        ):
            if (
                name in held
                and name not in found
                and name not in _SETTINGS_IN_ALL_LAYERS
                and held[name] is not None
            ):
                found[name] = told(held[name])
    return found


def callbacks_of(callbacks: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """The settings of the user's callbacks, by class; a second one of a class is numbered."""
    found: dict[str, dict[str, Any]] = {}
    for callback in callbacks:
        name = kind = type(callback).__name__
        if kind in _OF_KERAS or kind.startswith("AutoTrack"):
            continue
        number = 1
        while name in found:
            number += 1
            name = f"{kind}-{number}"
        found[name] = {key: value for key, value in made_with(callback).items() if is_setting(value)}
    return found


def told(value: Any) -> Any:
    """What can stand in a config: plain values as they are, an object by its class and settings, a function by its name."""
    if is_setting(value):
        return value
    if isinstance(value, list | tuple):
        return [told(item) for item in value][:100]
    if isinstance(value, dict):
        return {str(key): told(item) for key, item in list(value.items())[:100]}
    name = getattr(value, "__name__", None)
    if isinstance(name, str):
        return name
    settings = {}
    if type(value).__module__.startswith("keras.src.") and hasattr(value, "__dict__"):
        settings = {key: one for key, one in (reason(made_with, value)[0] or {}).items() if is_setting(one)}
    return {"class": type(value).__name__, **settings} if settings else type(value).__name__


def is_setting(value: Any) -> bool:
    """Whether a value can stand in a config as it is."""
    return value is None or isinstance(value, _PLAIN)


def _model(model: Any) -> dict[str, Any]:
    facts = {"class": type(model).__name__, "name": getattr(model, "name", None), **_size(model)}
    weights = reason(lambda: sum(_count(w.shape) * _bytes(w.dtype) for w in model.weights))[0]
    policy = getattr(getattr(model, "dtype_policy", None), "name", None)
    more = {
        "parameter_bytes": weights or None,
        "dtype_policy": policy,
        "layers": len(model.layers),
    }
    return facts | {name: value for name, value in more.items() if value is not None}


def _size(model: Any) -> dict[str, Any]:
    sizes, _ = reason(
        lambda: [sum(_count(w.shape) for w in part) for part in (model.weights, model.trainable_weights)]
    )
    return {"parameters": sizes[0], "trainable_parameters": sizes[1]} if sizes else {}


def _count(shape: Any) -> int:
    size = 1
    for length in shape:
        size *= int(length)
    return size


def _bytes(dtype: Any) -> int:
    digits = "".join(sign for sign in str(dtype).partition("_")[0] if sign.isdigit())
    return max(1, int(digits or 8) // 8)


def _other_optimizers(model: Any) -> dict[str, Any]:
    """Those that a model has under names of its own, as a GAN has: `self.d_optimizer = …`."""
    known = getattr(model, "optimizer", None)
    mine = (known, getattr(known, "inner_optimizer", None))
    found = {name: one for name, one in vars(model).items() if not any(one is ours for ours in mine)}
    return {name: _optimizer(one) for name, one in found.items() if _is_optimizer(one)}


def _is_optimizer(part: Any) -> bool:
    return any(
        kind.__name__ == "BaseOptimizer" and kind.__module__.startswith("keras.src.")
        for kind in type(part).__mro__
    )


def _may_be_idle(model: Any) -> bool:
    """Whether a `train_step` of the user's own may leave the optimizer of `compile` alone: it has made no step yet."""
    return has_own_train_step(model) and not reached(getattr(model.optimizer, "_iterations", None))


def _optimizer(optimizer: Any) -> dict[str, Any] | None:
    if optimizer is None:
        return None
    own, _ = reason(optimizer.get_config)
    kind = type(optimizer).__name__
    return {"class": kind, **_with_short_rate(_plain(_named(kind, own or {})))}


def _named(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings without a name that Keras has made of the class (`adam`, `loss_scale_optimizer_7`): it differs in each run."""
    name = str(settings.get("name")).rstrip("0123456789").replace("_", "")
    return {key: one for key, one in settings.items() if key != "name" or name != kind.lower()}


def _with_short_rate(settings: dict[str, Any]) -> dict[str, Any]:
    """The learning rate as it was written (0.01): Keras reads it from a variable of single precision, also of an inner optimizer."""
    rate, inner = settings.get("learning_rate"), settings.get("inner_optimizer")
    short = {} if not isinstance(rate, float) else {"learning_rate": shortest(rate)}
    return (
        settings | short | ({"inner_optimizer": _with_short_rate(inner)} if isinstance(inner, dict) else {})
    )


def _schedule(optimizer: Any) -> dict[str, Any] | None:
    """Class and settings of a learning rate that is a schedule or a function."""
    rate = getattr(getattr(optimizer, "inner_optimizer", None) or optimizer, "_learning_rate", None)
    if rate is None or hasattr(rate, "assign") or isinstance(rate, float):
        return None
    own, _ = reason(rate.get_config) if hasattr(rate, "get_config") else ({}, None)
    name = getattr(rate, "__name__", None) or type(rate).__name__
    return {"class": name, **{key: _plain(value) for key, value in (own or {}).items()}}


def _plain(value: Any) -> Any:
    """Keras's {"module": …, "class_name": …, "config": {…}} as {"class": …, **config}."""
    if isinstance(value, dict):
        if "class_name" in value and isinstance(value.get("config"), dict):
            settings = _named(value["class_name"], value["config"])
            return {"class": value["class_name"]} | {key: _plain(one) for key, one in settings.items()}
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else told(value)


def _compiled(model: Any) -> dict[str, Any]:
    """What `compile` was given, without the optimizer."""
    given: Any = getattr(getattr(model, "_compile_config", None), "config", None)
    if not isinstance(given, dict):
        return {}
    return {name: told(value) for name, value in given.items() if name != "optimizer"}


def _data(arguments: dict[str, Any]) -> dict[str, Any]:
    """Class, shapes, types and sizes of what the model is trained on; no row is read."""
    pairs = {
        "train": (arguments.get("x"), arguments.get("y")),
        "validation": arguments.get("validation_data"),
    }
    found: dict[str, Any] = {}
    for name, given in pairs.items():
        x, y = (*given, None)[:2] if isinstance(given, tuple | list) and given else (given, None)
        if x is not None:
            found[name] = {"x": _array(x)} | ({"y": _array(y)} if y is not None else {})
    if arguments.get("sample_weight") is not None:
        found["sample_weight"] = _array(arguments["sample_weight"])
    return found


def _array(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _array(one) for key, one in list(data.items())[:100]}
    if isinstance(data, list | tuple) and data and hasattr(data[0], "shape"):
        return [_array(one) for one in data[:100]]
    facts: dict[str, Any] = {"class": type(data).__name__}
    shape = getattr(data, "shape", None)
    if shape is not None:
        facts |= {"shape": [int(length) for length in shape], "dtype": str(getattr(data, "dtype", None))}
        return facts
    if isinstance(getattr(data, "batch_size", None), int):
        facts["batch_size"] = data.batch_size
    batches = getattr(data, "num_batches", None)
    facts["batches"] = batches if isinstance(batches, int) else reason(len, data)[0]
    rows = getattr(data, "dataset", None)
    if rows is not None:
        facts |= {"dataset": type(rows).__name__, "samples": reason(len, rows)[0]}
    return {name: value for name, value in facts.items() if value is not None}
