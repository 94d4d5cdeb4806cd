"""What a run's record holds besides numbers and text: metrics, artifacts, inputs."""

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotrack.errors import StoreError
from autotrack.index.history import missing_key


@dataclass(frozen=True)
class MetricSummary:
    """What a series amounts to; `min`, `max` and `mean` leave non-finite values out (NaN when nothing is
    left).

    `count` is the number of points, `nonfinite` how many of them are NaN or infinite.
    """

    first: float
    last: float
    min: float
    max: float
    mean: float
    count: int
    nonfinite: int
    first_step: int | None
    last_step: int | None
    min_step: int | None
    max_step: int | None


def metric(row: Mapping[str, Any]) -> MetricSummary:
    """A row of the table `metrics`."""
    numbers: dict[str, Any] = {
        name: math.nan if row[name] is None else row[name] for name in ("first", "last", "min", "max", "mean")
    }
    whole = ("count", "nonfinite", "first_step", "last_step", "min_step", "max_step")
    return MetricSummary(**numbers, **{name: row[name] for name in whole})


class Metrics(Mapping[str, MetricSummary]):
    """Metrics by key; a missing key names the nearest ones."""

    def __init__(self, rows: Mapping[str, Any]) -> None:
        self._rows = rows

    def __getitem__(self, key: str) -> MetricSummary:
        try:
            return metric(self._rows[key])
        except KeyError:
            raise KeyError(missing_key(key, list(self._rows))) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"Metrics({', '.join(map(repr, self))})"


class Summary(Mapping[str, float]):
    """Last values by key; a missing key names the nearest ones."""

    def __init__(self, lasts: Mapping[str, float | None]) -> None:
        self._lasts = lasts

    def __getitem__(self, key: str) -> float:
        try:
            value = self._lasts[key]
        except KeyError:
            raise KeyError(missing_key(key, list(self._lasts))) from None
        return math.nan if value is None else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._lasts)

    def __len__(self) -> int:
        return len(self._lasts)

    def __repr__(self) -> str:
        return repr(dict(self))


@dataclass(frozen=True)
class Artifact:
    """A file or folder that a run kept: sizes in bytes, `digest` the sha256 in hexadecimal, `path` where it
    came from.
    """

    name: str
    type: str
    size: int | None
    digest: str | None
    step: int | None
    path: str | None
    files: list[dict[str, Any]] = field(default_factory=list)
    objects: Path = field(default=Path(), repr=False, compare=False)

    def open(self, file: str | None = None) -> io.BufferedReader:
        """The content, opened for reading bytes; of a folder, that of `file` in it. StoreError when it is not
        there.
        """
        digest = self.digest
        if self.type == "folder":
            digest = next((one.get("digest") for one in self.files if one.get("path") == file), None)
            if digest is None:
                names = ", ".join(repr(one.get("path")) for one in self.files[:12]) or "none"
                raise StoreError(f"The folder {self.name!r} has no file {file!r}. Its files: {names}.")
        if not digest or len(digest) < 3 or not digest.isalnum():
            raise StoreError(
                f"The artifact {self.name!r} was recorded without its content (digest {digest!r})."
            )
        place = self.objects / digest[:2] / digest[2:]
        try:
            return open(place, "rb")
        except OSError as error:
            raise StoreError(
                f"The content of {self.name!r} cannot be read: {place}: {error.strerror}. "
                "Copy it there from where the run was recorded."
            ) from error


@dataclass(frozen=True)
class Input:
    """A file that a run read: `digest` and `size` None where they were not taken.

    Of a checkpoint (`role` "checkpoint") that the run began from, `run` is the run that wrote it, itself if it was resumed
    from there, and `step` that run's step; None where nothing is known of it.
    """

    path: str
    digest: str | None
    size: int | None
    role: str
    run: str | None = None
    step: int | None = None


def artifact(body: Mapping[str, Any], objects: Path) -> Artifact:
    """The artifact of an event's body."""
    files = [one for one in body.get("files") or [] if isinstance(one, dict)]
    known = {name: body.get(name) for name in ("size", "digest", "step", "path")}
    return Artifact(
        str(body.get("name", "")), str(body.get("type", "file")), **known, files=files, objects=objects
    )


def input_file(body: Mapping[str, Any]) -> Input:
    """The input of an event's body."""
    return Input(
        str(body.get("path", "")),
        body.get("digest"),
        body.get("size"),
        str(body.get("role", "data")),
        body.get("run"),
        body.get("step"),
    )
