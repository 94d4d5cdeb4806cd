"""The checkpoints of a run, worked out from its events."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol


class Fact(Protocol):
    """An event of a run: `wall` in Unix nanoseconds."""

    @property
    def wall(self) -> int:
        """When it was written."""

    @property
    def body(self) -> dict[str, Any]:
        """What it says."""


@dataclass(frozen=True)
class Checkpoint:
    """One save of a checkpoint. A path that is saved to again holds another checkpoint.

    `size` in bytes, `files` how many a folder has; `score` the value of the metric `monitor` that whoever saved it judged it
    by, `by` who that was; `links` the paths that stand for it. `id` names this save; `digest` is the sha256 of its bytes, of a
    folder that of its listing, None where it went before it could be read.
    `state`: "written", "overwritten" or "removed", as far as the training told; `gone` when, `why` it was removed.
    """

    path: str
    step: int | None
    epoch: float | None
    score: float | None
    monitor: str | None
    metrics: Mapping[str, float]
    size: int | None
    files: int | None
    by: str
    saved: datetime
    state: Literal["written", "overwritten", "removed"] = "written"
    gone: datetime | None = None
    why: str | None = None
    links: tuple[str, ...] = field(default=())
    id: str | None = None
    digest: str | None = None


def checkpoints_of(facts: Iterable[Fact]) -> list[Checkpoint]:
    """Every save, oldest first, from a run's "checkpoint" events in order."""
    found: list[Checkpoint] = []
    here: dict[str, int] = {}
    links: dict[str, int] = {}
    digests: dict[str, str] = {}
    for fact in facts:
        action, path = fact.body.get("action"), str(fact.body.get("path", ""))
        if action in ("saved", "overwritten"):
            _lose(found, here, links, path, "overwritten", fact)
            here[path] = len(found)
            found.append(_saved(path, fact))
        elif action == "linked":
            _lose(found, here, links, path, "overwritten", fact)
            target = str(fact.body.get("target", ""))
            if target in here:
                place = links[path] = here[target]
                found[place] = replace(found[place], links=(*found[place].links, path))
        elif action == "removed":
            inside = [known for known in (*here, *links) if known == path or known.startswith(path + "/")]
            for known in inside:
                _lose(found, here, links, known, "removed", fact)
        elif action == "digested":
            digests[str(fact.body.get("save"))] = str(fact.body.get("digest"))
    return [replace(one, digest=digests.get(one.id or "")) for one in found]


def _saved(path: str, fact: Fact) -> Checkpoint:
    body = fact.body
    metrics = body.get("metrics")
    return Checkpoint(
        path=path,
        step=body.get("step"),
        epoch=body.get("epoch"),
        score=body.get("score"),
        monitor=body.get("monitor"),
        size=body.get("size"),
        files=body.get("files"),
        metrics=dict(metrics) if isinstance(metrics, dict) else {},
        by=str(body.get("by", "")),
        saved=moment(fact.wall),
        id=body.get("id"),
    )


def _lose(
    found: list[Checkpoint],
    here: dict[str, int],
    links: dict[str, int],
    path: str,
    state: Literal["overwritten", "removed"],
    fact: Fact,
) -> None:
    """What a path held is not there any more."""
    target = links.pop(path, None)
    if target is not None:
        links_left = tuple(link for link in found[target].links if link != path)
        found[target] = replace(found[target], links=links_left)
    place = here.pop(path, None)
    if place is not None:
        why = fact.body.get("why") if state == "removed" else None
        found[place] = replace(found[place], state=state, gone=moment(fact.wall), why=why)


def moment(wall: int) -> datetime:
    """Unix nanoseconds as local time; what no calendar holds becomes the nearest that one does."""
    seconds = min(max(wall / 1e9, 0.0), 253_000_000_000.0)
    return datetime.fromtimestamp(seconds, UTC).astimezone()
