"""DVC without git: `dvc add` for each checkpoint, through its Python interface, in one process."""

import shutil
from pathlib import Path
from typing import Any

from keepers import Keeper


class Adapter(Keeper):
    takes_over = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from dvc.repo import Repo

        self._repo: Any = (
            Repo(str(folder)) if (folder / ".dvc").is_dir() else Repo.init(str(folder), no_scm=True)
        )

    @staticmethod
    def settings(folder: Path) -> dict[str, str]:
        return {
            "DVC_NO_ANALYTICS": "true",
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
            "DVC_GLOBAL_CONFIG_DIR": str(folder / "config"),
            "DVC_SYSTEM_CONFIG_DIR": str(folder / "config"),
        }

    def open(self, run: str, policy: str = "all") -> None:
        """There is no run."""

    def keep(self, path: Path, step: int, score: float) -> None:
        self._repo.add(str(path))

    def close(self) -> None:
        """All of it is done in `add`."""

    def fetch(self, run: str, name: str, step: int, to: Path) -> Path:
        """A check-out puts it where it was saved and nowhere else; moving it from there is left to whoever asked."""
        path = self.folder / "checkpoints" / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        self._repo.checkout([f"{path}.dvc"])
        return path
