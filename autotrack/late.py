"""What arrives after its run has ended: metrics of `trainer.test()` after `trainer.fit()`, the checkpoint of a `save_model` after `train`.

The run's own journal is closed by then. It goes to a journal of their own in the run's folder, as later edits do; status and
end of the run stay what they were.
"""

import os
from collections.abc import Mapping
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from autotrack.deferred import read_later
from autotrack.errors import NotScalar
from autotrack.guard import warn
from autotrack.journal.format import encode
from autotrack.journal.writer import Journal
from autotrack.values import is_deferred, number

if TYPE_CHECKING:
    from autotrack.run import Run


def log_late(run: "Run", values: Mapping[str, Any], step: int) -> None:
    """`run.log(values, step)` for a run that may have ended; tensors on an accelerator are read by the helper thread."""
    if not run.ended:
        run.log(values, step=step)
    elif run.opened_by == "disabled":
        return
    else:
        later = {key: value for key, value in values.items() if is_deferred(value)}
        _write(run, {key: value for key, value in values.items() if key not in later}, step)
        if later:
            read_later(later, lambda found: _write(run, found, step))


def event_late(run: "Run", kind: str, body: dict[str, Any]) -> None:
    """`run.event(kind, body)` for a run that may have ended."""
    if not run.ended:
        run.event(kind, body)
    elif run.opened_by != "disabled":
        _append(run, kind, body)


def _write(run: "Run", values: Mapping[str, Any], step: int) -> None:
    numbers = {}
    for key, value in values.items():
        try:
            numbers[key] = number(value)
        except NotScalar as error:
            warn("metric-value", f"The metric {key!r} was left out: {error}.", key=key)
    if numbers:
        _append(run, "m", step, numbers)


def _append(run: "Run", kind: str, *body: Any) -> None:
    # A child lies in its root's folder, which bears the root's id.
    root = run.dir.name
    journal = Journal(run.dir, run=root, project=run.project, role="edit", rank=0, fallback=lambda: None)
    journal.open()
    child = () if run.id == root else (run.id,)
    started = monotonic_ns()
    seq = journal.next_seq()
    journal.write(seq, encode(kind, seq, started, *body, *child), started)
    fd = journal.close(wait=False)
    if fd is not None:
        os.close(fd)
