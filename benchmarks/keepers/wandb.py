"""wandb with WANDB_MODE=offline: each checkpoint is a version of one artifact of type model."""

from pathlib import Path
from typing import Any

from keepers import Keeper


class Adapter(Keeper):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import wandb

        self._wandb: Any = wandb

    @staticmethod
    def settings(folder: Path) -> dict[str, str]:
        return {
            "WANDB_MODE": "offline",
            "WANDB_DIR": str(folder),
            "WANDB_CACHE_DIR": str(folder / "cache"),
            "WANDB_CONFIG_DIR": str(folder / "config"),
            "WANDB_DATA_DIR": str(folder / "data"),
            "WANDB_SILENT": "true",
            "WANDB_ERROR_REPORTING": "false",
        }

    def open(self, run: str, policy: str = "all") -> None:
        self._run = self._wandb.init(project="benchmark", id=run, name=run)

    def keep(self, path: Path, step: int, score: float) -> None:
        artifact = self._wandb.Artifact(
            f"{self._run.id}-model", type="model", metadata={"step": step, "loss": score}
        )
        if path.is_dir():
            artifact.add_dir(str(path))
        else:
            artifact.add_file(str(path))
        self._run.log_artifact(artifact, aliases=[f"step-{step}"])

    def close(self) -> None:
        self._run.finish()

    def fetch(self, run: str, name: str, step: int, to: Path) -> Path:
        with self._wandb.init(project="benchmark") as reader:
            artifact = reader.use_artifact(f"{run}-model:step-{step}")
            return Path(artifact.download(root=str(to))) / name
