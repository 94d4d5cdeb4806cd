"""What autotrack's hooks take on the training thread when a training saves: the whole call, less the call of the framework in it."""

import functools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoint_series
import torch
from checkpoint_series import SAVES, STEPS
from transformers import Trainer, TrainingArguments


class Watch:
    """The time of a function of the framework, and of the same function with our hook around it."""

    def __init__(self) -> None:
        self.inner: list[float] = []
        self.outer: list[float] = []

    def timed(self, function: Callable[..., Any], times: list[float]) -> Callable[..., Any]:
        """The function, with a note of how long it took."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                times.append(1000 * (time.perf_counter() - begun))

        return call

    def found(self) -> dict[str, Any]:
        """What the hook has added to each call."""
        inside = self.inner[: len(self.outer)]  # the Trainer calls torch.save later on, too
        added = [outer - inner for outer, inner in zip(self.outer, inside, strict=True)]
        return {"saves": len(added), "hook_ms": statistics.median(added), "longest_ms": max(added),
                "save_ms": statistics.median(inside)}  # fmt: skip


def hooks(folder: Path, series: str, small: bool) -> dict[str, Any]:
    """Ten `torch.save`, and a Trainer that saves ten times, while everything is stored behind them."""
    by_torch, by_trainer = Watch(), Watch()
    # What is measured inside stands below our hooks, so it is put there before they are.
    plain = torch.save
    torch.serialization.save = torch.save = by_torch.timed(plain, by_torch.inner)
    Trainer._save_checkpoint = by_trainer.timed(Trainer._save_checkpoint, by_trainer.inner)
    import autotrack

    autotrack.autolog(log_model="all")
    try:
        saved_by_torch(folder, Path(series), by_torch)
        saved_by_trainer(folder, by_trainer, small)
    finally:
        autotrack.autolog(disable=True)
    return {"torch.save": by_torch.found(), "Trainer": by_trainer.found()}


def stored(folder: Path) -> dict[str, Any]:
    """In another process: how many of the saves are stored."""
    import autotrack

    states = [save.state for save in autotrack.checkpoints.list()]
    return {"stored": states.count("stored"), "known": len(states)}


def saved_by_torch(folder: Path, series: Path, watch: Watch) -> None:
    """The last save of the series with the frozen backbone, written ten times to new files."""
    import autotrack

    name = json.loads(series.with_suffix(".json").read_text())[-1][0]
    state = torch.load(series / name, weights_only=True)
    (folder / "by-torch").mkdir()
    with autotrack.init(project="benchmark", log_model="all"):
        save = watch.timed(torch.save, watch.outer)
        for number in range(SAVES):
            save(state, folder / "by-torch" / f"{number}.pt")


def saved_by_trainer(folder: Path, watch: Watch, small: bool) -> None:
    """The training of the series in which everything is trained."""
    words = TrainingArguments(
        output_dir=str(folder / "by-trainer"), max_steps=SAVES * STEPS, save_steps=STEPS, report_to=[],
        per_device_train_batch_size=2, use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    model = checkpoint_series.llama(small, layers=3)
    trainer = Trainer(model, words, train_dataset=checkpoint_series.rows(small, 40))
    trainer._save_checkpoint = watch.timed(trainer._save_checkpoint, watch.outer)
    trainer.train()
