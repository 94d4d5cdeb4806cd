"""The floor: a `json.dumps` line to a buffered file, which keeps nothing of what lies in the buffer when the process is killed."""

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack

from adapters import Config, Listed, Row, Tracker


class Adapter(Tracker):
    module = "json"

    def open(self, name: str, config: Config) -> None:
        folder = self.folder / "lines"
        folder.mkdir(exist_ok=True)
        with ExitStack() as stack:
            self._file = stack.enter_context(open(folder / f"{name}.jsonl", "w"))
            self._open = stack.pop_all()
        self._file.write(json.dumps({"config": dict(config)}) + "\n")

    def log(self, row: Row, step: int) -> None:
        self._file.write(json.dumps({"step": step, "time": time.time(), **row}) + "\n")

    def finish(self) -> None:
        self._open.close()

    def series(self, name: str, key: str) -> tuple[Sequence[int], Sequence[float]]:
        rows = [row for row in self._rows(name) if key in row]
        return [int(row["step"]) for row in rows], [row[key] for row in rows]

    def last(self, name: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for row in self._rows(name):
            found.update(row)
        return found

    def listing(self) -> list[Listed]:
        found: list[Listed] = []
        for path in (self.folder / "lines").iterdir():
            first, *rows = path.read_text().splitlines()
            found.append((path.stem, json.loads(first)["config"], json.loads(rows[-1]) if rows else {}))
        return found

    def _rows(self, name: str) -> list[dict[str, float]]:
        found = []
        for line in (self.folder / "lines" / f"{name}.jsonl").read_text().splitlines()[1:]:
            try:
                found.append(json.loads(line))
            except ValueError:  # the line that the end cut through
                continue
        return found
