"""The config of a running run: a dict whose changes are recorded."""

from collections.abc import Callable, Mapping
from typing import Any

from autotrack.redact import redact_mapping
from autotrack.values import plain

_MISSING = object()


class LiveConfig(dict[str, Any]):
    """A dict; setting an item, `update` and `setdefault` write what changed into the run's record."""

    def __init__(self, changed: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._changed = changed

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

    def merge(self, values: Mapping[str, Any]) -> None:
        """Merge nested settings in without recording them: whoever calls does."""
        merge(self, values)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


def config_copy(values: Any) -> dict[str, Any]:
    """A plain, redacted copy of what a user gave as config; what is not a mapping stands under "value"."""
    copy = plain(values)
    copy = copy if isinstance(copy, dict) else {"value": copy}
    redacted = redact_mapping(copy)
    return dict(redacted)


def merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    """Merge nested mappings; everything else is replaced. Plain dict operations, so that a LiveConfig records nothing."""
    for key, value in new.items():
        old = into.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            merge(old, value)
        else:
            dict.__setitem__(into, key, value)
