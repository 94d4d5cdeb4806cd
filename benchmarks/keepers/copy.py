"""The floor: a copy of each checkpoint, brought to the disk before the training goes on."""

import os
import shutil
from pathlib import Path

from keepers import Keeper


class Adapter(Keeper):
    def open(self, run: str, policy: str = "all") -> None:
        self._place = self.folder / "copies" / run
        self._place.mkdir(parents=True)

    def keep(self, path: Path, step: int, score: float) -> None:
        target = self._place / path.name
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, target)
        for each in [target, *target.rglob("*")]:
            sync(each)

    def close(self) -> None:
        sync(self._place)

    def fetch(self, run: str, name: str, step: int, to: Path) -> Path:
        source = self.folder / "copies" / run / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, to / name)
        return to / name


def sync(path: Path) -> None:
    """fsync."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
