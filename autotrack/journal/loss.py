"""What is said, to the user and in the record, of events that have to wait, and of those that found no place in the end."""

from typing import Any

from autotrack.guard import warn


def tell_of_waiting(why: str, folder: object) -> None:
    """Tell the user, once a folder, that the disk refuses events."""
    warn("disk", f"{why}: events are kept in memory and written as soon as it does again.", key=folder)


def gap(first: int, last: int, count: int, why: str) -> dict[str, Any]:
    """The body of a "gap" event for these sequence numbers; the user is told as well."""
    warn(
        "dropped",
        f"{count} events between {first} and {last} were dropped: {why}, and the memory ring was full.",
        key=first,
    )
    return {"from": first, "to": last, "dropped": count, "reason": f"{why}, and the memory ring was full"}


def tell_of_the_rest(count: int, run: str, folder: object) -> None:
    """Tell the user of the events that neither the run's folder nor the fallback folder took."""
    warn(
        "dropped",
        f"{count} events at the end of the run {run} could be written neither to {folder} nor to the fallback folder. "
        "Set AUTOTRACK_FALLBACK to a folder that can be written to.",
        key=("end", run),
    )
