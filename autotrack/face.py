"""The module-level functions: recording into the current run, and reading what was recorded."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotrack import session
from autotrack.guard import warn

if TYPE_CHECKING:
    from autotrack.index import RunList, RunRecord
    from autotrack.run import Run


def active_run() -> "Run | None":
    """The innermost run of this context, else the newest open one of this process, else None."""
    run: Run | None = session.active_run()
    return run


def log(values: Mapping[str, Any], step: int | None = None) -> None:
    """Record metrics in the current run, as `Run.log` does; in a worker of a recorded process, in that process's run."""
    run = session.active_run()
    if run is None:
        from autotrack.opening import attach

        run = attach()
    if run is None:
        if session.recording():
            warn(
                "no-run",
                "log() was called while no run is open, and recorded nothing: call autotrack.init() before it.",
            )
        return
    run.log(values, step)


def runs(
    project: str | None = None,
    where: str | None = None,
    order_by: str | None = None,
    limit: int | None = None,
) -> "RunList":
    """The recorded runs, newest first: a sequence of `RunRecord`, with .to_pandas() and .to_polars().

    `where`: a filter such as `config.lr < 0.01 and metrics["loss"].min < 0.3 and "best" in tags`.
    `order_by`: "created", "-duration", 'metrics["loss"].min', "config.lr". Raises FilterError for what does not parse.
    """
    from autotrack import index

    return index.runs(project, where, order_by, limit)


def get_run(id_or_prefix: str) -> "RunRecord":
    """One recorded run, by its id or a prefix that only it has. Raises RunNotFound, AmbiguousRun."""
    from autotrack import index

    return index.get_run(id_or_prefix)
