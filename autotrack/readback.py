"""What a running run has recorded so far, read back from its journal; the index is imported when it is asked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrack.layout import Layout

if TYPE_CHECKING:
    from autotrack.index import Checkpoint, History, MetricSummary, RunRecord


class ReadBack:
    """The reading half of a `Run`."""

    id: str
    layout: Layout
    _dir: Path

    @property
    def summary(self) -> Mapping[str, float]:
        """Metric names to last values."""
        return self._record().summary

    @property
    def metrics(self) -> "Mapping[str, MetricSummary]":
        """Metric names to .first .last .min .max .mean .count .nonfinite."""
        return self._record().metrics

    @property
    def children(self) -> "list[RunRecord]":
        """The child runs."""
        return self._record().children

    @property
    def artifacts(self) -> list[Any]:
        """The artifacts, each with .name .type .size .digest and .open()."""
        return self._record().artifacts

    @property
    def checkpoints(self) -> "list[Checkpoint]":
        """The checkpoints, each with .path .step .epoch .score .monitor .size .state."""
        return self._record().checkpoints

    @property
    def inputs(self) -> list[Any]:
        """The inputs, each with .path .digest .size .role."""
        return self._record().inputs

    @property
    def environment(self) -> Mapping[str, Any]:
        """What the capture providers found, by provider."""
        return self._record().environment

    @property
    def capture_report(self) -> list[dict[str, Any]]:
        """What was captured, what was skipped, and why."""
        return self._record().capture_report

    def history(self, keys: Any = None, max_points: int | None = None, attempts: bool = False) -> "History":
        """The series of this run so far; see `RunRecord.history`."""
        return self._record().history(keys=keys, max_points=max_points, attempts=attempts)

    def _record(self) -> "RunRecord":
        from autotrack.index import open_index

        index = open_index(self.layout.root)
        index.sync(only=self._dir)
        return index.get(self.id)
