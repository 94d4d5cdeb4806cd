"""One run as it is read back."""

from collections.abc import Collection, Iterable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from autotrack.index.changes import Change, changes_of
from autotrack.index.fold import Fact, unpack_body
from autotrack.index.history import History, missing_key, series_of
from autotrack.index.load import Folder, Loader, Name
from autotrack.index.parts import Artifact, Input, Metrics, Summary, artifact, input_file
from autotrack.index.saves import Checkpoint, checkpoints_of
from autotrack.index.series import check_limit
from autotrack.index.summary import SYSTEM
from autotrack.times import moment


class RunRecord:
    """What is known of one run. Everything is read when it is asked for; nothing of it changes the run."""

    def __init__(self, name: Name, row: Any, loader: Loader) -> None:
        self._row = row
        self._loader = loader
        self._name = name
        self._config: dict[str, Any] | None = None
        self.id: str = row["id"]
        self.name: str = row["name"]
        self.project: str = row["project"]
        self.status: str = row["status"]
        self.group: str | None = row["group"]
        self.parent: str | None = row["parent"]
        self.notes: str = row["notes"]
        self.framework: str | None = row["framework"]
        self.opened_by: str | None = row["opened_by"]
        self.archived: bool = bool(row["archived"])
        self.attempts: int = row["attempts"]
        self.duration: float = row["duration"]

    @property
    def tags(self) -> list[str]:
        """The tags, in the order they were given."""
        return list(orjson.loads(self._row["tags"]))

    @property
    def created(self) -> datetime:
        """When the run was made, in local time."""
        return moment(self._row["created"])

    @property
    def finished(self) -> datetime | None:
        """When the run ended by its own word, in local time; None while it runs, and when it died."""
        wall = self._row["finished"]
        return None if wall is None else moment(wall)

    @property
    def last_seen(self) -> datetime:
        """When the run last wrote anything, in local time."""
        return moment(self._row["last_wall"])

    @property
    def config(self) -> dict[str, Any]:
        """The parameters, nested as they were given."""
        if self._config is None:  # in a long list a `cached_property`, which locks, takes twice as long
            self._config = unpack_body(self._row["config"])
        return self._config

    @cached_property
    def _finish(self) -> dict[str, Any]:
        data = self._row["finish"]
        return unpack_body(data) if data else {}

    @property
    def error(self) -> dict[str, Any] | None:
        """The exception that ended the run: type, message, traceback; None without one."""
        error = self._finish.get("error")
        return error if isinstance(error, dict) else None

    @property
    def exit_code(self) -> int | None:
        """The exit code of the process, where it is known."""
        return self._finish.get("exit_code")

    @property
    def own_ns(self) -> dict[str, Any]:
        """What autotrack itself took on the training's threads, in nanoseconds."""
        own = self._finish.get("own_ns")
        return own if isinstance(own, dict) else {}

    @property
    def metrics(self) -> Metrics:
        """The summaries by key, those of the system too: `metrics["loss"].min`."""
        return Metrics(self._loader.metrics(self._name))

    @property
    def summary(self) -> Summary:
        """The last values by key, without those of the system."""
        return Summary(self._loader.lasts(self._name))

    @property
    def children(self) -> "list[RunRecord]":
        """The runs that this run is the parent of, oldest first."""
        rows = self._loader.children(self._name)
        return records_of(Loader(self._loader.database, self._loader.layout, rows))

    @property
    def child_count(self) -> int:
        """How many children the run has; for a list of runs one question answers all."""
        return self._loader.child_count(self._name)

    @property
    def artifacts(self) -> list[Artifact]:
        """The files and folders that the run kept, oldest first."""
        return [artifact(fact.body, self._loader.layout.objects) for fact in self._events("artifact")]

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints that the run wrote, each save of each path, oldest first."""
        return checkpoints_of(self._events("checkpoint"), self.id)

    @property
    def changes(self) -> list[Change]:
        """What changed in config, code and packages when the run was resumed; empty for a single attempt."""
        if self.attempts < 2:
            return []
        facts = self._events("start", "config", "capture", "finish")
        return changes_of(facts, self._loader.layout.objects)

    @property
    def inputs(self) -> list[Input]:
        """The files that the run read."""
        return [input_file(fact.body | self._writer(fact)) for fact in self._events("input")]

    @property
    def environment(self) -> dict[str, Any]:
        """What was captured around the run: what to facts; a child has its root run's, with its own on top."""
        captured = [fact.body for fact in self._captures() if fact.body.get("status") == "captured"]
        return {str(body.get("what")): body.get("facts") for body in captured}

    @property
    def capture_report(self) -> list[dict[str, Any]]:
        """What was captured, skipped or failed, why, and how many milliseconds it took."""
        return [
            {name: fact.body.get(name) for name in ("what", "status", "why", "ms")}
            for fact in self._captures()
        ]

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """What went wrong while recording (slug, message, time), and with the run's files."""
        found = [fact.body | {"time": moment(fact.wall)} for fact in self._events("warning")]
        return found + [
            {"slug": "journal-unreadable", "message": text, "time": None} for text in self._folder.problems
        ]

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """What was dropped while the disk refused writes: from, to (sequence numbers), dropped (lines),
        reason.
        """
        return [fact.body for fact in self._events("gap")]

    @property
    def damaged(self) -> int:
        """How many lines of the run's journals are damaged; for a child those of its root run."""
        return self._folder.damaged

    @property
    def dir(self) -> Path:
        """The folder that holds the run's journals."""
        return self._folder.path

    def history(
        self, keys: str | Iterable[str] | None = None, max_points: int | None = None, attempts: bool = False
    ) -> History:
        """The series of the run: steps, times and values as they were recorded, in the order they were recorded.

        `keys`: one key, several, "system" for those of the system; None: all but those of the system.
        KeyError for one that is not there.
        `max_points`: at most so many points a key, for a picture. The series is cut into stretches of about as many
        points each; of each one the lowest and the highest stay (infinities count), and one NaN if it has any, and the
        first and last of the whole series. No point is moved, averaged or made up. ValueError below 1.
        `attempts`: also what resuming replaced.
        """
        if max_points is not None:
            check_limit(max_points)
        points = self._loader.points(self._name, lambda known: _chosen(keys, known), attempts, max_points)
        return History({key: series_of(some, max_points) for key, some in points.items()})

    def _events(self, *kinds: str) -> list[Any]:
        return self._loader.events(self._name, *kinds)

    def _writer(self, fact: Fact) -> dict[str, Any]:
        """Of a checkpoint that the user's code loaded, who wrote it; of one that was resumed from, the event says so."""
        body = fact.body
        if body.get("role") != "checkpoint" or body.get("run") is not None:
            return {}
        save = self._loader.writers().find(str(body.get("path")), body.get("digest"), fact.wall)
        return {} if save is None else {"run": save.run, "step": save.step}

    def _captures(self) -> list[Any]:
        root = self._folder.root
        own = self._events("capture")
        return own if root.id == self.id else self._loader.events(root, "capture") + own

    @cached_property
    def _folder(self) -> Folder:
        return self._loader.folder(self._name)

    def __repr__(self) -> str:
        return f"RunRecord({self.id!r}, name={self.name!r}, project={self.project!r}, status={self.status!r})"


def records_of(loader: Loader) -> list[RunRecord]:
    """The runs of a list."""
    return [RunRecord(name, row, loader) for name, row in loader.rows.items()]


def _chosen(keys: str | Iterable[str] | None, known: Collection[str]) -> list[str]:
    if keys is None:
        return [key for key in known if not key.startswith(SYSTEM)]
    wanted: list[str] = []
    for key in [keys] if isinstance(keys, str) else keys:
        if key in known:
            wanted.append(key)
        elif key == "system":
            wanted += [name for name in known if name.startswith(SYSTEM)]
        else:
            raise KeyError(missing_key(key, list(known)))
    return list(dict.fromkeys(wanted))
