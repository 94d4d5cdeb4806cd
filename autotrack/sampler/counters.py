"""What the counters of a machine are, whoever reads them: Linux from its own files, other systems through psutil."""

from typing import NamedTuple, Protocol


class Times(NamedTuple):
    """Seconds or ticks of all processors since the machine started; only their differences mean anything."""

    total: float
    idle: float


class Memory(NamedTuple):
    """Bytes; `used` is what programs cannot have."""

    used: int
    total: int


class Traffic(NamedTuple):
    """Bytes that ever came in (read, received) and went out (written, sent)."""

    inward: int
    outward: int


class Counters(Protocol):
    """Each raises one of OSError, RuntimeError, ValueError, LookupError where the machine does not tell."""

    def processors(self) -> Times:
        """How long the processors ran, and how long they had nothing to do."""

    def memory(self) -> Memory:
        """The machine's memory."""

    def resident(self) -> int:
        """Bytes of memory that this process has."""

    def disks(self) -> Traffic:
        """Of all disks, a disk's partitions not counted again."""

    def network(self) -> Traffic:
        """Of all interfaces but the loopback."""
