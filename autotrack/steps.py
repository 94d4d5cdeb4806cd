"""What users hand to `log`: steps and names with values."""

from collections.abc import Iterable, Mapping
from typing import Any

from autotrack.errors import NotScalar
from autotrack.guard import warn
from autotrack.values import number, show

MANY = 20_000
"""So many values in one call are first looked at for memory."""

STEP_MAX = 2**63 - 1


def step_number(step: Any) -> int | None:
    """A step as an integer of 64 bits, None (with a warning that shows the value) for anything else."""
    try:
        found = number(step)
    except NotScalar as error:
        warn("step", f"A step must be an integer: {error}; the next number was used.", key=repr(step)[:99])
        return None
    if (
        found != found
        or found in (float("inf"), float("-inf"))
        or found != int(found)
        or abs(found) > STEP_MAX
    ):
        warn(
            "step",
            f"A step must be an integer of 64 bits, and {found!r} is not; the next number was used.",
            key=repr(found)[:99],
        )
        return None
    return int(found)


def items(values: Any) -> Iterable[tuple[Any, Any]]:
    """The names and values of a mapping; nothing, with a warning, of anything else."""
    if isinstance(values, Mapping):
        return list(values.items())
    kind = type(values).__name__
    warn(
        "metrics",
        f"log() takes a mapping of names to numbers, and was given {show(values)} ({kind}); it was left out. "
        "Write log({'name': value}).",
        key=kind,
    )
    return ()


def make_room(values: Any) -> None:
    """MemoryError where there is no memory for a line of so many values: orjson ends the process where it finds none."""
    if isinstance(values, Mapping) and len(values) > MANY:
        bytearray(len(values) * 256)
