"""What is known of a run when it starts."""

from time import time_ns
from typing import Any, NamedTuple


class Start(NamedTuple):
    """The facts of a "start" event."""

    name: str
    project: str
    parent: str | None
    group: str | None
    tags: tuple[str, ...]
    notes: str
    opened_by: str
    framework: str | None = None

    def body(self, *, resumed: bool) -> dict[str, Any]:
        """The event's body, created now."""
        return {
            "name": self.name,
            "project": self.project,
            "parent": self.parent,
            "group": self.group,
            "tags": list(self.tags),
            "notes": self.notes,
            "created": time_ns(),
            "opened_by": self.opened_by,
            "framework": self.framework,
            "resumed": resumed,
        }
