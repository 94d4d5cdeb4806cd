"""What a user asked for with `autolog()` or an `AutoTrack()`."""

from typing import NamedTuple


def resume_choice(resume: str | bool | None) -> str | None:
    """`resume=` of `autolog()` and `AutoTrack()`: "allow" (or True), "never" (or False), or None. ValueError for another."""
    word = {True: "allow", False: "never"}[resume] if isinstance(resume, bool) else resume
    if word not in (None, "allow", "never"):
        raise ValueError(
            f"resume is {resume!r}; 'allow' goes on with the run that wrote the checkpoint, 'never' begins a new one"
        )
    return word


class Options(NamedTuple):
    """What holds for every run that an integration opens; None: the environment, else the default."""

    project: str | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()
    group: str | None = None
    silent: bool = False
    resume: str | None = None
    """"never": a training that is resumed from a checkpoint is a new run; else it goes on with the run that wrote it."""
    log_every: int = 1
    """Of the values that every step has, those of each n-th one are recorded."""
