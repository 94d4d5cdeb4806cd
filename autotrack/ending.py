"""How a run ends: its status, its error, and the event that says so."""

import os
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from autotrack import background, marks, sealing, session
from autotrack.bounded import within
from autotrack.guard import describe, reason, warn
from autotrack.journal.writer import Journal
from autotrack.layout import Layout
from autotrack.redact import redact_text

LAST_SECONDS = 1.0
"""What is left of the patience at the end for the disk alone; half of it also when there is no patience left."""

_TRACEBACK_LENGTH = 20_000


def status_of(error: BaseException | None) -> str:
    """finished (also a pruned trial), failed, or interrupted (Ctrl-C, a SIGTERM that Python saw, exit codes 130 and 143)."""
    if error is None or isinstance(error, GeneratorExit) or pruned(error):
        return "finished"
    # Lightning raises SIGTERMException after the step that the signal met; a SystemExit without a code, named by its shape.
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "SIGTERMException":
        return "interrupted"
    if isinstance(error, SystemExit):
        if error.code in (None, 0):
            return "finished"
        return "interrupted" if error.code in (130, 143) else "failed"
    return "failed"


def pruned(error: BaseException) -> bool:
    """Whether a hyper-parameter search has given this trial up, which is no failure: it raises a `TrialPruned`."""
    return any(kind.__name__ == "TrialPruned" for kind in type(error).__mro__)


def error_line(error: BaseException | None) -> str | None:
    """An exception as one redacted "TypeName: message"."""
    return None if error is None else redact_text(describe(error))


def finish_body(
    status: str, error: BaseException | None, line: str | None, exit_code: int | None, timings: dict[str, int]
) -> dict[str, Any]:
    """The body of a "finish" event."""
    facts: dict[str, Any] | None = None
    if error is not None:
        facts = {"type": type(error).__name__, "message": _message(error), "traceback": _traceback(error)}
    elif line is not None:
        kind, _, message = line.partition(": ")
        facts = {"type": kind, "message": message, "traceback": None}
    return {"status": status, "error": facts, "exit_code": exit_code, "own_ns": timings}


def close_journal(journal: Journal, wait: bool = False) -> None:
    """Close a journal; its descriptor a little later, for threads in the middle of a write."""
    fd = journal.close(wait=wait)
    if fd is not None:
        session.retire(fd)


def wait_for_helper(journal: Journal, jobs: Iterable[Callable[[], object]], until: float) -> None:
    """Let the helper thread do these jobs and what it has in hand; where it does not answer, no caller touches the disk."""
    for job in jobs:
        background.submit(job)
    if not background.drain(max(0.0, until - LAST_SECONDS - monotonic())):
        journal.hold()
        session.hold()
    else:
        sealing.wait(until - LAST_SECONDS - monotonic())


def write_out(
    journal: Journal, layout: Layout, run_id: str, until: float, *, foreign: bool, open: bool
) -> None:
    """Write and sync what a journal still holds and take the run's mark away; a disk that hangs is not waited for longer.

    `until`: monotonic seconds. `foreign`: another process ends the run. `open`: the file stays open for what is logged later.
    """

    def write() -> None:
        if open:
            journal.settle()
        else:
            close_journal(journal, wait=True)
        if not foreign:
            marks.unmark_open(layout, run_id)

    if not within(max(until - monotonic(), LAST_SECONDS / 2), "writing out a journal", write):
        journal.hold()
        session.hold()
        warn(
            "disk-hangs",
            f"{journal.folder} does not answer: the last events of the run {run_id} may not be on the disk.",
            key=run_id,
        )


def _message(error: BaseException) -> str:
    return redact_text(describe(error).partition(": ")[2])[:_TRACEBACK_LENGTH]


def _traceback(error: BaseException) -> str | None:
    lines, _ = reason(_traceback_lines, error)
    return redact_text("".join(lines))[-_TRACEBACK_LENGTH:] if lines else None


def _traceback_lines(error: BaseException) -> list[str]:
    """The traceback as Python would print it, also while the exception is still on its way up through the user's frames."""
    if error.__traceback__ is None:
        return []
    import traceback

    found = traceback.TracebackException.from_exception(error)
    caller = error.__traceback__.tb_frame.f_back
    above = [] if caller is None else traceback.extract_stack(caller)
    ours = os.path.dirname(__file__) + os.sep
    found.stack[:0] = [frame for frame in above if not frame.filename.startswith(ours)]
    return list(found.format())
