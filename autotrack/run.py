"""`Run`: one tracked execution, as the code that is being tracked sees it."""

import os
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from time import monotonic, monotonic_ns
from types import TracebackType
from typing import Any
from zlib import crc32

from orjson import dumps

from autotrack import background, marks, session
from autotrack.attachments import Attachments
from autotrack.deferred import read_later
from autotrack.ending import (
    close_journal,
    error_line,
    finish_body,
    status_of,
    wait_for_helper,
    write_out,
)
from autotrack.errors import NotScalar
from autotrack.gil import turn
from autotrack.guard import attempt, guarded, warn
from autotrack.journal.format import encode
from autotrack.journal.pace import SLOW_NS
from autotrack.journal.writer import Journal
from autotrack.layout import Layout, decode_project, new_run_id
from autotrack.liveconfig import LiveConfig, config_copy
from autotrack.readback import ReadBack
from autotrack.start import Start
from autotrack.steps import MANY, STEP_MAX, items, make_room, step_number
from autotrack.values import is_deferred, number

_write = os.write
_STEP_MIN = -STEP_MAX
_REST = "A metric is one number; log_table, log_image, log_artifact and update_config take the rest."


class Run(Attachments, ReadBack):
    """One tracked execution: config, metrics, tags, notes, artifacts, inputs, status.

    Made by `autotrack.init`, by a training, or by `child`. No method raises for what the disk does or for a value that
    cannot be recorded: that becomes one `AutotrackWarning`, and a line in the record.
    """

    def __init__(
        self,
        journal: Journal | None,
        layout: Layout,
        facts: Start,
        *,
        id: str,
        parent_run: "Run | None" = None,
    ) -> None:
        self.id = id
        self.is_root = parent_run is None
        self.name = facts.name
        self.project = facts.project
        self.group = facts.group
        self.notes = facts.notes
        self.parent = facts.parent
        self.status = "running"
        self.error: str | None = None
        self.opened_by = facts.opened_by
        self.by_user: bool = parent_run.by_user if parent_run is not None else facts.opened_by == "init"
        """Whether it is, or stands under, a run that the user's code asked for with `init()`."""
        self.trainings = 0
        self.last_logged = 0
        self.layout = layout
        self.config = LiveConfig(self._config_changed)
        self._tags = list(facts.tags)
        self._journal = journal
        if parent_run is not None:
            self._dir = parent_run.dir
        else:
            self._dir = journal.folder if journal is not None else layout.run_dir(facts.project, id)
        self._child = None if parent_run is None else id
        self._parent_run = parent_run
        self._last_step = -1
        self._step_lock = threading.RLock()
        self.foreign = False
        """Whether another process opened the run and will finish it; this one only writes beside."""
        self._before: Run | None = None
        self._on_finish: list[Any] = []
        self._before_close: list[Any] = []
        self.adopted = False
        self._ended = False
        self._open_ns = 0

    def __repr__(self) -> str:
        return f"<autotrack.Run {self.id} {self.name!r} in {self.project!r}: {self.status}>"

    @property
    def dir(self) -> Path:
        """The run's folder; a child in the same process shares its parent's."""
        return self._dir

    @property
    def ended(self) -> bool:
        """Whether the run takes no more events: its journal is closed, or nothing is recorded."""
        return self._journal is None or self._journal.closed

    @property
    def tags(self) -> tuple[str, ...]:
        """The run's tags."""
        return tuple(self._tags)

    @property
    def last_step(self) -> int | None:
        """The step of what was logged last in this process."""
        return None if self._last_step < 0 else self._last_step

    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Record metrics; when this returns they survive the death of the process.

        `values`: names to Python or NumPy scalars or 0-d tensors. `step`: any integer in any order; default: one more
        than the last of this run in this process. What is not a number is refused with one warning that names it.
        """
        start = monotonic_ns()
        journal = self._journal
        if (
            journal is None
            or type(values) is not dict
            or (fd := journal.fast) is None
            or len(values) > MANY
            or not (step is None or (type(step) is int and _STEP_MIN <= step <= STEP_MAX))
        ):
            self._log_any(values, step, start)
            return
        line, seq = None, -1
        try:
            for value in values.values():
                kind = type(value)
                if kind is float:
                    if value - value != 0.0:  # NaN or infinite
                        break
                elif kind is not int:
                    break
            else:
                if step is None:
                    with self._step_lock:
                        step = self._last_step = self._last_step + 1
                else:
                    self._last_step = step
                seq = journal.next_seq()
                # The last element becomes the checksum of the bytes before it.
                line = dumps(
                    ["m", seq, start, step, values, 0]
                    if self._child is None
                    else ["m", seq, start, step, values, self._child, 0]
                )[:-2]
                line = line + dumps(crc32(line)) + b"]\n"
        except (TypeError, RuntimeError, MemoryError):  # another thread changed the dict; no memory
            line = None
        except BaseException:
            journal.interrupted()
            raise
        if line is None:
            self._log_again(journal, seq, values, step, start)
            return
        try:
            if _write(fd, line) != len(line):
                journal.torn(seq, line)
        except OSError as error:
            journal.broken_off(seq, line, error)
        except BaseException:
            journal.interrupted()
            raise
        self.last_logged = end = monotonic_ns()
        took = end - start
        journal.own_ns += took
        if took > SLOW_NS or end > turn.due:
            journal.after(seq, took, end)

    def log_beside(self, values: Mapping[str, Any], step: int) -> None:
        """`log` at a step that is not one of those which the user's calls without a step count on from."""
        with self._step_lock:
            last = self._last_step
            self.log(values, step)
            self._last_step = last

    def update_config(self, values: Mapping[str, Any], source: str = "user") -> None:
        """Merge settings into the config; nested mappings are merged, secrets redacted, anything else than JSON copied as text.

        What a framework tells (`source`: its name) replaces nothing that the user gave: it stands under the framework's name there.
        """
        with guarded("recording the config"):
            copy = config_copy(values, tell=source in ("init", "user"))
            self.event("config", {"values": copy, "source": source})
            self.config.take(copy, source)

    def add_tags(self, *tags: str) -> None:
        """Add tags."""
        new = [str(tag) for tag in tags if str(tag) not in self._tags]
        self._tags += new
        if new:
            self.event("edit", {"add_tags": new})

    def set_name(self, name: str) -> None:
        """Give the run another name."""
        self.name = str(name)
        self.event("edit", {"name": self.name})

    def set_notes(self, text: str) -> None:
        """Replace the run's notes."""
        self.notes = str(text)
        self.event("edit", {"notes": self.notes})

    def set_group(self, group: str) -> None:
        """Put the run into a group."""
        self.group = str(group)
        self.event("edit", {"group": self.group})

    def event(self, kind: str, body: dict[str, Any]) -> None:
        """Write any other event of the journal's format; never raises."""
        journal = self._journal
        if journal is None or journal.closed:
            return
        if self.foreign:
            session.serve()
        with guarded(f"recording a {kind!r} event"):
            if self._child is None:
                journal.append(kind, body)
            else:
                journal.append(kind, body, self._child)

    def child(
        self,
        name: str,
        config: Mapping[str, Any] | None = None,
        tags: tuple[str, ...] = (),
        framework: str | None = None,
    ) -> "Run":
        """Open a child run in this process: its events lie in this run's journal."""
        facts = Start(name, self.project, self.id, self.group, tags, "", "child", framework)
        run = Run(self._journal, self.layout, facts, id=new_run_id(), parent_run=self)
        run.event("start", facts.body(resumed=False))
        if config:
            run.update_config(config, source=framework or "init")
        run.log_model = self.log_model
        session.register(run)
        return run

    def finish(self, status: str = "finished", error: BaseException | None = None, wait: bool = True) -> None:
        """End the run; `wait` until it is on the disk. Ending it twice does nothing; a finished run takes no more events.

        The run of `autotrack run` goes on until the process ends; only a bad end is remembered.
        """
        with guarded("finishing a run"):
            if self.opened_by == "launcher" and self.is_root:
                if status != "finished" and self.status == "running":
                    self.status, self.error = status, error_line(error)
            else:
                self._finish(status, error, None, wait)

    def __enter__(self) -> "Run":
        self._before = session.enter_block(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session.set_current(self._before)
        self._before = None
        status = status_of(error)
        self.finish(status, None if status == "finished" else error)

    # For whoever opens runs, the session, and integrations.

    def adopt(
        self, name: str | None, project: str | None, group: str | None, tags: tuple[str, ...], notes: str
    ) -> None:
        """The script's first `init` takes over the launcher's run."""
        self.adopted = True
        changes: dict[str, Any] = {"name": name, "project": project, "group": group, "notes": notes or None}
        changes = {key: str(new) for key, new in changes.items() if new not in (None, getattr(self, key))}
        for key, value in changes.items():
            setattr(self, key, value)
        if changes:
            self.event("edit", changes)
        self.add_tags(*tags)
        folder = decode_project(self.dir.parent.name)
        marks.export(self.id, folder, self.layout.root, self.by_user, shown=self.project)

    def opened_in(self, nanoseconds: int) -> None:
        """How long the opening took on the caller's thread."""
        self._open_ns = nanoseconds

    def on_finish(self, function: Any) -> None:
        """Call a function, guarded, when the run ends."""
        self._on_finish.append(function)

    def before_close(self, function: Any) -> None:
        """Call a function on the helper thread before the journal is closed."""
        self._before_close.append(function)

    def waiting(self) -> bool:
        """Whether lines wait in memory for the disk."""
        return self._journal is not None and self._journal.waiting()

    @property
    def own_journal(self) -> Journal | None:
        """The journal that is written and ended with this run; None for a child, whose events lie in its parent's."""
        return self._journal if self.is_root else None

    def forked(self, ended: bool = False) -> None:
        """In a forked child: this process's events of the run go to a journal of its own, opened at the first one.

        Of one that the parent has `ended` and may not have closed they arrive late, as they would there.
        """
        self.foreign = True
        self._step_lock = threading.RLock()
        if self._journal is not None and self.is_root:
            self._journal.forked()
            self._journal.closed = ended

    def end_with_process(self, status: str, error: BaseException | None, exit_code: int | None) -> None:
        """The process ends: so does the run, if this is its process."""
        if not self.foreign:
            self._finish(status, error, exit_code, wait=True, at_exit=True)

    def _config_changed(self, values: dict[str, Any]) -> None:
        with guarded("recording the config"):
            copy = config_copy(values)
            self.event("config", {"values": copy, "source": "user"})
            self.config.note(copy)

    def _finish(
        self,
        status: str,
        error: BaseException | None,
        exit_code: int | None,
        wait: bool,
        at_exit: bool = False,
    ) -> None:
        session.unregister(self)
        if self._journal is None or self._ended:
            return
        until = monotonic() + session.patience()
        if self.foreign:
            write_out(self._journal, self.layout, self.id, until, foreign=True, open=True)
            return
        self._ended = True
        started = monotonic_ns()
        for function in self._on_finish:
            attempt("ending a part of a run", function)
        if self.status == "running":
            self.status, self.error = status, error_line(error)
        try:
            if self.is_root and wait:
                wait_for_helper(self._journal, self._before_close, until)
        finally:  # a Ctrl-C while we wait ends the waiting, not the record
            own = {"open": self._open_ns, "log": self._journal.own_ns, "finish": monotonic_ns() - started}
            body = finish_body(self.status, error, self.error, exit_code, own if self.is_root else {})
            if self.is_root:
                marks.withdraw(self.id)
            if self.is_root and wait:
                # At the exit the file stays open: what other functions of the exit log still finds its way.
                self._journal.keep("finish", body)
                write_out(self._journal, self.layout, self.id, until, foreign=False, open=at_exit)
            else:
                self.event("finish", body)
                if self.is_root:
                    background.submit(self._close_later, self._journal)

    def _close_later(self, journal: Journal) -> None:
        for function in self._before_close:
            attempt("ending a part of a run", function)
        marks.unmark_open(self.layout, self.id)
        close_journal(journal)

    def _log_again(self, journal: Journal, seq: int, values: Any, step: Any, start: int) -> None:
        """The long way, after the short one has found that it cannot go on; a number that it has taken is not to be missing."""
        if seq >= 0:
            journal.write(seq, encode("beat", seq, start, {}), start)
        self._log_any(values, step, start)

    def _log_any(self, values: Any, step: Any, start: int) -> None:
        """The long way of `log`: anything that is not a dict of plain finite numbers on an open journal."""
        journal = self._journal
        if journal is None:
            return
        if self.foreign:
            session.serve()
        with guarded("recording metrics"):
            make_room(values)
            if journal.closed:
                warn(
                    "after-finish",
                    f"The run {self.id} has ended; what was logged after that was left out. Open a new one with autotrack.init().",
                    key=self.id,
                )
                return
            number_of_step = self._step(step)
            ready: dict[str, Any] = {}
            later: dict[str, Any] = {}
            for key, value in items(values):
                if not isinstance(key, str):
                    warn(
                        "metric-key",
                        f"A metric's name must be text, and {key!r} is not; its value was left out. Give str(name).",
                        key=repr(key)[:99],
                    )
                elif is_deferred(value):
                    later[key] = value
                else:
                    self._take(ready, key, value)
            self._write_metrics(journal, number_of_step, ready, start)
            if later:
                read_later(later, partial(self._write_read, journal, number_of_step, start))

    def _take(self, ready: dict[str, Any], key: str, value: Any) -> None:
        try:
            ready[key] = number(value)
        except NotScalar as error:
            warn("metric-value", f"The metric {key!r} was left out: {error}. {_REST}", key=key)

    def _write_read(self, journal: Journal, step: int, start: int, values: dict[str, Any]) -> None:
        ready: dict[str, Any] = {}
        for key, value in values.items():
            self._take(ready, key, value)
        self._write_metrics(journal, step, ready, start)

    def _write_metrics(self, journal: Journal, step: int, values: dict[str, Any], start: int) -> None:
        if not values:
            return
        body = [values] if self._child is None else [values, self._child]
        journal.append_since(start, "m", step, *body)
        self.last_logged = monotonic_ns()

    def _step(self, step: Any) -> int:
        chosen = None if step is None else step_number(step)
        with self._step_lock:
            self._last_step = self._last_step + 1 if chosen is None else chosen
            return self._last_step
