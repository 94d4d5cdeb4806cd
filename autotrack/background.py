"""The one helper thread of a process: everything slow happens here, never on the training thread.

The thread is a daemon, starts with the first job, and is left behind by a fork: the child starts one of its own when it needs it.
"""

import heapq
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from autotrack.guard import guarded

PAUSE_SECONDS = 0.1

Interval = float | Callable[[], float]


class Task:
    """A function that is called again and again; `interval` in seconds, asked anew after each call."""

    def __init__(self, interval: Interval, function: Callable[[], object]) -> None:
        self.interval = interval
        self.function: Callable[[], object] | None = function

    def cancel(self) -> None:
        """No further call begins."""
        self.function = None

    def seconds(self) -> float:
        """How long to wait until the next call."""
        return self.interval() if callable(self.interval) else self.interval


class Helper:
    """The thread and what it has to do."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[Callable[[], object] | Task] = SimpleQueue()
        self.thread: threading.Thread | None = None
        self._due: list[tuple[float, int, Task]] = []
        self._order = itertools.count()
        self._lock = threading.RLock()
        self.pausing = False

    def start(self) -> bool:
        """Start the thread if there is none; False where the interpreter allows no new thread any more."""
        if sys.is_finalizing():  # up to Python 3.11 a thread's start then waits for ever
            return False
        with self._lock:
            self.pausing = False
            if self.thread is not None and self.thread.is_alive():
                return True
            thread = threading.Thread(target=self._run, name="autotrack", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self.thread = thread
            return True

    def pause(self) -> None:
        """End the thread for a moment if it has nothing in hand; `start` goes on with what is planned and waiting."""
        thread = self.thread
        if thread is None or not thread.is_alive() or thread is threading.current_thread():
            return
        self.pausing = True
        self.jobs.put(_nothing)
        thread.join(PAUSE_SECONDS)

    def _run(self) -> None:
        while not self._paused():
            wait = None if not self._due else max(0.0, self._due[0][0] - time.monotonic())
            try:
                job = self.jobs.get(timeout=wait)
            except Empty:
                self._run_due()
                continue
            if isinstance(job, Task):
                self._plan(job)
            else:
                with guarded("work on the helper thread"):
                    job()

    def _paused(self) -> bool:
        with self._lock:
            if self.pausing:
                self.thread = None
            return self.pausing

    def _run_due(self) -> None:
        task = heapq.heappop(self._due)[2]
        if task.function is None:
            return
        with guarded("work on the helper thread"):
            task.function()
        self._plan(task)

    def _plan(self, task: Task) -> None:
        with guarded("planning work on the helper thread"):
            heapq.heappush(self._due, (time.monotonic() + task.seconds(), next(self._order), task))

    def idle(self, seconds: float) -> None:
        """Wait, and do what becomes due meanwhile."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            if self._due and self._due[0][0] <= now:
                self._run_due()
            else:
                time.sleep(min(until, self._due[0][0] if self._due else until) - now)


_state = {"helper": Helper()}


def submit(function: Callable[..., object], *args: Any) -> None:
    """Run a function on the helper thread, after what was submitted before; its errors become a warning."""
    helper = _state["helper"]
    if helper.start():
        helper.jobs.put(lambda: function(*args))
        return
    with guarded("work at the interpreter's end"):
        function(*args)


def every(interval: Interval, function: Callable[[], object]) -> Task:
    """Call a function again and again on the helper thread, the first time after one interval (seconds)."""
    task = Task(interval, function)
    helper = _state["helper"]
    if helper.start():
        helper.jobs.put(task)
    return task


def drain(timeout: float) -> bool:
    """Wait until everything submitted before is done; False if that took longer than `timeout` seconds."""
    helper = _state["helper"]
    if (
        sys.is_finalizing()
        or helper.thread is None
        or not helper.thread.is_alive()
        or helper.thread is threading.current_thread()
    ):
        return helper.jobs.empty()
    done = threading.Event()
    helper.jobs.put(done.set)
    return done.wait(timeout)


def idle(seconds: float) -> None:
    """Wait in a job for something outside, without keeping journals from being written and synced meanwhile."""
    helper = _state["helper"]
    if helper.thread is threading.current_thread():
        helper.idle(seconds)
    else:
        time.sleep(seconds)


def _nothing() -> None:
    """A job that only wakes the thread."""


def _before_fork() -> None:
    """A fork of a process with threads is warned of by Python 3.12 and later; ours is not to be the reason."""
    _state["helper"].pause()


def _after_fork_in_parent() -> None:
    helper = _state["helper"]
    if helper.pausing:
        helper.start()


def _after_fork_in_child() -> None:
    _state["helper"] = Helper()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
