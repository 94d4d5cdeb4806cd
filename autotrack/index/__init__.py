"""The index: a cache made from journals, and what answers questions from it. Deleting it loses nothing."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from autotrack.errors import RunNotFound
from autotrack.index import health, query
from autotrack.index.database import Database
from autotrack.index.history import History, Series
from autotrack.index.load import Loader
from autotrack.index.parts import Artifact, Input, MetricSummary
from autotrack.index.query import RunList
from autotrack.index.record import RunRecord
from autotrack.index.saves import Checkpoint, checkpoints_of
from autotrack.index.sync import Progress, sync
from autotrack.index.uses import Known, uses_of
from autotrack.index.writers import Save, last_save, saves_of_size
from autotrack.layout import STORE, Layout, check_store, find_store

__all__ = [
    "Artifact",
    "Checkpoint",
    "History",
    "Index",
    "Input",
    "MetricSummary",
    "RunList",
    "RunRecord",
    "Series",
    "get_run",
    "open_index",
    "runs",
]


T = TypeVar("T")
_last = threading.local()
_SEAL_SECONDS = 0.05
"""What a question may wait for the sealing of runs that are over."""


class Index:
    """The runs of one store. An index that is damaged, locked or of another version is built again, and
    nothing is lost.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._database = Database(layout)
        self._database.refill = lambda: sync(self._database, layout, seal_seconds=0)
        self._synced = False

    @property
    def path(self) -> Path | None:
        """The index's file; None when it is in memory, because no file could be written."""
        return self._database.path

    def sync(
        self,
        progress: Progress | None = None,
        only: Path | None = None,
        seal_seconds: float = 0.5,
    ) -> None:
        """Read what is new in the journals, work out the states of runs, and seal what is over.

        `progress(done, total)` is called as folders are read, also within a long one, with how many there are to look at: new
        ones, and those of runs that go on or have changed. `only`: look at this run's folder alone, and seal nothing.
        `seal_seconds` bounds the time for sealing; what is left is sealed the next time.
        """
        self._database.repaired(lambda: sync(self._database, self.layout, progress, only, seal_seconds))
        self._synced = True

    def runs(
        self,
        project: str | None = None,
        where: str | None = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
        archived: bool = False,
        children: bool = True,
        group: str | None = None,
    ) -> RunList:
        """The runs that fit, newest first, as of the last `sync()`; without one, a first one is done.

        `where`: a filter such as `config.lr < 0.01 and "best" in tags`. `order_by`: a field such as
        `created`, `-duration`,
        `metrics["loss"].min`, or several. `archived`: archived runs too. `children`: child runs too.
        FilterError for a filter or ordering that does not parse.
        """
        self._sync_once()
        return query.find(
            self._database, self.layout, project, where, order_by, limit, archived, children, group
        )

    def count(
        self,
        project: str | None = None,
        where: str | None = None,
        archived: bool = False,
        children: bool = True,
        group: str | None = None,
    ) -> int:
        """How many runs fit; the arguments are those of `runs()`."""
        self._sync_once()
        return query.count(self._database, project, where, archived, children, group)

    def get(self, id_or_prefix: str) -> RunRecord:
        """One run by its id or the beginning of it; RunNotFound and AmbiguousRun name candidates."""
        self._sync_once()
        try:
            return query.get(self._database, self.layout, id_or_prefix)
        except RunNotFound:
            self._say_unreadable(id_or_prefix)
            raise

    def checkpoints(self) -> dict[str, list[Checkpoint]]:
        """Every save of every run that has saved any, oldest first, by the run's id."""
        self._sync_once()
        facts = Loader(self._database, self.layout, []).saves()
        return {run: checkpoints_of(found, run) for run, found in facts.items()}

    def registry_heads(self) -> list[tuple[str, dict[str, Any]]]:
        """What each run saw of the registry when it began: its id, and by model the number and digest of the last decision."""
        self._sync_once()
        found = Loader(self._database, self.layout, []).bodies("registry")
        return [(run, body["heads"]) for run, body in found if isinstance(body.get("heads"), dict)]

    def last_save(self, path: str) -> Save | None:
        """The last save of a checkpoint to a path (absolute, as it is or without links): the run, and the step."""
        self._sync_once()
        paths = {path, os.path.realpath(path)}
        return self._database.ask(lambda connection: last_save(connection, paths))

    def uses(self, path: str) -> Known:
        """What the runs have to do with a file or folder (an absolute path), which is read: by its content, and by its path."""
        self._sync_once()
        return self._database.ask(lambda connection: uses_of(connection, path))

    def saves_of_size(self, size: int) -> list[Save]:
        """The saves of checkpoints of so many bytes whose digest is known, newest first."""
        self._sync_once()
        return self._database.ask(lambda connection: saves_of_size(connection, size))

    def _say_unreadable(self, id_or_prefix: str) -> None:
        """RunNotFound with the reason, where the run is there and cannot be read."""
        for run, problem in self._problems():
            if id_or_prefix and run.name.startswith(id_or_prefix):
                raise RunNotFound(f"The run {run.name} is there and cannot be read: {problem} ({run}).")

    def problems(self) -> list[str]:
        """One sentence for each file in the store that could not be read as a journal."""
        return [f"{run}: {problem}" for run, problem in self._problems()]

    def _problems(self) -> list[tuple[Path, str]]:
        self._sync_once()
        rows = self._database.ask(health.unreadable)
        return [(self.layout.run_dir(row.project, row.run), row.problem) for row in rows]

    def states(self) -> dict[str, str]:
        """The state of every run by its id, child runs and archived ones too."""
        self._sync_once()
        return self._database.ask(health.states)

    def damaged(self) -> dict[str, int]:
        """How many lines are damaged, by the id of each run that has such lines."""
        self._sync_once()
        return self._database.ask(health.damaged)

    def with_gaps(self) -> list[str]:
        """The ids of the runs in which lines were dropped."""
        self._sync_once()
        return self._database.ask(health.with_gaps)

    def rebuild(self, progress: Progress | None = None) -> None:
        """Throw the index away and build it again from the journals."""
        self._database.repaired(self._database.empty)
        self.sync(progress)

    def fresh(self, question: Callable[["Index"], T]) -> T:
        """The answer to a question after a short `sync`, in one go."""

        def answer() -> T:
            self.sync(seal_seconds=_SEAL_SECONDS)
            return question(self)

        return self._database.together(answer)

    def _sync_once(self) -> None:
        if not self._synced:
            self.sync(seal_seconds=0)

    def is_current(self) -> bool:
        """Whether the index still is the file that was opened."""
        return self._database.is_current()

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_index(store: Path | str | None = None) -> Index:
    """The index of a store (default: found as for recording); it is brought up to date by `sync()`.

    `store` is an `.autotrack` folder or the folder that holds one. StoreError when there is none.
    """
    return Index(Layout(_root(store)))


def _root(store: Path | str | None) -> Path:
    root = find_store() if store is None else Path(store)
    if root.name != STORE and not (root / "runs").is_dir() and (root / STORE).is_dir():
        root = root / STORE
    check_store(root)
    return root


def _index() -> Index:
    """The index of the store; the one that this thread has used last, if that is still what lies there."""
    root = _root(None)
    known: Index | None = getattr(_last, "index", None)
    if known is None or known.layout.root != root or not known.is_current():
        known = Index(Layout(root))
        _last.index = known if known.is_current() else None
    return known


def runs(
    project: str | None = None,
    where: str | None = None,
    order_by: str | Sequence[str] | None = None,
    limit: int | None = None,
    archived: bool = False,
    children: bool = True,
) -> RunList:
    """The runs of the store that fit, newest first; see `Index.runs`."""
    return _index().fresh(lambda index: index.runs(project, where, order_by, limit, archived, children))


def get_run(id_or_prefix: str) -> RunRecord:
    """One run of the store by its id or the beginning of it; see `Index.get`."""
    return _index().fresh(lambda index: index.get(id_or_prefix))
