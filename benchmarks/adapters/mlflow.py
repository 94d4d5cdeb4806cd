"""MLflow with its SQLite backend: the fluent API to record, MlflowClient to read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapters import Config, Listed, Row, Tracker

BATCH = 1000  # the most metrics that `log_batch` takes


class Adapter(Tracker):
    module = "mlflow"
    script = """
import mlflow
mlflow.set_experiment("benchmark")
with mlflow.start_run():
    mlflow.log_params({"lr": 0.1})
    for step in range(10):
        mlflow.log_metrics({"loss": 1 / (step + 1)}, step=step)
"""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import mlflow

        self._mlflow: Any = mlflow
        self._chosen = False

    @staticmethod
    def settings(folder: Path) -> dict[str, str]:
        return {
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GIT_PYTHON_REFRESH": "quiet",
        }

    def open(self, name: str, config: Config) -> None:
        if not self._chosen:
            self._mlflow.set_experiment("benchmark")
            self._chosen = True
        run = self._mlflow.start_run(run_name=name)
        self._mlflow.log_params(dict(config))
        self.remember(name, run.info.run_id)

    def log(self, row: Row, step: int) -> None:
        self._mlflow.log_metrics(row, step=step)

    def finish(self) -> None:
        self._mlflow.end_run()

    def series(self, name: str, key: str) -> tuple[Sequence[int], Sequence[float]]:
        points = self._mlflow.MlflowClient().get_metric_history(self.native(name), key)
        return [point.step for point in points], [point.value for point in points]

    def last(self, name: str) -> dict[str, float]:
        return dict(self._mlflow.MlflowClient().get_run(self.native(name)).data.metrics)

    def listing(self) -> list[Listed]:
        client, token, found = self._mlflow.MlflowClient(), None, []
        experiment = client.get_experiment_by_name("benchmark").experiment_id
        while True:
            page = client.search_runs([experiment], max_results=1000, page_token=token)
            found += [(run.info.run_name, run.data.params, run.data.metrics) for run in page]
            token = page.token
            if not token:
                return found

    def write_series(self, name: str, key: str, values: Sequence[float]) -> None:
        self.open(name, {"lr": 0.1})
        run, client = self.native(name), self._mlflow.MlflowClient()
        for first in range(0, len(values), BATCH):
            metrics = [
                self._mlflow.entities.Metric(key, value, 0, first + place)
                for place, value in enumerate(values[first : first + BATCH])
            ]
            client.log_batch(run, metrics=metrics)
        self.finish()
