"""The values that a Trainer logs and evaluates, by one name each."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

DEPTH, NAMES = 4, 1_000
"""How many levels of a nested value are unfolded, and how many names there may be in all."""


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """A report such as {"PER": {"f1": 0.9}} as PER/f1. What is deeper or larger stays as it is, and is refused with its name."""
    if not any(isinstance(value, dict) for value in values.values()):
        return values if type(values) is dict else dict(values)
    found: dict[str, Any] = {}
    for name, value in values.items():
        parts = dict(islice(_parts(str(name), value, DEPTH), NAMES + 1))
        found |= parts if len(found) + len(parts) <= NAMES else {name: value}
    return found


def _parts(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or depth == 0:
        yield name, value
        return
    for key, inner in value.items():
        yield from _parts(f"{name}/{key}", inner, depth - 1)
