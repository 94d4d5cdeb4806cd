"""One adapter for each that keeps checkpoints: the same few verbs for everybody.

An adapter is imported before what it stands for: `settings` is put into the environment first, and `Keeper.__init__` imports it.
"""

import importlib
from abc import ABC, abstractmethod
from pathlib import Path

NAMES = ("copy", "autotrack", "mlflow", "wandb", "dvc", "hf_xet")


class Keeper(ABC):
    """What is asked to keep checkpoints, which lie in `folder/checkpoints`; all that it writes lies elsewhere in `folder`."""

    takes_over = False
    """Whether it may put something else where the training has saved a checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def settings(folder: Path) -> dict[str, str]:
        """Environment variables for work without a network, as the documentation names them."""
        return {}

    @abstractmethod
    def open(self, run: str, policy: str = "all") -> None:
        """A training begins."""

    @abstractmethod
    def keep(self, path: Path, step: int, score: float) -> None:
        """On the training thread: a checkpoint, a file or a folder, has been saved."""

    @abstractmethod
    def close(self) -> None:
        """The training ends; all that was kept is where it is to be when this returns."""

    @abstractmethod
    def fetch(self, run: str, name: str, step: int, to: Path) -> Path:
        """In another process: a checkpoint of this file name and step as it was saved, at a new path."""


def kind(name: str) -> type[Keeper]:
    """The adapter's class; what it stands for is not imported yet."""
    found: type[Keeper] = importlib.import_module(f"keepers.{name}").Adapter
    return found


def remember(folder: Path, key: str, value: str) -> None:
    """Note what the fetching process needs to know."""
    notes = folder / "notes"
    notes.mkdir(exist_ok=True)
    (notes / key).write_text(value)


def recall(folder: Path, key: str) -> str:
    """What was noted."""
    return (folder / "notes" / key).read_text()
