"""One adapter a tracker: the same few verbs for everybody, so that everybody's work is the same.

An adapter is imported before its tracker: `settings` is put into the environment first, and `Adapter.__init__` imports it.
"""

import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

FLOORS = ("floor", "unbuffered")
"""No trackers: a file, and the bare process."""

NAMES = (*FLOORS, "autotrack", "trackio", "wandb", "tensorboardX", "aim", "mlflow", "dvclive")
Row = dict[str, float]
Config = dict[str, float | str]
Listed = tuple[str, Mapping[str, object], Mapping[str, float]]


class Tracker(ABC):
    """What a tracker is asked to do. A run is named by the caller; `folder` is where everything lies."""

    module: str = ""
    """What a script imports."""

    indexes: bool = False
    """Whether reading begins with an index that is kept."""

    script: str = ""
    """A whole short script as a user would write it: import, ten steps, end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def settings(folder: Path) -> dict[str, str]:
        """Environment variables for recording without a network, as the tracker's documentation names them."""
        return {}

    @abstractmethod
    def open(self, name: str, config: Config) -> None:
        """Start a run and record its parameters."""

    @abstractmethod
    def log(self, row: Row, step: int) -> None:
        """Record one step."""

    @abstractmethod
    def finish(self) -> None:
        """End the run that is open."""

    @abstractmethod
    def series(self, name: str, key: str) -> tuple[Sequence[int], Sequence[float]]:
        """All steps and values of one metric of one run."""

    def series_again(self, name: str, key: str) -> Callable[[], object] | None:
        """The same question asked of a run that has been looked up already, where that is another question."""
        return None

    @abstractmethod
    def last(self, name: str) -> Mapping[str, float]:
        """The last value of each metric of one run."""

    @abstractmethod
    def listing(self) -> list[Listed]:
        """Every run: its name, its parameters, the last value of each metric."""

    def write_series(self, name: str, key: str, values: Sequence[float]) -> None:
        """Record one long series as a run, by the fastest documented way; never timed."""
        self.open(name, {"lr": 0.1})
        for step, value in enumerate(values):
            self.log({key: value}, step)
        self.finish()

    def settle(self, seconds: float) -> None:
        """Do now, for so long at most, what readers otherwise do little by little, such as compressing."""
        return

    def remember(self, name: str, native: str) -> None:
        """Note the tracker's own id of a run, for the readers."""
        names = self.folder / "names"
        names.mkdir(exist_ok=True)
        (names / name).write_text(native)

    def native(self, name: str) -> str:
        """The tracker's own id of a run."""
        return (self.folder / "names" / name).read_text()


def kind(name: str) -> type[Tracker]:
    """The adapter's class; its tracker is not imported yet."""
    found: type[Tracker] = importlib.import_module(f"adapters.{name.lower()}").Adapter
    return found


def json_file(path: Path) -> dict[str, object]:
    """A JSON object from a file."""
    found: dict[str, object] = json.loads(path.read_text())
    return found
