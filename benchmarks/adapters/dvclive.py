"""DVCLive with the files that it writes by default, outside of a DVC repository: one folder a run."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapters import Config, Listed, Row, Tracker, json_file


class Adapter(Tracker):
    module = "dvclive"
    script = """
from dvclive import Live
with Live("live/short", save_dvc_exp=False, dvcyaml="live/short/dvc.yaml") as live:
    live.log_params({"lr": 0.1})
    for step in range(10):
        live.log_metric("loss", 1 / (step + 1))
        live.next_step()
"""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from dvclive import Live

        self._live: Any = Live

    @staticmethod
    def settings(folder: Path) -> dict[str, str]:
        return {"DVC_NO_ANALYTICS": "1", "DVCLIVE_LOGLEVEL": "ERROR"}

    def open(self, name: str, config: Config) -> None:
        folder = self.folder / "live" / name
        self._run = self._live(str(folder), save_dvc_exp=False, dvcyaml=str(folder / "dvc.yaml"))
        self._run.log_params(dict(config))

    def log(self, row: Row, step: int) -> None:
        self._run.step = step
        for key, value in row.items():
            self._run.log_metric(key, value)
        self._run.next_step()

    def finish(self) -> None:
        self._run.end()

    def series(self, name: str, key: str) -> tuple[Sequence[int], Sequence[float]]:
        path = self.folder / "live" / name / "plots" / "metrics" / f"{key}.tsv"
        steps, values = [], []
        with open(path, newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                steps.append(int(row["step"]))
                values.append(float(row[key.rpartition("/")[2]]))
        return steps, values

    def last(self, name: str) -> dict[str, float]:
        return _flat(json_file(self.folder / "live" / name / "metrics.json"))

    def listing(self) -> list[Listed]:
        from ruamel.yaml import YAML

        found: list[Listed] = []
        for path in (self.folder / "live").iterdir():
            params = YAML(typ="safe").load(path / "params.yaml")
            found.append((path.name, params, _flat(json.loads((path / "metrics.json").read_text()))))
        return found

    def write_series(self, name: str, key: str, values: Sequence[float]) -> None:
        self.open(name, {"lr": 0.1})
        for step, value in enumerate(values):
            self._run.step = step
            self._run.log_metric(key, value)
        self._run.make_summary()
        self.finish()


def _flat(nested: dict[str, Any], before: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{key}/")
        else:
            found[before + key] = value
    return found
