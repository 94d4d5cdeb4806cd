"""Trainings under one framework with each logger, in turns: `python framework_worker.py FRAMEWORK FOLDER RESULT OPTIONS`.

The framework is imported once. Each training runs in a forked child, so that what a logger patches or keeps is gone with it:
first a short one that warms everything up, then the measured one. `framework_tasks.py` has the trainings. What a logger adds
is the median of its differences from the bare training of the same round, unless the training has told it; every second round
goes backwards.
"""

import importlib
import json
import os
import statistics
import sys
import warnings
from pathlib import Path
from typing import Any

from workloads import Caught

os.environ.setdefault("OMP_NUM_THREADS", "1")
IMPORTS = {
    "lightning": ("torch", "lightning", "lightning.pytorch.loggers", "mlflow", "tensorboard"),
    "transformers": ("torch", "transformers", "accelerate", "mlflow", "torch.utils.tensorboard"),
    "keras": ("torch", "keras", "mlflow"),
    "sklearn": ("sklearn.linear_model", "mlflow", "mlflow.sklearn"),
}


def main() -> None:
    framework, folder, result, options = sys.argv[1:]
    wanted = json.loads(options)
    os.environ |= {
        "AUTOTRACK_DIR": f"{folder}/store", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_EXPERIMENT_NAME": "benchmark", "HF_HUB_OFFLINE": "1",
        "TQDM_DISABLE": "1",
    }  # fmt: skip
    warnings.simplefilter("ignore")
    for name in IMPORTS[framework]:
        importlib.import_module(name)
    import framework_tasks

    variants = framework_tasks.VARIANTS[framework]
    length = framework_tasks.Length(*wanted["length"])
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    for turn in range(wanted["rounds"]):
        for name in variants if turn % 2 == 0 else reversed(variants):
            if turn >= wanted["rounds_of_others"] and name not in framework_tasks.OURS:
                continue
            if turn == 0 or "error" not in rounds[name][-1]:
                rounds[name].append(forked(getattr(framework_tasks, framework), name, length, Path(folder)))
    Path(result).write_text(
        json.dumps({name: summary(each, rounds["bare"]) for name, each in rounds.items()})
    )


def forked(task: Any, variant: str, length: Any, folder: Path) -> dict[str, Any]:
    """Run one training in a child; what it measured, or the error that it ended with."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        caught = Caught()
        found: dict[str, Any] = {}
        with caught:
            task(variant, type(length)(0.0, 0.01, 0.3, 1), folder)
            found = task(variant, length, folder)
        os.write(theirs, json.dumps(found if not caught.count else {"error": caught.first}).encode())
        sys.stdout.flush()
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    return json.loads(data) if data else {"error": "the training died without a word"}


def summary(rounds: list[dict[str, Any]], bare: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians; and what each round is beyond the bare training of the same round, and as a ratio to it, of that the median."""
    for each in rounds:
        if "error" in each:
            return each
    found: dict[str, Any] = {"rounds": len(rounds)}
    for key in rounds[0]:
        found[key] = statistics.median(each[key] for each in rounds)
    for key in rounds[0]:
        if key in bare[0] and f"added_{key}" not in found:
            pairs = [(each[key], base[key]) for each, base in zip(rounds, bare, strict=False)]
            found[f"added_{key}"] = statistics.median(mine - base for mine, base in pairs)
            found[f"ratio_{key}"] = statistics.median(mine / base for mine, base in pairs)
    return found


if __name__ == "__main__":
    main()
