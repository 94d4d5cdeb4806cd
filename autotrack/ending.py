"""How a run ends: its status, its error, and the event that says so."""

import os
from typing import Any

from autotrack import session
from autotrack.guard import describe, reason
from autotrack.journal.writer import Journal
from autotrack.redact import redact_text

_TRACEBACK_LENGTH = 20_000


def status_of(error: BaseException | None) -> str:
    """finished, failed, or interrupted (Ctrl-C, a SIGTERM that Python saw, exit codes 130 and 143)."""
    if error is None or isinstance(error, GeneratorExit):
        return "finished"
    # Lightning raises SIGTERMException after the step that the signal met; a SystemExit without a code, named by its shape.
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "SIGTERMException":
        return "interrupted"
    if isinstance(error, SystemExit):
        if error.code in (None, 0):
            return "finished"
        return "interrupted" if error.code in (130, 143) else "failed"
    return "failed"


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
