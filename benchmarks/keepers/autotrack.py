"""autotrack, from this checkout: every checkpoint is noted, and stored on the helper thread as `log_model` says."""

from pathlib import Path
from typing import Any, Literal, cast

from keepers import Keeper, recall, remember

Policy = Literal["auto", "all"] | bool
POLICIES: dict[str, Policy] = {"all": "all", "best and last": True}


class Adapter(Keeper):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import autotrack

        self._autotrack = autotrack

    @staticmethod
    def settings(folder: Path) -> dict[str, str]:
        return {"AUTOTRACK_DIR": str(folder / "store"), "AUTOTRACK_FALLBACK": str(folder.parent / "fallback")}

    def open(self, run: str, policy: str = "all") -> None:
        self._run = self._autotrack.init(project="benchmark", name=run, log_model=cast(Any, POLICIES[policy]))
        remember(self.folder, run, self._run.id)

    def keep(self, path: Path, step: int, score: float) -> None:
        self._run.log_checkpoint(path, step=step, score=score, monitor="loss", mode="min")

    def close(self) -> None:
        self._run.finish()

    def fetch(self, run: str, name: str, step: int, to: Path) -> Path:
        return self._autotrack.checkpoints.get(f"{recall(self.folder, run)}:step={step}", to=to)
