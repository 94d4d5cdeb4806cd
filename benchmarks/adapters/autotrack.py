"""autotrack, from this checkout, as it is set by default: capture of the environment and system counters included."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from adapters import Config, Listed, Row, Tracker


class Adapter(Tracker):
    module = "autotrack"
    indexes = True
    script = """
import autotrack
run = autotrack.init(project="benchmark", config={"lr": 0.1})
for step in range(10):
    run.log({"loss": 1 / (step + 1)}, step=step)
"""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import autotrack

        self._autotrack = autotrack

    @staticmethod
    def settings(folder: Path) -> dict[str, str]:
        return {"AUTOTRACK_DIR": str(folder / "store"), "AUTOTRACK_FALLBACK": str(folder.parent / "fallback")}

    def open(self, name: str, config: Config) -> None:
        self._run = self._autotrack.init(project="benchmark", name=name, config=config)
        self.remember(name, self._run.id)

    def log(self, row: Row, step: int) -> None:
        self._run.log(row, step)

    def finish(self) -> None:
        self._run.finish()

    def series(self, name: str, key: str) -> tuple[Sequence[int], Sequence[float]]:
        found = self._autotrack.get_run(self.native(name)).history(key)[key]
        return found.steps, found.values

    def series_again(self, name: str, key: str) -> Callable[[], object]:
        run = self._autotrack.get_run(self.native(name))
        return lambda: run.history(key)[key].values

    def last(self, name: str) -> Mapping[str, float]:
        found: Mapping[str, float] = self._autotrack.get_run(self.native(name)).summary
        return found

    def listing(self) -> list[Listed]:
        return [(run.name, run.config, dict(run.summary)) for run in self._autotrack.runs()]

    def settle(self, seconds: float) -> None:
        from autotrack.index import open_index

        with open_index(self.folder / "store") as index:
            index.sync(seal_seconds=seconds)
