"""The process-wide state, all of it: which runs are open, which one is current, and what happens at a fork and at the exit."""

import atexit
import contextvars
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from math import inf
from time import monotonic, monotonic_ns
from typing import Any, Protocol

from autotrack import background, guard, marks, sealing
from autotrack.bounded import within
from autotrack.config import is_disabled
from autotrack.layers import COMMAND
from autotrack.layout import Layout
from autotrack.notebook import in_notebook

TICK_SECONDS = 2.0
TICK_SECONDS_WAITING = 0.05
BEAT_SECONDS = 30.0
EXIT_SECONDS = 5.0
_RETIRED_MOST = 64


class OpenRun(Protocol):
    """What the session needs of a run."""

    id: str
    project: str
    layout: Layout
    is_root: bool
    foreign: bool
    opened_by: str
    by_user: bool
    last_logged: int

    def event(self, kind: str, body: dict[str, Any]) -> None: ...
    def update_config(self, values: dict[str, Any], source: str = "user") -> None: ...
    def finish(self, status: str = ..., error: BaseException | None = ..., wait: bool = ...) -> None: ...
    def waiting(self) -> bool: ...
    @property
    def own_journal(self) -> Any: ...
    def forked(self, ended: bool = False) -> None: ...
    def end_with_process(self, status: str, error: BaseException | None, exit_code: int | None) -> None: ...


_open: list[Any] = []
_closing: list[Any] = []
"""Runs that were finished and whose journals may be open still."""
_outer: dict[str, Any] = {}
_in_blocks: set[str] = set()
_launched: Any = None
_ticking: background.Task | None = None
_beating: background.Task | None = None
_armed = False
_exit_request: tuple[object, int, BaseException | None] | None = None
_retired: list[tuple[float, int]] = []
_waiting_config: list[tuple[str, dict[str, Any]]] = []
_exit_deadline: float | None = None
_exclusive = False

_current: contextvars.ContextVar[Any] = contextvars.ContextVar("autotrack_run", default=None)
_training: contextvars.ContextVar[Any] = contextvars.ContextVar("autotrack_training", default=None)
_disabled: contextvars.ContextVar[bool] = contextvars.ContextVar("autotrack_disabled", default=False)


def register(run: OpenRun) -> None:
    """A run was opened: it is served by the helper thread and ended with the process."""
    global _armed
    if run.opened_by == "init" and in_notebook():
        for other in [other for other in _open if other.opened_by == "init" and other.id not in _in_blocks]:
            other.finish(wait=False)  # the cell was run again, or the next one begins another run
    _outer[run.id] = _current.get()
    _open.append(run)
    while _waiting_config and run.is_root and unasked(run) is not None:
        source, values = _waiting_config.pop(0)
        run.update_config(values, source=source)
    if not _armed:
        _armed = True
        atexit.register(_at_exit)
        guard.on_warning(_record_warning)
    serve()


def serve() -> None:
    """Let the helper thread write, sync and beat for the open runs: from the first run on, in a forked child from the first event on."""
    global _ticking, _beating
    if _ticking is None:
        _ticking = background.every(_tick_interval, _tick)
        _beating = background.every(BEAT_SECONDS, _beat)


def unregister(run: OpenRun) -> None:
    """A run was finished; its journal is closed later, perhaps."""
    _closing[:] = [one for one in _closing if not one.ended]
    if run in _open:
        _open.remove(run)
        if run.is_root:
            _closing.append(run)
    _in_blocks.discard(run.id)
    outer = _outer.pop(run.id, None)
    if _current.get() is run:
        _current.set(outer if outer in _open else None)


def open_runs() -> list[Any]:
    """The open runs of this process, oldest first."""
    return list(_open)


def active_run() -> Any:
    """The innermost run of this context, else the newest open one of this process, else None."""
    run = _current.get()
    if run is not None and run in _open:
        return run
    return _open[-1] if _open else None


def enclosing_run() -> Any:
    """The run that a training here belongs to: the innermost of this context, else the newest that was not opened for a
    training. A training of another thread, or one that pauses between its parts, encloses nothing here."""
    run = _current.get()
    if run is not None and run in _open:
        return run
    return next((run for run in reversed(_open) if run.opened_by in ("init", "launcher")), None)


def set_exclusive(exclusive: bool) -> None:
    """`autolog(exclusive=True)`: what is recorded without being asked for keeps out of the user's own runs."""
    global _exclusive
    _exclusive = exclusive


def unasked(run: Any) -> Any:
    """A run, as the place of what the user has not asked for: None if it is to be kept out of this one."""
    return None if run is None or (_exclusive and run.by_user) else run


def set_current(run: Any) -> Any:
    """Make a run the current one of this context; the one before is returned."""
    before = _current.get()
    _current.set(run)
    return before


def enter_block(run: OpenRun) -> Any:
    """`with run:` begins: it is the current run of this context, and ends with the block only; the one before is returned."""
    _in_blocks.add(run.id)
    return set_current(run)


def training() -> Any:
    """The training that this context is inside of, else None."""
    return _training.get()


def set_training(scope: Any) -> Any:
    """Enter a training (None: leave it); the one before is returned."""
    before = _training.get()
    _training.set(scope)
    return before


def launched() -> Any:
    """The run that `autotrack run` opened for this process, else None."""
    return _launched


def set_launched(run: Any) -> None:
    """Remember the launcher's run."""
    global _launched
    _launched = run


def recording() -> bool:
    """Whether anything is to be recorded here: not inside `disabled()`, not with AUTOTRACK_MODE=disabled."""
    return not _disabled.get() and not is_disabled()


@contextmanager
def disabled() -> Iterator[None]:
    """Record nothing inside this block; blocks nest, and what was before comes back."""
    token = _disabled.set(True)
    try:
        yield
    finally:
        _disabled.reset(token)


def add_config(values: dict[str, Any], source: str) -> None:
    """Settings of the whole program (its command line): into the active run, else into the first one that is opened."""
    run, source = unasked(active_run()), COMMAND + source
    if run is not None:
        run.update_config(values, source=source)
    elif len(_waiting_config) < 16:
        _waiting_config.append((source, values))


def note_exit(code: object) -> None:
    """`sys.exit(code)` was called; it counts at the end if nothing was recorded after it."""
    global _exit_request
    _exit_request = (code, monotonic_ns(), None)


def note_way_out(error: BaseException, interrupted: bool) -> None:
    """A training, its last values recorded, ended with this error; it counts at the end if that takes the process down.

    A SystemExit does. Of a Ctrl-C a framework may have made a `sys.exit` of its own, which then only gives the code.
    """
    global _exit_request
    if isinstance(error, SystemExit):
        _exit_request = (error.code, monotonic_ns(), error if interrupted else None)
    elif interrupted and _exit_request is not None and not _recorded_since(_exit_request[1]):
        _exit_request = (_exit_request[0], monotonic_ns(), error)


def patience() -> float:
    """How many seconds the end of a run may wait for the helper thread; all ends at the exit together have the time of one."""
    return EXIT_SECONDS if _exit_deadline is None else max(0.0, _exit_deadline - monotonic())


def retire(fd: int) -> None:
    """Sync and close a descriptor a little later: another thread may be in the middle of a write to it."""
    _retired.append((monotonic() + TICK_SECONDS, fd))
    while len(_retired) > _RETIRED_MOST:
        with suppress(IndexError):  # another thread closes them too
            _close(_retired.pop(0)[1])


def _sync_retired(until: float) -> None:
    """Bring to the disk, and close, what was retired before a moment (monotonic seconds, with the time that it rests)."""
    while _retired and _retired[0][0] < until:
        try:
            fd = _retired.pop(0)[1]
        except IndexError:
            return
        with suppress(OSError):
            os.fsync(fd)
        _close(fd)


def _tick_interval() -> float:
    return TICK_SECONDS_WAITING if any(run.waiting() for run in list(_open)) else TICK_SECONDS


def hold() -> None:
    """The disk does not answer: what is recorded from here on waits in memory until the helper thread has written it."""
    for run in list(_open):
        if run.own_journal is not None:
            run.own_journal.hold()


def hasten() -> None:
    """On the helper thread: lines wait, so the next tick comes after the short interval."""
    if _ticking is not None:
        _ticking.plan()


def _tick() -> None:
    for run in list(_open):
        if run.own_journal is not None:
            with guard.guarded("writing out a journal"):
                run.own_journal.tick()
    _sync_retired(monotonic())


def _beat() -> None:
    for run in list(_open):
        if run.is_root:
            run.event("beat", {})
        if run.is_root and not run.foreign:
            with suppress(OSError):  # another attempt of the run may have ended meanwhile
                marks.mark_open(run.layout, run.id, run.project)


def _record_warning(slug: str, message: str) -> None:
    run = active_run()
    if run is not None:
        run.event("warning", {"slug": slug, "message": message})


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        return


def _at_exit() -> None:
    """End what is still open, newest first, with the status that the interpreter's end gives it."""
    global _exit_deadline
    _exit_deadline = monotonic() + EXIT_SECONDS
    status, error, code = _outcome()
    for run in reversed(list(_open)):
        _impatient("finishing a run at the exit", run.end_with_process, status, error, code)
    _impatient("waiting for the helper thread at the exit", background.drain, patience())
    _impatient("waiting for the sealing of checkpoints at the exit", sealing.wait, patience())
    for run in list(_open):
        if run.own_journal is not None:
            _impatient("syncing a journal at the exit", _settle, run.own_journal)
    if _retired:
        _impatient(
            "syncing what has ended", within, max(patience(), 0.5), "syncing", partial(_sync_retired, inf)
        )
    if isinstance(error, KeyboardInterrupt):
        _keep_ctrl_c()


def _settle(journal: Any) -> None:
    within(max(patience(), 0.5), "syncing a journal at the exit", journal.settle)


def _impatient(what: str, function: Callable[..., object], *args: object) -> None:
    """Do one thing of the exit. A Ctrl-C, or a signal whose handler exits, ends the waiting from here on, nothing else."""
    global _exit_deadline
    try:
        with guard.guarded(what):
            function(*args)
    except (KeyboardInterrupt, SystemExit):
        _exit_deadline = 0.0


def _keep_ctrl_c() -> None:
    """CPython ends a process by SIGINT if KeyboardInterrupt left the last code object that was executed before its exit.

    Ours was executed since (each import is), up to Python 3.12; one that is left the same way says so again
    (`unhandled_keyboard_interrupt` in CPython's Python/pythonrun.c and Modules/main.c).
    """
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        return


def _outcome() -> tuple[str, BaseException | None, int | None]:
    """How the process ends. `sys.last_value` is set by the interpreter for the exception that ended the script."""
    error = (
        None if hasattr(sys, "ps1") else getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    )
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", error, 130
    if error is not None:
        return "failed", error, 1
    if _exit_request is None or _recorded_since(_exit_request[1]):
        return "finished", None, None
    code, _, cause = _exit_request
    number = code if isinstance(code, int) else 0 if code is None else 1
    if cause is not None:
        return "interrupted", cause, number
    if number in (130, 143):
        return "interrupted", SystemExit(code), number
    return ("failed", SystemExit(code), number) if number else ("finished", None, 0)


def _recorded_since(when: int) -> bool:
    return any(run.last_logged > when for run in _open)


def _after_fork() -> None:
    """In a forked child: the runs stay reachable, each writes to a journal of its own; the parent alone finishes them."""
    global _ticking, _beating, _exit_request
    _ticking = _beating = _exit_request = None
    _retired.clear()
    for run in list(_open):
        run.forked()
    for run in _closing:
        run.forked(ended=True)
    _closing.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
