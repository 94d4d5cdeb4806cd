"""tensorboardX to record, TensorBoard's EventAccumulator with all points kept to read. Parameters are one text."""

import json
from collections.abc import Sequence
from typing import Any

from adapters import Config, Listed, Row, Tracker


class Adapter(Tracker):
    module = "tensorboardX"
    script = """
import json, tensorboardX
with tensorboardX.SummaryWriter("logs/short") as writer:
    writer.add_text("config", json.dumps({"lr": 0.1}))
    for step in range(10):
        writer.add_scalar("loss", 1 / (step + 1), step)
"""

    def open(self, name: str, config: Config) -> None:
        from tensorboardX import SummaryWriter

        self._writer: Any = SummaryWriter(str(self.folder / "logs" / name))
        self._writer.add_text("config", json.dumps(dict(config)))

    def log(self, row: Row, step: int) -> None:
        for key, value in row.items():
            self._writer.add_scalar(key, value, step)

    def finish(self) -> None:
        self._writer.close()

    def series(self, name: str, key: str) -> tuple[Sequence[int], Sequence[float]]:
        found = self._load(name)
        if key not in found.Tags()["scalars"]:
            return [], []
        points = found.Scalars(key)
        return [point.step for point in points], [point.value for point in points]

    def last(self, name: str) -> dict[str, float]:
        found = self._load(name)
        return {key: found.Scalars(key)[-1].value for key in found.Tags()["scalars"]}

    def listing(self) -> list[Listed]:
        listed: list[Listed] = []
        for path in (self.folder / "logs").iterdir():
            found = self._load(path.name)
            texts = found.Tensors("config/text_summary")
            config = json.loads(texts[0].tensor_proto.string_val[0])
            metrics = {key: found.Scalars(key)[-1].value for key in found.Tags()["scalars"]}
            listed.append((path.name, config, metrics))
        return listed

    def _load(self, name: str) -> Any:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        path = str(self.folder / "logs" / name)
        return EventAccumulator(path, size_guidance={"scalars": 0, "tensors": 0}).Reload()
