"""Runs that another process has opened, or that have ended: what is logged to them here is added to their record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from autotrack import session
from autotrack.late import log_late
from autotrack.layout import Layout, decode_project
from autotrack.run import Run
from autotrack.start import Start


class Place(NamedTuple):
    """Where a run is recorded, as it can be sent to another process: `folder` is its own, or of a child its root's."""

    folder: Path
    run: str


def place_of(run: Run) -> Place | None:
    """The place of a run; None where nothing of it is kept."""
    return None if run.opened_by == "disabled" else Place(run.dir, run.id)


def run_at(place: Place) -> Run:
    """The run at a place, as one that has ended: `autotrack.late` adds to it."""
    layout, project = Layout(place.folder.parents[2]), decode_project(place.folder.parent.name)
    facts = Start(place.folder.name, project, None, None, (), "", "training")
    root = Run(None, layout, facts, id=place.folder.name)
    return root if place.run == root.id else Run(None, layout, facts, id=place.run, parent_run=root)


class Elsewhere:
    """Stands for a training that another process has begun and will end, or that is over."""

    def __init__(self, run: Run, log_every: int = 1) -> None:
        self.run = run
        self.log_every = log_every

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Add metrics to the run's record."""
        if session.recording():
            log_late(self.run, values, step)

    def finish(self, error: BaseException | None = None) -> None:
        """It is ended elsewhere."""
