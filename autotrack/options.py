"""What a user asked for with `autolog()` or an `AutoTrack()`."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from autotrack.config import setting
from autotrack.guard import warn

LogModel = Literal["auto", "all", True, False]
"""Which checkpoints are stored; `autotrack.keeping` says what each word means."""


def resume_choice(resume: str | bool | None) -> str | None:
    """`resume=` of `autolog()` and `AutoTrack()`: "allow" (or True), "never" (or False), or None. ValueError for another."""
    word = {True: "allow", False: "never"}[resume] if isinstance(resume, bool) else resume
    if word not in (None, "allow", "never"):
        raise ValueError(
            f"resume is {resume!r}; 'allow' goes on with the run that wrote the checkpoint, 'never' begins a new one"
        )
    return word


def log_model_choice(value: str | bool | None) -> LogModel | None:
    """`log_model=`: "auto", "all", True or False; None stays None. The words of AUTOTRACK_LOG_MODEL mean the same. ValueError."""
    if value is None or isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word == "auto":
        return "auto"
    if word == "all":
        return "all"
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off", "none"):
        return False
    raise ValueError(f"log_model is {value!r}; give 'auto', True (best and last), 'all' or False")


def log_every_choice(log_every: int | None) -> int | None:
    """`log_every=`: a count of steps; None stays None. ValueError below 1."""
    if log_every is None:
        return None
    if not isinstance(log_every, int) or log_every < 1:
        raise ValueError(
            f"log_every is {log_every!r}; it counts steps: 1 records every step, 10 every tenth one"
        )
    return log_every


def policy_of(chosen: LogModel | None) -> LogModel:
    """Which checkpoints of a run are stored: what was chosen for it, else by AUTOTRACK_LOG_MODEL, else "auto"."""
    if chosen is not None:
        return chosen
    try:
        choice = log_model_choice(setting("LOG_MODEL"))
    except ValueError as error:
        warn("log-model", f"AUTOTRACK_LOG_MODEL: {error}. 'auto' was used.")
        return "auto"
    return "auto" if choice is None else choice


class Options(NamedTuple):
    """What holds for every run that an integration opens; None: the environment, else the default."""

    project: str | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()
    group: str | None = None
    resume: str | None = None
    """"never": a training that is resumed from a checkpoint is a new run; else it goes on with the run that wrote it."""
    log_model: LogModel | None = None
    log_every: int | None = None
    """Of the values that every step has, those of each n-th one are recorded; None: of all."""
    exclusive: bool = False
    """Nothing is recorded in a run that the user opened with `init()`, nor beneath it."""

    def over(self, others: "Options") -> "Options":
        """These, and where they say nothing the others; tags add up, `exclusive` is these options' own."""
        unset = {name: value for name, value in others._asdict().items() if getattr(self, name) is None}
        return self._replace(**unset, tags=tuple(dict.fromkeys([*others.tags, *self.tags])))


def options_of(
    project: str | None,
    name: str | None,
    tags: Iterable[str] | str,
    group: str | None,
    resume: str | bool | None,
    log_model: str | bool | None,
    log_every: int | None,
    exclusive: bool = False,
) -> Options:
    """The arguments of `autolog()` or `AutoTrack()`, each checked. ValueError for one that means nothing."""
    return Options(
        project=project,
        name=name,
        tags=(tags,) if isinstance(tags, str) else tuple(tags),
        group=group,
        resume=resume_choice(resume),
        log_model=log_model_choice(log_model),
        log_every=log_every_choice(log_every),
        exclusive=exclusive,
    )
