"""The trainings: one function a framework, each with the loggers of VARIANTS; small models, so that the logging shows.

Those of Lightning, transformers and Keras end when they have been watched for long enough, and return what a step took:
time, and CPU of the process with all its threads (µs). scikit-learn's returns the time of a fit (ms).
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from switching import Logging, Recording, Switched

ALONE = "log() alone"
"""A bare training with one call of `Run.log` a step, of as many values as `AutoTrack` records: what no adapter can go below."""
LINE = "JSON line"
"""A bare training with one `json.dumps` line a step, of the same values, to a buffered file: the floor of the trackers' table."""
OURS = ("bare", "autotrack", ALONE)
"""These take part in every round."""
VARIANTS = {
    "lightning": (
        "bare",
        "autotrack",
        ALONE,
        LINE,
        "CSVLogger",
        "TensorBoardLogger",
        "MLFlowLogger",
        "mlflow autolog",
    ),
    "transformers": ("bare", "autotrack", ALONE, LINE, "tensorboard", "mlflow"),
    "keras": ("bare", "autotrack", ALONE, LINE, "mlflow autolog"),
    "sklearn": ("bare", "autotrack", "mlflow autolog", "mlflow autolog, log_models"),
}
RECORDED = {
    "lightning": ("loss", "a", "b", "c", "auto/loss", "auto/step_time", "auto/data_time", "auto/samples_per_second"),
    "transformers": ("auto/loss", "auto/lr", "auto/grad_norm", "auto/step_time", "auto/samples_per_second", "loss",
                     "grad_norm", "learning_rate", "epoch"),
    "keras": ("auto/loss", "auto/batch/mae", "auto/step_time", "auto/samples_per_second"),
}  # fmt: skip
"""What `AutoTrack` records at each step of these trainings."""


class Length(NamedTuple):
    """How long a training is left alone at first (its run is being described meanwhile), and then watched: seconds."""

    settle: float
    watch: float
    switched: float
    """How long one is watched that is switched off and on."""
    fits: int
    """How many fits of scikit-learn."""

    @property
    def steps(self) -> int:
        """More than there is time for."""
        return int((self.settle + max(self.watch, self.switched)) * 4000)


class Watched:
    """The steps of a training: `tick()` at the beginning of each says whether that was enough."""

    def __init__(self, length: Length) -> None:
        self._length = length
        self._count = 0
        self._settled: float | None = None
        self._began: tuple[int, float, float] | None = None
        self._ended: tuple[int, float, float] | None = None

    def tick(self) -> bool:
        now = time.perf_counter()
        if self._settled is None:
            self._settled = now + self._length.settle
        elif self._began is None:
            if now >= self._settled:
                self._began = self._count, now, time.process_time()
        elif self._ended is None and now >= self._began[1] + self._length.watch:
            self._ended = self._count, now, time.process_time()
        self._count += 1
        return self._ended is not None

    def found(self) -> dict[str, float]:
        """What a step took."""
        if self._began is None or self._ended is None:
            return {}
        steps, *spent = (after - before for before, after in zip(self._began, self._ended, strict=True))
        return {
            name: each / steps * 1e6 for name, each in zip(("step_us", "step_cpu_us"), spent, strict=True)
        }


def watched(framework: str, variant: str, length: Length, folder: Path) -> Any:
    """For a training; with `log() alone` and `JSON line` each step writes as many values as `AutoTrack` records there."""
    if variant not in ("autotrack", ALONE, LINE):
        return Watched(length)
    if variant == "autotrack":
        return Switched(length.settle, length.switched, Recording())
    import autotrack

    values = {name: (place + 1) / 7 for place, name in enumerate(RECORDED[framework])}
    if variant == LINE:
        return Logging(length.settle, length.switched, lines(folder / "lines.jsonl", values))
    run = autotrack.init(project="benchmark")
    return Logging(length.settle, length.switched, lambda step: run.log({**values}, step=step))


def lines(path: Path, values: dict[str, float]) -> Callable[[int], object]:
    """Writes a line for a step."""
    file = path.open("w")
    return lambda step: file.write(json.dumps({"step": step, "time": time.time(), **values}) + "\n")


def lightning(variant: str, length: Length, folder: Path) -> dict[str, float]:
    """`self.log` of four scalars every step."""
    import lightning
    import torch

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(32, 2)

        def training_step(self, batch: Any, _: int) -> Any:
            loss = self.layer(batch[0]).pow(2).mean()
            self.log("loss", loss)
            for name in ("a", "b", "c"):
                self.log(name, 0.5)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    seen = watched("lightning", variant, length, folder)

    class Clock(lightning.Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if seen.tick():
                trainer.should_stop = True

    data = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.randn(length.steps * 4, 32)), batch_size=4
    )
    logger, callbacks = lightning_logger(variant, folder)
    trainer = lightning.Trainer(
        max_epochs=1, logger=logger, callbacks=[Clock(), *callbacks], log_every_n_steps=1, accelerator="cpu",
        enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
        default_root_dir=str(folder),
    )  # fmt: skip
    trainer.fit(Module(), data)
    return seen.found()


def lightning_logger(variant: str, folder: Path) -> tuple[Any, list[Any]]:
    """The Trainer's logger and callbacks."""
    from lightning.pytorch import loggers

    if variant == "CSVLogger":
        return loggers.CSVLogger(str(folder / "csv")), []
    if variant == "TensorBoardLogger":
        return loggers.TensorBoardLogger(str(folder / "tensorboard")), []
    if variant == "MLFlowLogger":
        return loggers.MLFlowLogger("benchmark", tracking_uri=f"sqlite:///{folder}/mlflow.db"), []
    if variant == "mlflow autolog":
        import mlflow

        mlflow.pytorch.autolog(log_models=False, log_every_n_step=1)
    if variant == "autotrack":
        from autotrack import AutoTrack

        return False, [AutoTrack(project="benchmark")]
    return False, []


def transformers(variant: str, length: Length, folder: Path) -> dict[str, float]:
    """The Trainer with `logging_steps=1`."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(32, 2)

        def forward(self, x: Any) -> dict[str, Any]:
            return {"loss": self.layer(x).pow(2).mean()}

    seen = watched("transformers", variant, length, folder)

    class Clock(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if seen.tick():
                control.should_training_stop = True

    callbacks: list[Any] = [Clock()]
    if variant == "autotrack":
        from autotrack import AutoTrack

        callbacks.append(AutoTrack(project="benchmark"))
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"), max_steps=length.steps, per_device_train_batch_size=4, logging_steps=1,
        save_strategy="no", disable_tqdm=True, use_cpu=True,
        report_to=[variant] if variant in ("tensorboard", "mlflow") else "none",
    )  # fmt: skip
    data = [{"x": torch.randn(32)} for _ in range(64)]
    trainer = Trainer(model=Model(), args=arguments, train_dataset=data, callbacks=callbacks)
    trainer.train()
    return seen.found()


def keras(variant: str, length: Length, folder: Path) -> dict[str, float]:
    """`fit` with the metrics of every batch; MLflow set to log every batch too."""
    import keras
    import numpy as np

    seen = watched("keras", variant, length, folder)

    class Clock(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if seen.tick():
                self.model.stop_training = True

    callbacks: list[Any] = [Clock()]
    if variant == "autotrack":
        from autotrack import AutoTrack

        callbacks.append(AutoTrack(project="benchmark"))
    if variant == "mlflow autolog":
        import mlflow

        mlflow.keras.autolog(log_models=False, log_datasets=False, log_every_epoch=False, log_every_n_steps=1)
    model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse", metrics=["mae"])
    x = np.random.default_rng(0).normal(size=(length.steps * 4, 32)).astype("float32")
    model.fit(x, x[:, :1], batch_size=4, verbose=0, callbacks=callbacks)
    return seen.found()


def sklearn(variant: str, length: Length, folder: Path) -> dict[str, float]:
    """Fits of a linear model on 200 rows, each a run of its own: as many as are wanted, or as two seconds hold."""
    import numpy as np
    from sklearn.linear_model import LinearRegression

    if variant == "autotrack":
        import autotrack

        autotrack.autolog(project="benchmark")
    elif variant != "bare":
        import mlflow

        mlflow.sklearn.autolog(log_models=variant.endswith("log_models"))
    x = np.random.default_rng(0).normal(size=(200, 5))
    y = x @ np.arange(5.0)
    took: list[float] = []
    while len(took) < length.fits and sum(took) < 2000:
        model = LinearRegression()
        started = time.perf_counter()
        model.fit(x, y)
        took.append((time.perf_counter() - started) * 1000)
        time.sleep(0.02)
    found = {"fit_ms": statistics.median(took)}
    return found | (own_times(model, x, y) if variant == "autotrack" and length.fits > 1 else {})


def own_times(model: Any, x: Any, y: Any) -> dict[str, float]:
    """What autotrack measured of itself on the caller's thread for each run, and what one training score takes (ms)."""
    import autotrack

    spent = [sum(run.own_ns.values()) / 1e6 for run in autotrack.runs(project="benchmark")]
    autotrack.autolog(disable=True)
    scores = []
    for _ in range(20):
        started = time.perf_counter()
        model.score(x, y)
        scores.append((time.perf_counter() - started) * 1000)
    return {"own_ms": statistics.median(spent), "score_ms": statistics.median(scores)}
