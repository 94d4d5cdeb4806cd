"""What changed between the attempts of a run that was resumed: in its config, its code and its packages."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from autotrack.index.fold import Attempt, Fact, attempts_of, flatten, take_config
from autotrack.layers import Layers

_OUTCOMES = ("best", "stopped")


class Change(NamedTuple):
    """One value that is another one, or new, since the attempt before.

    `attempt` counts from 1, `what` is "config", "code" or "packages"; `before` is None where there was no value. A config value that
    an attempt does not set is that of the one before, and no change.
    """

    attempt: int
    what: str
    key: str
    before: Any
    after: Any


def changes_of(facts: Iterable[Fact], objects: Path) -> list[Change]:
    """The changes, from a run's "start", "config", "capture" and "finish" events."""
    ordered = [fact for fact in facts if fact.rank == 0]
    attempts = attempts_of(ordered)
    known: dict[str, dict[str, Any]] = {}
    found: list[Change] = []
    for number, values in enumerate(_by_attempt(ordered, attempts, objects), 1):
        for what, now in values.items():
            before = known.get(what)
            if before is not None:
                found += [
                    Change(number, what, key, before.get(key), value)
                    for key, value in sorted(now.items())
                    if key not in before or before[key] != value
                ]
                if what == "packages":
                    gone = sorted(before.keys() - now.keys())
                    found += [Change(number, what, key, before[key], None) for key in gone]
            known[what] = now if what == "packages" else {**(before or {}), **now}
    return found


def _by_attempt(facts: list[Fact], attempts: list[Attempt], objects: Path) -> list[dict[str, dict[str, Any]]]:
    """What each attempt tells of its config, code and packages, as dotted keys."""
    configs = [Layers() for _ in attempts]
    whole = Layers()
    found: list[dict[str, dict[str, Any]]] = [{} for _ in attempts]
    for fact in facts:
        place = _place(fact, attempts)
        if place is None:
            continue
        if fact.kind == "config":
            take_config(configs[place], fact.body)
            take_config(whole, fact.body)
        elif fact.kind == "capture" and fact.body.get("status") == "captured":
            told = fact.body.get("facts")
            if fact.body.get("what") == "packages":
                found[place]["packages"] = packages_of(told, objects)
            elif fact.body.get("what") == "git" and isinstance(told, dict):
                found[place]["code"] = flatten(told)
    for config, told_of in zip(configs, found, strict=True):
        for outcome in _OUTCOMES:
            config.told.pop(outcome, None)
        told_of["config"] = flatten(config.given | config.facts(beside=whole.given))
    return found


def _place(fact: Fact, attempts: list[Attempt]) -> int | None:
    """The attempt that an event belongs to: the last of its journal that began before it, else by the clock."""
    own = [place for place, one in enumerate(attempts) if one.stem == fact.stem and one.seq <= fact.seq]
    if own:
        return own[-1]
    before = [place for place, one in enumerate(attempts) if one.wall <= fact.wall]
    return before[-1] if before else None


def packages_of(facts: Any, objects: Path) -> dict[str, Any]:
    """Versions by name; where the list is not in the store, what is known of it."""
    known = facts if isinstance(facts, dict) else {}
    digest = str(known.get("digest") or "")
    try:
        listed = orjson.loads((objects / digest[:2] / digest[2:]).read_bytes())["packages"]
        return {package["name"]: _version(package) for package in listed}
    except (OSError, ValueError, KeyError, TypeError):
        return flatten({"packages": known})


def _version(package: Mapping[str, Any]) -> str:
    source = package.get("commit") or ("editable" if package.get("editable") else "")
    return f"{package.get('version')} ({str(source)[:12]})" if source else str(package.get("version"))
