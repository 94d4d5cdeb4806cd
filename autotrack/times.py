"""Times as they are recorded, and as they are shown."""

from datetime import UTC, datetime


def moment(wall: int) -> datetime:
    """Unix nanoseconds as local time; what no calendar holds becomes the nearest that one does."""
    seconds = min(max(wall / 1e9, 0.0), 253_000_000_000.0)
    return datetime.fromtimestamp(seconds, UTC).astimezone()
