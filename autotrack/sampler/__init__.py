"""(lead's placeholder until H3's own file lands: H3, please overwrite) Sampling the machine."""

from typing import Any


class _Handle:
    def stop(self) -> None:
        """Nothing to stop yet."""


def start(run: Any) -> _Handle:
    """Start the sampler of a run."""
    return _Handle()
