"""What a user asked for with `autolog()` or an `AutoTrack()`."""

from typing import NamedTuple


class Options(NamedTuple):
    """What holds for every run that an integration opens; None: the environment, else the default."""

    project: str | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()
    group: str | None = None
    silent: bool = False
    log_every: int = 1
    """Of the values that every step has, those of each n-th one are recorded."""
