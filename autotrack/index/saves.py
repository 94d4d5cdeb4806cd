"""The checkpoints of a run, worked out from its events."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, Protocol

from autotrack.digests import Look, Part
from autotrack.ranking import beats
from autotrack.times import moment

_CLOCK_SECONDS = 1.0
"""By so much the clocks of a file system and of a record may differ."""


class Fact(Protocol):
    """An event of a run: `wall` in Unix nanoseconds."""

    @property
    def wall(self) -> int:
        """When it was written."""

    @property
    def body(self) -> dict[str, Any]:
        """What it says."""


State = Literal["written", "sealed", "damaged", "stored", "overwritten", "removed"]


@dataclass(frozen=True)
class Checkpoint:
    """One save of a checkpoint. A path that is saved to again holds another checkpoint.

    `size` in bytes, `files` how many a folder has, `without` the beginning of the names of folders in it that are not of it, `names`
    the files in it that are, where others lie beside; `score`
    the value of the metric `monitor` that whoever saved it judged it by, the less the better where `mode` is "min"; `by` who that
    was; `links` the paths that stand for it; `best` of those of this monitor, `last` of all of the run. `run` saved it, `id` names
    this save; `digest` is the sha256 of its bytes, of a folder that of its listing, `format` what it is, None where it went
    before it could be read.
    `state`: "written" (not read to its end yet), "sealed" (whole as far as its format tells, synced, digest known), "damaged"
    (why in `problem`), "stored" (its bytes are in the store, wherever else they are), "overwritten" or "removed": gone, as far
    as the training told, `gone` when and `why`. `stored`: how its bytes are kept, "packed", "linked", "cloned" or "written",
    `policy` by which `log_model`; `unstored`: why they are not (any more).
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
    state: State = "written"
    gone: datetime | None = None
    why: str | None = None
    links: tuple[str, ...] = field(default=())
    id: str | None = None
    digest: str | None = None
    format: str | None = None
    problem: str | None = None
    mode: str | None = None
    stored: str | None = None
    policy: str | bool | None = None
    unstored: str | None = None
    best: bool = False
    last: bool = False
    run: str = ""
    without: str | None = None
    names: tuple[str, ...] | None = None

    @property
    def part(self) -> Part:
        """What of a folder it is."""
        return Part(self.without, self.names)

    @property
    def is_there(self) -> bool:
        """Whether its bytes are somewhere, as far as the record tells."""
        return self.stored is not None or self.gone is None

    @property
    def marks(self) -> tuple[str, ...]:
        """ "best" and "last", where it is."""
        return tuple(mark for mark, is_it in (("best", self.best), ("last", self.last)) if is_it)

    def fits(self, look: Look) -> bool:
        """Whether what is seen at a path can be what was saved: as large, and not changed after the record of it."""
        changed = max((stamp[2] for stamp in look.stamps), default=0) / 1e9
        same = (look.size, look.files) == (self.size, self.files)
        return same and changed <= self.saved.timestamp() + _CLOCK_SECONDS

    @property
    def is_sealed(self) -> bool:
        """Whether it was read to its end and found whole; only such a one can be got back, named or resumed from."""
        return self.digest is not None and self.problem is None


def checkpoints_of(facts: Iterable[Fact], run: str = "") -> list[Checkpoint]:
    """Every save, oldest first, from a run's "checkpoint" events in order."""
    found: list[Checkpoint] = []
    here: dict[str, int] = {}
    links: dict[str, int] = {}
    by_id: dict[str, int] = {}
    for fact in facts:
        action, path = fact.body.get("action"), str(fact.body.get("path", ""))
        if action in ("saved", "overwritten"):
            _lose(found, here, links, path, "overwritten", fact)
            here[path] = len(found)
            found.append(_saved(run, path, fact))
            by_id[found[-1].id or ""] = here[path]
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
        elif (place_of := by_id.get(str(fact.body.get("save")))) is not None:
            found[place_of] = _read(found[place_of], fact.body)
    return _judged(found)


def _read(one: Checkpoint, body: dict[str, Any]) -> Checkpoint:
    """What was told of a save behind it: read, stored, or stored no longer."""
    action = body.get("action")
    if action in ("sealed", "damaged"):
        problem = str(body.get("why")) if action == "damaged" else None
        return replace(one, digest=str(body.get("digest")), format=body.get("format"), problem=problem)
    if action == "stored":
        policy = body.get("policy", one.policy)
        return replace(one, stored=str(body.get("how")), unstored=None, policy=policy)
    return replace(one, stored=None, unstored=str(body.get("why"))) if action == "unstored" else one


def _judged(found: list[Checkpoint]) -> list[Checkpoint]:
    """With the states, and with which one is the best of its monitor and which the last."""
    best: dict[str, int] = {}
    for place, one in enumerate(found):
        if one.score is None or one.mode is None or one.score != one.score or one.problem is not None:
            continue
        before = found[best[one.monitor or ""]] if (one.monitor or "") in best else None
        if before is None or _is_better(one, one.score, before):
            best[one.monitor or ""] = place
    last = len(found) - 1
    return [
        replace(one, state=_state(one), best=place in best.values(), last=place == last)
        for place, one in enumerate(found)
    ]


def _is_better(one: Checkpoint, score: float, before: Checkpoint) -> bool:
    """Of two with the same score the earlier one is, as for the frameworks, as long as it is there."""
    if score == before.score:
        return not before.is_there
    return beats(score, before.score or 0.0, one.mode)


def _state(one: Checkpoint) -> State:
    if one.stored is not None:
        return "stored"
    if one.gone is not None:
        return one.state
    if one.problem is not None:
        return "damaged"
    return "written" if one.digest is None else "sealed"


def _saved(run: str, path: str, fact: Fact) -> Checkpoint:
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
        mode=body.get("mode"),
        run=run,
        without=body.get("without"),
        names=tuple(map(str, body["names"])) if isinstance(body.get("names"), list) else None,
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
