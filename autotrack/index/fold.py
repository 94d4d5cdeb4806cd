"""What the events of one run amount to: its row in the index. Always made from all of them, so that order of
arrival is nothing.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from autotrack.index.series import compress, decompress
from autotrack.journal.format import spell, unspell
from autotrack.layers import Layers

FOLDED = ("start", "config", "edit", "finish")
ENDINGS = ("finished", "failed", "interrupted")
_STRICT = json.JSONEncoder(allow_nan=False, check_circular=False)


class Fact(NamedTuple):
    """One event with its place in the run: `wall` in Unix nanoseconds, `rank` of the process that wrote it."""

    wall: int
    stem: str
    seq: int
    rank: int
    kind: str
    body: dict[str, Any]


class Attempt(NamedTuple):
    """One start of a run, with the finish that belongs to it, if any."""

    stem: str
    seq: int
    wall: int
    finish: Fact | None


def pack_body(body: Mapping[str, Any]) -> bytes:
    """An event's body as bytes for the index; what JSON does not have is spelled out."""
    try:
        data = orjson.dumps(body)
        plain = b'"$"' not in data and not (b"null" in data and _has_nonfinite(body))
    except TypeError:
        plain = False
    if not plain:
        data = orjson.dumps(spell(body), option=orjson.OPT_NON_STR_KEYS, default=str)
    return compress(data) if len(data) > 512 else data


def _has_nonfinite(body: Mapping[str, Any]) -> bool:
    """Whether there are NaN or infinities, for which orjson writes null."""
    try:
        _STRICT.encode(body)
    except ValueError:
        return True
    return False


def unpack_body(data: bytes) -> dict[str, Any]:
    """The inverse of `pack_body`, with non-finite numbers and long integers spelled back."""
    if data[:1] not in (b"{", b"["):
        data = decompress(data)
    body = orjson.loads(data)
    if b'"$"' in data:
        body = unspell(body)
    return body if isinstance(body, dict) else {}


def in_order(facts: Iterable[Fact]) -> list[Fact]:
    """Events in the order of the run: sequence numbers within a journal, wall clocks between journals."""
    by_journal = sorted(facts, key=lambda fact: (fact.stem, fact.seq))
    if not by_journal or by_journal[0].stem == by_journal[-1].stem:
        return by_journal
    placed = []
    latest: dict[str, int] = {}
    for fact in by_journal:
        latest[fact.stem] = max(fact.wall, latest.get(fact.stem, fact.wall))
        placed.append((latest[fact.stem], fact))
    placed.sort(key=lambda pair: (pair[0], pair[1].stem, pair[1].seq))
    return [fact for _, fact in placed]


def attempts_of(facts: Iterable[Fact]) -> list[Attempt]:
    """The attempts of a run, first to last; each starts with a start event of rank 0."""
    ordered = [fact for fact in in_order(facts) if fact.rank == 0]
    starts = [fact for fact in ordered if fact.kind == "start"]
    starts.sort(key=lambda fact: bool(fact.body.get("resumed")))
    finishes = [fact for fact in ordered if fact.kind == "finish"]
    found = []
    for start in starts:
        later = [other.seq for other in starts if other.stem == start.stem and other.seq > start.seq]
        end = min(later, default=None)
        own = [
            finish
            for finish in finishes
            if finish.stem == start.stem and finish.seq > start.seq and (end is None or finish.seq < end)
        ]
        found.append(Attempt(start.stem, start.seq, start.wall, own[-1] if own else None))
    return found


def fold(facts: list[Fact], attempts: list[Attempt], fallback: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a run that follow from its events; `fallback` has id, project, created and last_wall for a run
    without a start.
    """
    ordered = in_order(facts)
    starts = [fact for fact in ordered if fact.kind == "start"]
    starts.sort(key=lambda fact: bool(fact.body.get("resumed")))
    row = _from_starts(starts, fallback)
    tags: dict[str, None] = dict.fromkeys(row.pop("tags"))
    layers = Layers()
    for fact in ordered:
        if fact.kind == "config":
            take_config(layers, fact.body)
        elif fact.kind == "edit":
            _edit(row, tags, fact.body)
    return row | _ends(ordered, attempts, fallback) | {"tags": list(tags), "config": layers.config()}


def take_config(layers: Layers, body: Mapping[str, Any]) -> None:
    """Merge the settings of a "config" event in."""
    values, source = body.get("values"), body.get("source")
    if isinstance(values, dict):
        layers.take(values, source if isinstance(source, str) else "user")


def _from_starts(starts: list[Fact], fallback: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": fallback["id"],
        "project": fallback["project"],
        "parent": fallback.get("parent"),
        "group": None,
        "notes": "",
        "tags": [],
        "framework": None,
        "opened_by": None,
        "archived": False,
        "created": fallback["created"],
    }
    for place, fact in enumerate(starts):
        body = fact.body
        if place == 0:
            created = body.get("created")
            row["created"] = created if isinstance(created, int) and 0 <= created < 2**63 else fact.wall
            row["name"] = _text(body.get("name")) or row["name"]
            row["parent"] = _text(body.get("parent")) or row["parent"]
            row["project"] = _text(body.get("project")) or row["project"]
            row["opened_by"] = _text(body.get("opened_by"))
        row["group"] = _text(body.get("group")) or row["group"]
        row["notes"] = _text(body.get("notes")) or row["notes"]
        row["framework"] = _text(body.get("framework")) or row["framework"]
        row["tags"] = [*row["tags"], *_texts(body.get("tags"))]
    return row


def _edit(row: dict[str, Any], tags: dict[str, None], body: Mapping[str, Any]) -> None:
    for name in ("name", "notes"):
        if isinstance(body.get(name), str):
            row[name] = body[name]
    for name in ("project", "framework"):
        row[name] = _text(body.get(name)) or row[name]
    if "group" in body:
        row["group"] = _text(body["group"])
    if isinstance(body.get("archived"), bool):
        row["archived"] = body["archived"]
    tags.update(dict.fromkeys(_texts(body.get("add_tags"))))
    for tag in _texts(body.get("remove_tags")):
        tags.pop(tag, None)


def _ends(ordered: list[Fact], attempts: list[Attempt], fallback: Mapping[str, Any]) -> dict[str, Any]:
    """How many attempts, how long they took in all (seconds), and how the last one ended."""
    last_wall = fallback["last_wall"]
    stem_ends: Mapping[str, int] = fallback.get("stem_ends", {})
    duration = 0
    for attempt in attempts:
        end = (
            attempt.finish.wall if attempt.finish else min(stem_ends.get(attempt.stem, last_wall), last_wall)
        )
        duration += max(0, end - attempt.wall)
    finish = attempts[-1].finish if attempts else None
    if not attempts:
        finishes = [fact for fact in ordered if fact.kind == "finish"]
        finish = finishes[-1] if finishes else None
        duration = max(0, (finish.wall if finish else last_wall) - fallback["created"])
    status = finish.body.get("status") if finish else None
    return {
        "attempts": max(1, len(attempts)),
        "duration": duration / 1e9,
        "finished": finish.wall if finish else None,
        "ended": (status if status in ENDINGS else "failed") if finish else None,
        "finish": finish.body if finish else None,
    }


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """A nested config as dotted keys; lists and empty mappings stay values."""
    flat: dict[str, Any] = {}
    stack: list[tuple[str, Any]] = [("", config)]
    while stack:
        prefix, value = stack.pop()
        if isinstance(value, Mapping) and (value or not prefix):
            stack.extend(
                (f"{prefix}.{key}" if prefix else str(key), item)
                for key, item in reversed(list(value.items()))
            )
        else:
            flat[prefix] = value
    return flat


def typed(value: Any) -> tuple[str, float | None, str | None]:
    """The columns kind, number and text of one config value."""
    if value is None:
        return "none", None, None
    if isinstance(value, bool):
        return "bool", float(value), None
    if isinstance(value, (int, float)):
        try:
            number = float(value)
        except OverflowError:
            number = float("inf") if value > 0 else float("-inf")
        kind = type(value).__name__
        return (kind, None, "nan") if number != number else (kind, number, None)
    if isinstance(value, str):
        return "str", None, value
    return "json", None, orjson.dumps(spell(value), default=str).decode()


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
