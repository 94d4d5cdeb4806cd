"""trackio into a local folder; read through its Api and the storage class behind its dashboard."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapters import Config, Listed, Row, Tracker


class Adapter(Tracker):
    module = "trackio"
    script = """
import trackio
trackio.init(project="benchmark", config={"lr": 0.1}, embed=False)
for step in range(10):
    trackio.log({"loss": 1 / (step + 1)}, step=step)
trackio.finish()
"""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        self._trackio: Any = trackio
        self._storage: Any = SQLiteStorage

    @staticmethod
    def settings(folder: Path) -> dict[str, str]:
        return {
            "TRACKIO_DIR": str(folder / "trackio"),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def open(self, name: str, config: Config) -> None:
        self._trackio.init(project="benchmark", name=name, config=dict(config), embed=False)

    def log(self, row: Row, step: int) -> None:
        self._trackio.log(row, step=step)

    def finish(self) -> None:
        self._trackio.finish()

    def series(self, name: str, key: str) -> tuple[Sequence[int], Sequence[float]]:
        rows = [row for row in self._storage.get_logs("benchmark", name) if key in row]
        return [row["step"] for row in rows], [row[key] for row in rows]

    def last(self, name: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for row in self._storage.get_logs("benchmark", name):
            found.update(row)
        return found

    def listing(self) -> list[Listed]:
        found: list[Listed] = []
        for run in self._trackio.Api().runs("benchmark"):
            rows = self._storage.get_logs("benchmark", run.name, run_id=run.id)
            found.append((run.name, run.config or {}, rows[-1] if rows else {}))
        return found
