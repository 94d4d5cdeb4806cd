"""What a provider is: one side of the environment, described once a process."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar


class Skip(Exception):
    """There is nothing to describe; its text says why."""


class Capture(ABC):
    """Describes one side of what surrounds a training.

    `name` is the "what" of its event. `lasts`: for how many seconds later runs of this process take the same facts.
    `note`: what is missing from the facts and why, set by `collect` where something is.
    """

    name: ClassVar[str]
    lasts: ClassVar[float] = float("inf")

    def __init__(self) -> None:
        self.note: str | None = None

    @abstractmethod
    def collect(self) -> dict[str, Any]:
        """The facts, as JSON can hold them, without secrets. Raises Skip when there is nothing, else whatever went wrong."""

    def holds(self, facts: dict[str, Any]) -> bool:
        """Whether facts of an earlier run of this process hold for this one too."""
        return True
