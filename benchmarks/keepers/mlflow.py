"""MLflow: each checkpoint is an artifact of the run, under its step."""

from pathlib import Path
from typing import Any

from keepers import Keeper, recall, remember


class Adapter(Keeper):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import mlflow

        self._mlflow: Any = mlflow

    @staticmethod
    def settings(folder: Path) -> dict[str, str]:
        return {
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GIT_PYTHON_REFRESH": "quiet",
        }

    def open(self, run: str, policy: str = "all") -> None:
        if self._mlflow.get_experiment_by_name("benchmark") is None:
            self._mlflow.create_experiment(
                "benchmark", artifact_location=(self.folder / "artifacts").as_uri()
            )
        self._mlflow.set_experiment("benchmark")
        remember(self.folder, run, self._mlflow.start_run(run_name=run).info.run_id)

    def keep(self, path: Path, step: int, score: float) -> None:
        if path.is_dir():
            self._mlflow.log_artifacts(str(path), f"checkpoints/{path.name}")
        else:
            self._mlflow.log_artifact(str(path), "checkpoints")
        self._mlflow.log_metric("loss", score, step=step)

    def close(self) -> None:
        self._mlflow.end_run()

    def fetch(self, run: str, name: str, step: int, to: Path) -> Path:
        return Path(
            self._mlflow.artifacts.download_artifacts(
                run_id=recall(self.folder, run), artifact_path=f"checkpoints/{name}", dst_path=str(to)
            )
        )
