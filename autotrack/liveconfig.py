"""The config of a running run: a dict whose changes are recorded."""

from collections.abc import Callable, Mapping
from typing import Any

from autotrack.guard import warn
from autotrack.layers import Layers, is_given
from autotrack.redact import known_copy, redact_mapping
from autotrack.values import plain_and_cuts

_MISSING = object()


class LiveConfig(dict[str, Any]):
    """A dict; setting an item, `update` and `setdefault` write what changed into the run's record."""

    def __init__(self, changed: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._changed = changed
        self._layers = Layers()
        self._facts: dict[str, Any] = {}

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._changed({key: value})

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Merge settings in, as dict.update does, in one event."""
        new = dict(*args, **kwargs)
        super().update(new)
        self._changed(new)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As dict.setdefault."""
        found = self.get(key, _MISSING)
        if found is not _MISSING:
            return found
        self[key] = default
        return default

    def take(self, values: Mapping[str, Any], source: str) -> None:
        """Merge nested settings in without recording them: whoever calls does."""
        self._layers.take(values, source)
        if is_given(source):
            super().update({key: self._layers.given[key] for key in values})
        self._show_facts()

    def note(self, values: Mapping[str, Any]) -> None:
        """Copies of what the user has set here."""
        self._layers.given.update(values)
        self._show_facts()

    def _show_facts(self) -> None:
        facts = self._layers.facts()
        for key in self._facts.keys() - facts.keys() - self._layers.given.keys():
            self.pop(key, None)
        super().update(facts)
        self._facts = facts

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


def config_copy(values: Any, tell: bool = True) -> dict[str, Any]:
    """A plain, redacted copy of what a user gave as config; what is not a mapping stands under "value".

    `tell`: warn of that, and of what was cut (cycles, great depth, great size).
    """
    known = known_copy(values) if type(values) is dict else None
    if known is not None:
        return known
    copy, cuts = plain_and_cuts(values)
    if not isinstance(copy, dict):
        copy = {"value": copy}
        if tell:
            _warn_of_kind(values)
    if tell and cuts:
        names = "; ".join(cuts[:3]) + (f"; and {len(cuts) - 3} more" if len(cuts) > 3 else "")
        warn(
            "config-cut",
            f"The config was cut where it is too large, too deep or a cycle ({names}); the rest is recorded. "
            "Keep large things with log_artifact or log_table.",
            key=names,
        )
    redacted = redact_mapping(copy)
    return dict(redacted)


def _warn_of_kind(values: Any) -> None:
    kind = type(values).__name__
    warn(
        "config",
        f"A config is a mapping of names to settings, and a value of type {kind} was given; it was recorded under "
        "the name 'value'. Give a dict, a dataclass or a namespace.",
        key=kind,
    )
