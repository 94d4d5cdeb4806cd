"""The one helper thread of a process: everything slow happens here, never on the training thread.

The thread is a daemon, starts with the first job, and is left behind by a fork: the child starts one of its own when it needs it.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from math import inf
from threading import get_ident
from time import monotonic, sleep
from typing import Any

from autotrack.gil import turn
from autotrack.guard import guarded

PAUSE_SECONDS = 0.1
IMPORT_SECONDS = 10.0
SOON_SECONDS = 0.05

Interval = float | Callable[[], float]


class Task:
    """A function that is called again and again; `interval` in seconds, asked anew after each call."""

    def __init__(self, interval: Interval, function: Callable[[], object]) -> None:
        self.interval = interval
        self.function: Callable[[], object] | None = function
        self.due = inf

    def cancel(self) -> None:
        """No further call begins."""
        self.function = None

    def plan(self) -> None:
        """The next call begins one interval from now."""
        with guarded("planning work on the helper thread"):
            seconds = self.interval() if callable(self.interval) else self.interval
            self.due = monotonic() + seconds


class Helper:
    """The thread and what it has to do."""

    def __init__(self) -> None:
        self.jobs: deque[Callable[[], object] | Task] = deque()
        self.thread: threading.Thread | None = None
        self.pausing = False
        self._bell = threading.Lock()
        self._resting = True
        """Whether the thread waits until it is woken or a task is due; else it looks around every `SOON_SECONDS`."""
        self._rests_from = 0.0
        self._tasks: list[Task] = []
        self._starting = False
        self._breathing = False
        self._lock = threading.RLock()

    def alive(self) -> bool:
        """Whether there is a thread."""
        return self.thread is not None and self.thread.is_alive()

    def start(self) -> bool:
        """Start the thread if there is none; False where the interpreter or the system allows no new thread."""
        if sys.is_finalizing():  # up to Python 3.11 a thread's start then waits for ever
            return False
        with self._lock:
            self.pausing = False
            if (
                self.alive() or self._starting
            ):  # a finalizer or a signal may come here while the thread starts
                return True
            self._starting = True
            try:
                thread = threading.Thread(target=self._run, name="autotrack", daemon=True)
                thread.start()
                self.thread = thread
            except (RuntimeError, MemoryError):
                return False
            finally:
                self._starting = False
            return True

    def put(self, job: Callable[[], object] | Task, quietly: bool = False) -> None:
        """Hand in a job or a task; `quietly`: the thread is woken only if it would not come by itself in time."""
        self.jobs.append(job)
        if self._resting or not quietly:
            try:
                self._bell.release()
            except RuntimeError:  # it rings already
                return
            turn.wake()

    def look_around(self) -> None:
        """For a moment, look for jobs without being woken."""
        self._rests_from = monotonic() + 2 * SOON_SECONDS

    def pause(self) -> None:
        """End the thread for a moment if it has nothing in hand; `start` goes on with what is planned and waiting.

        While it imports a module it is waited for: nobody would release the module's lock in a forked child.
        """
        thread = self.thread
        if thread is None or not thread.is_alive() or thread is threading.current_thread():
            return
        self.pausing = True
        self.put(_nothing)
        thread.join(PAUSE_SECONDS)
        until = monotonic() + IMPORT_SECONDS
        while thread.is_alive() and _imports(thread) and monotonic() < until:
            thread.join(0.002)

    def _run(self) -> None:
        try:
            self._plan_interrupted()
            while not self._over():
                self._next()
        finally:
            turn.never()
            self._succeed()

    def _plan_interrupted(self) -> None:
        """The thread before this one may have been ended in the middle of a task."""
        for task in self._tasks:
            if task.due == inf:
                task.plan()

    def _over(self) -> bool:
        """Whether this thread is to end: for a pause, or because its start was interrupted."""
        with self._lock:
            if self.pausing:
                self.thread = None
            return self.thread is not threading.current_thread()

    def _next(self) -> None:
        task = self._first_task()
        if task is not None and task.due <= monotonic():  # however many jobs wait
            self._call(task)
        elif self.jobs:
            self._take(self.jobs.popleft())
        else:
            self._wait(inf if task is None else task.due - monotonic())

    def _wait(self, most: float) -> None:
        self._resting = monotonic() >= self._rests_from
        if not self._resting:
            most = min(most, SOON_SECONDS)
        if not self.jobs:  # else they were put there quietly before this thread was seen to rest
            self._rest(most)
        self._resting = False

    def _rest(self, most: float) -> None:
        if most == inf:
            turn.never()
        else:
            turn.expect(max(0.0, most))
        self._bell.acquire(timeout=max(0.0, most) if most < inf else -1)

    def _take(self, job: Callable[[], object] | Task) -> None:
        turn.taken()
        if isinstance(job, Task):
            self._tasks.append(job)
            if job.due == inf:
                job.plan()
        else:
            with guarded("work on the helper thread"):
                job()

    def _succeed(self) -> None:
        """A job that ends the thread (SystemExit does) ends neither what waits nor the tasks: another thread goes on."""
        with self._lock:
            if self.thread is threading.current_thread():
                self.thread = None
                self.start()

    def _first_task(self) -> Task | None:
        if any(task.function is None for task in self._tasks):
            self._tasks = [task for task in self._tasks if task.function is not None]
        return min((task for task in self._tasks if task.due < inf), key=lambda task: task.due, default=None)

    def _call(self, task: Task) -> None:
        function, task.due = task.function, inf
        turn.taken()
        if function is not None:
            with guarded("work on the helper thread"):
                function()
        task.plan()

    def idle(self, seconds: float) -> None:
        """Wait, and do what becomes due meanwhile."""
        until = monotonic() + seconds
        while (now := monotonic()) < until:
            task = self._first_task()
            if task is not None and task.due <= now:
                self._call(task)
            else:
                seconds = min(until, until if task is None else task.due) - now
                turn.expect(seconds)
                sleep(seconds)

    def breathe(self) -> None:
        """Do what is due and what waits, and come back. A job that is done meanwhile lets only what is due pass: however many
        such jobs wait, they never stand inside of one another.
        """
        inside, self._breathing = self._breathing, True
        try:
            while True:
                task = self._first_task()
                if task is not None and task.due <= monotonic():
                    self._call(task)
                elif inside or not self.jobs or self._over():
                    return
                else:
                    self._take(self.jobs.popleft())
        finally:
            self._breathing = inside


_state = {"helper": Helper()}
_held: dict[int, list[Callable[[], object] | Task]] = {}
"""By thread: what it submits inside of `held()`."""


class held:
    """What this thread submits in the block reaches the helper thread behind it, or some 50 ms later: `with held(): ...`.

    A helper that is woken in the middle of our work takes the interpreter at the caller's next system call, and the caller waits.
    """

    __slots__ = ("_outermost",)

    def __enter__(self) -> None:
        self._outermost = get_ident() not in _held
        if self._outermost:
            _held[get_ident()] = []

    def __exit__(self, *_: object) -> None:
        if self._outermost:
            for job in _held.pop(get_ident(), ()):
                _put(job, quietly=True)


def submit(function: Callable[..., object], *args: Any) -> None:
    """Run a function on the helper thread, after what was submitted before; its errors become a warning."""
    _put(lambda: function(*args))


def every(interval: Interval, function: Callable[[], object]) -> Task:
    """Call a function again and again on the helper thread, the first time after one interval (seconds)."""
    task = Task(interval, function)
    _put(task)
    return task


def soon(function: Callable[[], object]) -> Task:
    """Call a function again and again on the helper thread, the first time after some 50 ms. Whoever asks for that while others
    did a moment ago does not wake the thread.
    """
    task = Task(SOON_SECONDS, function)
    task.plan()
    _state["helper"].look_around()
    _put(task, quietly=True)
    return task


def _release() -> list[Callable[[], object] | Task]:
    """What this thread holds back, which it holds back no longer."""
    waiting = _held.get(get_ident(), [])
    jobs, waiting[:] = list(waiting), []
    return jobs


def _put(job: Callable[[], object] | Task, quietly: bool = False) -> None:
    waiting = _held.get(get_ident()) if _held else None
    if waiting is not None:
        waiting.append(job)
        return
    helper = _state["helper"]
    if helper.start() or isinstance(job, Task):
        helper.put(job, quietly)
        return
    with guarded("work at the interpreter's end"):
        job()


def drain(timeout: float) -> bool:
    """Wait until everything submitted before is done; False if that took longer than `timeout` seconds."""
    helper = _state["helper"]
    for job in _release():
        helper.put(job)
    if sys.is_finalizing() or helper.thread is threading.current_thread():
        return not helper.jobs
    if not helper.alive() and (not helper.jobs or not helper.start()):
        return not helper.jobs
    done = threading.Event()
    helper.put(done.set)
    return done.wait(timeout)


def idle(seconds: float) -> None:
    """Wait in a job for something outside, without keeping journals from being written and synced meanwhile."""
    if here():
        _state["helper"].idle(seconds)
    else:
        sleep(seconds)


def alive() -> bool:
    """Whether there is a helper thread."""
    return _state["helper"].alive()


def here() -> bool:
    """Whether this is the helper thread."""
    return _state["helper"].thread is threading.current_thread()


def breathe() -> None:
    """In a long job, let what became due and what was submitted meanwhile pass; elsewhere nothing happens."""
    if here():
        _state["helper"].breathe()


def _nothing() -> None:
    """A job that only wakes the thread."""


def _imports(thread: threading.Thread) -> bool:
    """Whether a thread is importing a module at this moment."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _before_fork() -> None:
    """A fork of a process with threads is warned of by Python 3.12 and later; ours is not to be the reason."""
    _state["helper"].pause()


def _after_fork_in_parent() -> None:
    helper = _state["helper"]
    if helper.pausing:
        helper.start()


def _after_fork_in_child() -> None:
    _state["helper"] = Helper()
    turn.never()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
