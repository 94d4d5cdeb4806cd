"""A named model as its decisions make it: versions and aliases."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from autotrack.errors import AliasMoved, CheckpointNotFound, RegistryError
from autotrack.registry.decisions import Decision, check_name, decide, decisions_of
from autotrack.times import moment

_VERSION = re.compile(r"v?([1-9][0-9]{0,8})")
_KEPT_FOR_US = ("latest", "last", "newest", "head")


class Senseless(RegistryError):
    """A decision that cannot be, whatever its digest is."""

    def __init__(self, model: str, number: int, why: str) -> None:
        super().__init__(
            f"decision {number} about {model!r} makes no sense ({why}): it was changed or damaged"
        )
        self.number = number


@dataclass(frozen=True)
class Version:
    """One version of a model: which save of which run it is (`run` None for a file made elsewhere), and what is known of it.

    `digest` is the sha256 of its bytes, `size` in bytes; `kept` names its recipe in the store as run and save.
    """

    model: str
    number: int
    run: str | None
    save: str | None
    path: str
    digest: str
    size: int
    format: str | None
    step: int | None
    score: float | None
    monitor: str | None
    metrics: Mapping[str, float]
    kept: tuple[str, str]
    registered: datetime
    by: str
    note: str | None = None
    withdrawn: str | None = None

    def __str__(self) -> str:
        return f"{self.model}@v{self.number}"


@dataclass(frozen=True)
class Model:
    """A named model: its versions, oldest first, its aliases, and every decision about it."""

    name: str
    versions: list[Version] = field(default_factory=list)
    aliases: dict[str, int] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)

    def version(self, word: str | int | None = None) -> Version:
        """A version by its number ("v3", 3), by an alias, or the newest that is not withdrawn (None, "latest"). CheckpointNotFound."""
        if word in (None, "latest"):
            for one in reversed(self.versions):
                if one.withdrawn is None:
                    return one
            raise CheckpointNotFound(f"The model {self.name!r} has no version.")
        number = self.aliases.get(str(word))
        if number is None and (match := _VERSION.fullmatch(str(word))):
            number = int(match[1])
        if number is None or not 0 < number <= len(self.versions):
            names = ", ".join([*self.aliases, *(f"v{one.number}" for one in self.versions[-5:])]) or "none"
            raise CheckpointNotFound(
                f"The model {self.name!r} has no version or alias {str(word)[:60]!r}. It has: {names}."
            )
        return self.versions[number - 1]

    def aliases_of(self, number: int) -> list[str]:
        """The aliases of a version."""
        return [alias for alias, one in self.aliases.items() if one == number]


def read_model(registry: Path, name: str) -> Model:
    """A model from its decisions; RegistryError where they are damaged, CheckpointNotFound where there are none."""
    model = fold(name, decisions_of(registry, name))
    if not model.decisions:
        raise CheckpointNotFound(f"There is no model {name!r} in {registry}.")
    return model


def fold(name: str, decisions: list[Decision]) -> Model:
    """What a list of decisions makes; RegistryError where one of them makes no sense."""
    model = Model(name, decisions=decisions)
    for decision in decisions:
        try:
            _apply(model, decision.action, decision.body)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
            raise Senseless(name, decision.number, f"{type(error).__name__}: {error}") from error
    return model


def _apply(model: Model, action: str, body: dict[str, Any]) -> None:
    if action == "register":
        model.versions.append(_version(model.name, len(model.versions) + 1, body))
    elif action in ("alias", "promote"):
        model.aliases[str(body["alias"])] = _there(model, body["to"])
    elif action == "unalias":
        del model.aliases[str(body["alias"])]
    elif action == "withdraw":
        place = _there(model, body["version"]) - 1
        model.versions[place] = replace(model.versions[place], withdrawn=str(body.get("why")))
    else:
        raise ValueError(f"the action {action[:40]!r}")


def _there(model: Model, number: Any) -> int:
    """The number of a version that there is."""
    if not isinstance(number, int) or not 0 < number <= len(model.versions):
        raise ValueError(f"version {str(number)[:40]}")
    return number


def _version(name: str, number: int, body: dict[str, Any]) -> Version:
    return Version(
        model=name,
        number=number,
        run=body.get("run"),
        save=body.get("save"),
        path=str(body.get("path")),
        digest=str(body.get("digest")),
        size=int(body.get("size") or 0),
        format=body.get("kind"),
        step=body.get("step"),
        score=body.get("score"),
        monitor=body.get("monitor"),
        metrics=dict(body.get("metrics") or {}),
        kept=(str(body["kept"][0]), str(body["kept"][1])),
        registered=moment(int(body["when"])),
        by=f"{body.get('who')}@{body.get('host')}",
        note=body.get("note"),
    )


def check_alias(alias: str) -> str:
    """The alias itself; RegistryError for one that is no name, or that would be taken for a version."""
    check_name(alias, "alias")
    if alias.lower() in _KEPT_FOR_US or _VERSION.fullmatch(alias.lower()):
        raise RegistryError(
            f"{alias!r} cannot be an alias: it means a version itself. Use a name such as 'production'."
        )
    return alias


def add_version(registry: Path, name: str, facts: dict[str, Any]) -> Version:
    """Register a version; one with the same bytes is not registered twice, and is what is returned."""

    def make(before: list[Decision]) -> dict[str, Any]:
        same = [
            one for one in fold(name, before).versions if one.digest == facts["digest"] and not one.withdrawn
        ]
        if same:
            raise _Known(same[-1])
        return {"action": "register", **facts}

    try:
        decide(registry, name, make, new=True)
    except _Known as known:
        return known.version
    return next(one for one in reversed(read_model(registry, name).versions) if one.digest == facts["digest"])


class _Known(Exception):
    def __init__(self, version: Version) -> None:
        self.version = version


def move_alias(
    registry: Path,
    name: str,
    alias: str,
    word: str | int | None,
    facts: dict[str, Any],
    *,
    action: str = "alias",
    expect: str | int | None = None,
) -> Decision:
    """Let an alias stand for a version. `expect`: the version that it stands for now (0: none); AliasMoved where it does not.

    Without `expect` it is what it stood for when this was called: whoever moves it in the same moment wins or loses, and never
    both. A version that was withdrawn is refused.
    """
    check_alias(alias)
    first = read_model(registry, name)
    wanted = _expected(first, alias, expect)
    target = first.version(word)

    def make(before: list[Decision]) -> dict[str, Any]:
        model = fold(name, before)
        now = model.aliases.get(alias)
        if now != wanted:
            raise AliasMoved(
                f"{name}@{alias} stands for {_v(now)}, not for {_v(wanted)}: somebody has moved it. "
                "Look at it (autotrack checkpoint show), and decide again."
            )
        if model.versions[target.number - 1].withdrawn is not None:
            raise RegistryError(
                f"{target} was withdrawn ({model.versions[target.number - 1].withdrawn}); it can have no alias."
            )
        return {"action": action, "alias": alias, "from": now, "to": target.number, **facts}

    return decide(registry, name, make)


def _expected(model: Model, alias: str, expect: str | int | None) -> int | None:
    if expect is None:
        return model.aliases.get(alias)
    return None if expect in (0, "0", "none") else model.version(expect).number


def _v(number: int | None) -> str:
    return "no version" if number is None else f"v{number}"


def drop_alias(registry: Path, name: str, alias: str, why: str | None) -> Decision:
    """Let an alias stand for nothing any more. RegistryError where it does not stand for anything."""

    def make(before: list[Decision]) -> dict[str, Any]:
        now = fold(name, before).aliases.get(alias)
        if now is None:
            raise RegistryError(f"{name} has no alias {alias!r}.")
        return {"action": "unalias", "alias": alias, "from": now, "why": why}

    return decide(registry, name, make)


def withdraw(registry: Path, name: str, word: str | int, why: str) -> Decision:
    """Say that a version is not to be used any more; its bytes may be freed then. RegistryError while an alias stands for it."""
    target = read_model(registry, name).version(word).number

    def make(before: list[Decision]) -> dict[str, Any]:
        model = fold(name, before)
        if aliases := model.aliases_of(target):
            raise RegistryError(f"{name}@v{target} has the alias {aliases[0]!r}. Move or remove that first.")
        if model.versions[target - 1].withdrawn is not None:
            raise RegistryError(f"{name}@v{target} was withdrawn already.")
        return {"action": "withdraw", "version": target, "why": why}

    return decide(registry, name, make)
