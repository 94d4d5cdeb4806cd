"""wandb with WANDB_MODE=offline. Offline runs have no reading API; their files are read as what they are: LevelDB logs of protobufs."""

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from adapters import Config, Listed, Row, Tracker

BLOCK = 32 * 1024
HEADER = 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


class Adapter(Tracker):
    module = "wandb"
    script = """
import wandb
with wandb.init(project="benchmark", config={"lr": 0.1}) as run:
    for step in range(10):
        run.log({"loss": 1 / (step + 1)}, step=step)
"""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import wandb

        self._wandb: Any = wandb

    @staticmethod
    def settings(folder: Path) -> dict[str, str]:
        return {
            "WANDB_MODE": "offline",
            "WANDB_DIR": str(folder),
            "WANDB_CACHE_DIR": str(folder.parent / "cache"),
            "WANDB_CONFIG_DIR": str(folder.parent / "config"),
            "WANDB_DATA_DIR": str(folder.parent / "data"),
            "WANDB_SILENT": "true",
            "WANDB_ERROR_REPORTING": "false",
        }

    def open(self, name: str, config: Config) -> None:
        self._run = self._wandb.init(project="benchmark", id=name, name=name, config=dict(config))

    def log(self, row: Row, step: int) -> None:
        self._run.log(row, step=step)

    def finish(self) -> None:
        self._run.finish()

    def series(self, name: str, key: str) -> tuple[Sequence[int], Sequence[float]]:
        steps, values = [], []
        for row in self._rows(self._file(name)):
            if key in row:
                steps.append(int(row["_step"]))
                values.append(row[key])
        return steps, values

    def last(self, name: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for row in self._rows(self._file(name)):
            found.update(row)
        return found

    def listing(self) -> list[Listed]:
        found: list[Listed] = []
        for path in (self.folder / "wandb").glob("offline-run-*/run-*.wandb"):
            config: dict[str, object] = {}
            metrics: dict[str, float] = {}
            for record in self._records(path):
                if record.HasField("run"):
                    config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
                elif record.HasField("history"):
                    metrics |= _row(record.history)
            found.append((path.stem.removeprefix("run-"), config, metrics))
        return found

    def _file(self, name: str) -> Path:
        return next((self.folder / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb"))

    def _rows(self, path: Path) -> Iterator[dict[str, float]]:
        for record in self._records(path):
            if record.HasField("history"):
                yield _row(record.history)

    def _records(self, path: Path) -> Iterator[Any]:
        from wandb.proto import wandb_internal_pb2

        for data in chunks(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            yield record


def chunks(data: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log, whose file begins with a header of seven bytes."""
    place, begun = HEADER, b""
    while place + HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        body = data[place + HEADER : place + HEADER + length]
        if kind not in (FULL, FIRST, MIDDLE, LAST) or len(body) < length:
            return
        begun = body if kind in (FULL, FIRST) else begun + body
        if kind in (FULL, LAST):
            yield begun
        place += HEADER + length


def _row(history: Any) -> dict[str, float]:
    row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in history.item}
    row.setdefault("_step", history.step.num)
    return row
