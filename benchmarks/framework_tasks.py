"""The trainings: one function a framework, each with the loggers of VARIANTS; small models, so that the logging shows.

Each returns the mean time of a step (µs) and the time of the whole fit (ms).
"""

import statistics
import time
from pathlib import Path
from typing import Any

VARIANTS = {
    "lightning": ("bare", "autotrack", "CSVLogger", "TensorBoardLogger", "MLFlowLogger", "mlflow autolog"),
    "transformers": ("bare", "autotrack", "tensorboard", "mlflow"),
    "keras": ("bare", "autotrack", "mlflow autolog"),
    "sklearn": ("bare", "autotrack", "mlflow autolog", "mlflow autolog, log_models"),
}
WARM = 5
"""Steps at the start of a training that do not count."""


def measured(fit: Any, moments: list[float]) -> dict[str, float]:
    started = time.perf_counter()
    fit()
    fit_ms = (time.perf_counter() - started) * 1000
    return {"step_us": (moments[-1] - moments[WARM]) / (len(moments) - 1 - WARM) * 1e6, "fit_ms": fit_ms}


def lightning(variant: str, steps: int, folder: Path) -> dict[str, float]:
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

    moments: list[float] = []

    class Clock(lightning.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            moments.append(time.perf_counter())

    data = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.randn(steps * 4, 32)), batch_size=4
    )
    logger, callbacks = lightning_logger(variant, folder)
    trainer = lightning.Trainer(
        max_epochs=1, logger=logger, callbacks=[Clock(), *callbacks], log_every_n_steps=1, accelerator="cpu",
        enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
        default_root_dir=str(folder),
    )  # fmt: skip
    return measured(lambda: trainer.fit(Module(), data), moments)


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


def transformers(variant: str, steps: int, folder: Path) -> dict[str, float]:
    """The Trainer with `logging_steps=1`."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(32, 2)

        def forward(self, x: Any) -> dict[str, Any]:
            return {"loss": self.layer(x).pow(2).mean()}

    moments: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            moments.append(time.perf_counter())

    callbacks: list[Any] = [Clock()]
    if variant == "autotrack":
        from autotrack import AutoTrack

        callbacks.append(AutoTrack(project="benchmark"))
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"), max_steps=steps, per_device_train_batch_size=4, logging_steps=1,
        save_strategy="no", disable_tqdm=True, use_cpu=True,
        report_to=[variant] if variant in ("tensorboard", "mlflow") else "none",
    )  # fmt: skip
    data = [{"x": torch.randn(32)} for _ in range(64)]
    trainer = Trainer(model=Model(), args=arguments, train_dataset=data, callbacks=callbacks)
    return measured(trainer.train, moments)


def keras(variant: str, steps: int, folder: Path) -> dict[str, float]:
    """`fit` with the metrics of every batch; MLflow set to log every batch too."""
    import keras
    import numpy as np

    moments: list[float] = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            moments.append(time.perf_counter())

    callbacks: list[Any] = [Clock()]
    if variant == "autotrack":
        from autotrack import AutoTrack

        callbacks.append(AutoTrack(project="benchmark"))
    if variant == "mlflow autolog":
        import mlflow

        mlflow.keras.autolog(log_models=False, log_datasets=False, log_every_epoch=False, log_every_n_steps=1)
    model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse", metrics=["mae"])
    x = np.random.default_rng(0).normal(size=(steps * 4, 32)).astype("float32")
    return measured(lambda: model.fit(x, x[:, :1], batch_size=4, verbose=0, callbacks=callbacks), moments)


def sklearn(variant: str, steps: int, folder: Path) -> dict[str, float]:
    """Fits of a linear model on 200 rows, each a run of its own: a few to warm up, else 20, or as many as two seconds hold."""
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
    fits = 1 if steps <= 10 else 20
    while len(took) < fits and sum(took) < 2000:
        model = LinearRegression()
        started = time.perf_counter()
        model.fit(x, y)
        took.append((time.perf_counter() - started) * 1000)
        time.sleep(0.02)
    found = {"fit_ms": statistics.median(took)}
    return found | (own_times(model, x, y) if variant == "autotrack" and steps > 10 else {})


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
