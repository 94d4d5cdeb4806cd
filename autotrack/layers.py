"""The two layers of a config: what the user gave, and what frameworks tell of a training. What was given always stands.

Where a framework's key is the user's already, with another value, the framework's stands under its own name: `lightning.model`. It is
the same whichever came first, in the live run and for who reads its journals.
"""

from collections.abc import Container, Mapping
from typing import Any

COMMAND = "command:"
"""What the source of settings begins with that were parsed from a command line."""


class Layers:
    """The settings of one config, by who they are from."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.told: dict[str, Any] = {}
        self._teller: dict[str, str] = {}

    def take(self, values: Mapping[str, Any], source: str) -> None:
        """Merge settings into the layer of their source."""
        if is_given(source):
            deep_merge(self.given, values)
        else:
            deep_merge(self.told, values)
            self._teller.update(dict.fromkeys(values, source))

    def facts(self, beside: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What frameworks told, where it stands beside what was given (default: here)."""
        given = self.given if beside is None else beside
        told = list(self.told.items())
        facts = {key: value for key, value in told if key not in given}
        for key, value in told:
            if key in given and given[key] != value:
                place = self._teller[key]
                while place in given or not isinstance(facts.get(place, {}), dict):
                    place += "_"
                below = facts[place] = dict(facts.get(place, {}))
                below[_free(key, below)] = value
        return facts

    def config(self) -> dict[str, Any]:
        """Both layers as one."""
        return self.given | self.facts()


def is_given(source: str) -> bool:
    """Whether settings of this source are the user's."""
    return source in ("init", "user") or source.startswith(COMMAND)


def _free(name: str, taken: Container[str]) -> str:
    while name in taken:
        name += "_"
    return name


def deep_merge(target: dict[str, Any], update: Mapping[str, Any]) -> None:
    """Merge nested mappings in place: later leaves win, mappings are merged key by key."""
    stack: list[tuple[dict[str, Any], Mapping[str, Any]]] = [(target, update)]
    while stack:
        into, values = stack.pop()
        for key, value in values.items():
            if isinstance(value, dict):
                below = into.get(key)
                if not isinstance(below, dict):
                    below = into[key] = {}
                stack.append((below, value))
            else:
                into[key] = value
