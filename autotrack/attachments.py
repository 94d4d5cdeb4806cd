"""Files, figures, pictures, tables and inputs of a running run."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from autotrack import background
from autotrack.errors import AutotrackError, NotScalar
from autotrack.guard import guarded, printable, warn
from autotrack.layout import Layout
from autotrack.objects import ObjectStore
from autotrack.saves import saved
from autotrack.steps import step_number
from autotrack.values import show

if TYPE_CHECKING:
    from autotrack.keeping import Retention
    from autotrack.options import LogModel
    from autotrack.run import Run


class Attachments(ABC):
    """The half of a `Run` that keeps more than numbers; what cannot be kept is warned of and left out."""

    layout: Layout
    log_model: "LogModel | None" = None
    """Which checkpoints are stored; None: what AUTOTRACK_LOG_MODEL says."""
    retention: "Retention | None" = None

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether the run takes no more events."""

    @abstractmethod
    def event(self, kind: str, body: dict[str, Any]) -> None:
        """Write any other event of the journal's format; never raises."""

    def log_artifact(self, path_or_figure: Any, name: str | None = None, step: int | None = None) -> None:
        """Keep a file, a folder, or a figure of Matplotlib or Plotly: copied now, by content, the user's file untouched."""
        self._keep("log_artifact", step, lambda kind, objects: kind.anything(objects, path_or_figure, name))

    def log_image(self, name: str, image: Any, step: int | None = None) -> None:
        """Keep a picture: a path, a PIL image, an array (height, width[, 3 or 4]), floats 0…1 or 0…255 integers."""
        self._keep("log_image", step, lambda kind, objects: kind.image(objects, name, image))

    def log_table(self, name: str, table: Any, step: int | None = None) -> None:
        """Keep a table: a DataFrame, a mapping of columns, or a list of rows."""
        self._keep("log_table", step, lambda kind, objects: kind.table(objects, name, table))

    def log_input(self, path: str | os.PathLike[str], role: str = "data") -> None:
        """Note that the run read a file or a folder: its path, size and (files) sha256, computed on the helper thread."""
        with guarded("log_input"):
            try:
                place = Path(path).absolute()
            except TypeError:
                warn(
                    "input",
                    f"log_input takes a path, and was given {show(path)}; it was left out.",
                    key=show(path),
                )
                return
            background.submit(self._note_input, place, str(role))

    def log_checkpoint(
        self,
        path: str | os.PathLike[str],
        step: int | None = None,
        metrics: Mapping[str, Any] | None = None,
        epoch: float | None = None,
        score: Any = None,
        monitor: str | None = None,
        mode: str | None = None,
    ) -> None:
        """Note that a checkpoint was saved to a file or folder, which stays where it is.

        `step`: the last one that was logged, if it is not given. `metrics`: what the model reaches, beside what was logged;
        `score`: the value of the metric `monitor` that it is to be judged by, the less the better with `mode="min"`, the more with
        `mode="max"`; without a mode none is the best one. Saving to the same path again makes another checkpoint of it.
        """
        with guarded("log_checkpoint"):
            try:
                judged: dict[str, Any] = {
                    "score": score,
                    "monitor": monitor,
                    "mode": mode,
                    "metrics": metrics,
                }
                saved(cast("Run", self), path, step=step, epoch=epoch, **judged)
            except (OSError, TypeError, ValueError, NotScalar) as error:
                why = getattr(error, "strerror", None) or error
                warn(
                    "checkpoint",
                    f"log_checkpoint: {show(path)} was left out ({why}). Give the path of a file or folder that is there, "
                    "and numbers.",
                    key=str(path),
                )

    def _keep(self, what: str, step: int | None, make: Callable[[Any, ObjectStore], dict[str, Any]]) -> None:
        if self.ended:
            return
        from autotrack import artifacts

        with guarded(what):
            objects = ObjectStore(self.layout.objects)
            try:
                body = make(artifacts, objects)
            except AutotrackError as error:
                message = str(error) if str(error).startswith(what) else f"{what}: {error}"
                warn("artifact", message, key=message[:99])
                return
            except OSError as error:
                self._not_kept(what, error)
                return
            self.event("artifact", body | {"step": None if step is None else step_number(step)})
            background.submit(_sync, objects)

    def _not_kept(self, what: str, error: OSError) -> None:
        """The record names each thing that the disk refused; the user is told of the first."""
        message = f"{what}: {error}. It is missing from the record."
        if not warn("artifact", message, key=(what, error.errno)):
            self.event("warning", {"slug": "artifact", "message": printable(message)})

    def _note_input(self, path: Path, role: str) -> None:
        from autotrack.artifacts import input_facts

        try:
            self.event("input", input_facts(path, role))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            warn(
                "input",
                f"log_input: {str(path)!r} could not be read ({why}). Give the path of a file or folder that exists.",
                key=str(path),
            )


def _sync(objects: ObjectStore) -> None:
    try:
        objects.sync()
    except OSError as error:
        warn(
            "disk",
            f"What was stored in {objects.folder} could not be synced ({error.strerror or error}): a power loss may cost it.",
            key=("sync", objects.folder),
        )
