"""Aim into a local repository; read through its SDK."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapters import Config, Listed, Row, Tracker


class Adapter(Tracker):
    module = "aim"
    indexes = True
    script = """
import aim
run = aim.Run(repo=".", experiment="benchmark")
run["hparams"] = {"lr": 0.1}
for step in range(10):
    run.track({"loss": 1 / (step + 1)}, step=step)
run.close()
"""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import aim

        self._aim: Any = aim
        self._repo: Any = None

    @staticmethod
    def settings(folder: Path) -> dict[str, str]:
        return {"__AIM_DISABLE_TELEMETRY__": "1"}

    def open(self, name: str, config: Config) -> None:
        self._run = self._aim.Run(repo=self._repository(), experiment="benchmark")
        self._run.name = name
        self._run["hparams"] = dict(config)
        self.remember(name, self._run.hash)

    def log(self, row: Row, step: int) -> None:
        self._run.track(row, step=step)

    def finish(self) -> None:
        self._run.close()

    def series(self, name: str, key: str) -> tuple[Sequence[int], Sequence[float]]:
        metric = self._indexed().get_run(self.native(name)).get_metric(key, self._context())
        if metric is None:
            return [], []
        steps, columns = metric.data.numpy()
        return steps, columns[0]

    def last(self, name: str) -> dict[str, float]:
        return _last(self._indexed().get_run(self.native(name)))

    def listing(self) -> list[Listed]:
        return [(run.name, run["hparams"], _last(run)) for run in self._indexed().iter_runs()]

    def _context(self) -> Any:
        from aim.storage.context import Context

        return Context({})

    def _repository(self) -> Any:
        if self._repo is None:
            self._repo = self._aim.Repo.from_path(str(self.folder), init=True)
        return self._repo

    def _indexed(self) -> Any:
        """The repository as `aim up` shows it: what its index does not know yet is indexed, as `aim up` does."""
        from aim.sdk.index_manager import RepoIndexManager

        repository = self._repository()
        known = repository._get_index_tree("meta", 0).view(("index_cache",))
        indexed = set(known.keys())
        manager = RepoIndexManager.get_index_manager(repository)
        for run in repository.list_all_runs():
            if run not in indexed:
                manager.index(run)
        return self._aim.Repo(str(self.folder))


def _last(run: Any) -> dict[str, float]:
    found = run.collect_sequence_info(("metric",))["metric"]
    return {metric["name"]: metric["values"]["last"] for metric in found}
