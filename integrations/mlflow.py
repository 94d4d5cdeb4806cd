"""MLflow: a model folder that `mlflow.pyfunc.load_model` and `mlflow models serve` take, written without MLflow.

An MLmodel file names the flavor, and the flavor's own loader reads the file beside it (mlflow/sklearn/__init__.py,
`_load_model_from_local_file`; mlflow/keras/load.py, `_load_keras_model`).
"""

import platform
import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from autotrack.errors import AutotrackError, PickleRefused

_MLFLOW = "2.20.0"
"""The version of the format that is written; later ones read it."""


def write(source: Path, format: str, folder: Path, pickle: bool) -> None:
    """Make an MLflow model of a pickled scikit-learn model or of a `.keras` file; AutotrackError for another."""
    if format == "pickle":
        _sklearn(source, folder, pickle)
    elif format == "keras":
        _keras(source, folder)
    else:
        raise AutotrackError(
            f"{source} ({format}) cannot be an MLflow model: one needs a whole model, as in a pickle of scikit-learn or a .keras file, "
            "and not weights alone."
        )


def _sklearn(source: Path, folder: Path, allowed: bool) -> None:
    """A joblib file is no plain pickle, so it is loaded and pickled anew; that runs what is in it."""
    if not allowed:
        raise PickleRefused(source, "a pickle, which is written anew for MLflow")
    import pickle

    import joblib

    model = joblib.load(source)
    (folder / "model.pkl").write_bytes(pickle.dumps(model, protocol=5))
    flavor = {
        "code": None,
        "pickled_model": "model.pkl",
        "serialization_format": "pickle",
        "sklearn_version": _version("scikit-learn"),
    }
    called = "predict" if hasattr(model, "predict") else "transform"
    loader = {"loader_module": "mlflow.sklearn", "model_path": "model.pkl", "predict_fn": called}
    _describe(folder, "sklearn", flavor, loader, ["scikit-learn", "numpy", "scipy", "joblib"])


def _keras(source: Path, folder: Path) -> None:
    (folder / "data").mkdir()
    shutil.copyfile(source, folder / "data" / "model.keras")
    flavor = {
        "code": None,
        "data": "data/model",
        "keras_version": _version("keras"),
        "save_exported_model": False,
    }
    backend = [name for name in ("torch", "jax", "tensorflow") if _version(name)]
    _describe(folder, "keras", flavor, {"loader_module": "mlflow.keras"}, ["keras", "numpy", *backend[:1]])


def _describe(
    folder: Path, name: str, flavor: dict[str, Any], loader: dict[str, Any], packages: list[str]
) -> None:
    pinned = [f"{package}=={found}" for package in packages if (found := _version(package))]
    function = {
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        **loader,
        "python_version": platform.python_version(),
    }
    model = {
        "flavors": {"python_function": function, name: flavor},
        "mlflow_version": _MLFLOW,
        "utc_time_created": time.strftime("%Y-%m-%d %H:%M:%S.000000", time.gmtime()),
    }
    (folder / "MLmodel").write_text(_yaml(model), encoding="utf-8")
    needed = ["mlflow", *pinned]
    (folder / "requirements.txt").write_text("\n".join(needed) + "\n", encoding="utf-8")
    python = platform.python_version()
    environment = {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    (folder / "python_env.yaml").write_text(_yaml(environment), encoding="utf-8")
    conda = f"name: mlflow-env\nchannels:\n- conda-forge\ndependencies:\n- python={python}\n- pip\n- pip:\n"
    (folder / "conda.yaml").write_text(conda + "".join(f"  - {one}\n" for one in needed), encoding="utf-8")


def _yaml(values: dict[str, Any], before: str = "") -> str:
    """Plain YAML of texts, truth values and nested mappings, in block style."""
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines.append(f"{before}{key}:\n{_yaml(value, before + '  ')}")
        elif isinstance(value, list):
            lines.append(f"{before}{key}:\n" + "".join(f"{before}- {one}\n" for one in value))
        elif value is None or isinstance(value, bool):
            lines.append(f"{before}{key}: {'null' if value is None else str(value).lower()}\n")
        else:
            lines.append(f"{before}{key}: '{value}'\n")
    return "".join(lines)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
