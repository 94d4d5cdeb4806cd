"""Behind each save, on the helper thread: the checkpoint is read once, checked, brought to the disk, and known by its digest from then on.

What was replaced or removed before it could be read stays a path of which nothing more is known.
"""

import os
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic, sleep
from typing import TYPE_CHECKING

from autotrack import background
from autotrack.digests import Look, Part
from autotrack.mounts import holds_what_is_read, kind_of

if TYPE_CHECKING:
    from autotrack.objects.seal import Seal

LONGEST_WAIT = 2.0
"""Seconds that the end of a run or process waits for what was saved last to be read."""
LONGEST_STORING = 600.0
"""Seconds that it waits for what is to be stored, as long as that goes on."""
_POLL_SECONDS = 0.002
_LONGEST_SILENCE = 30.0


class _Job:
    """One thing to do; `stores`: the end of the process waits for it."""

    __slots__ = ("begun", "stores", "work")

    def __init__(self, work: Callable[[], object], stores: bool) -> None:
        self.work = work
        self.stores = stores
        self.begun = False


_waiting: deque[_Job] = deque()
_at_work: list[_Job] = []
_overtaken: list[_Job] = []
_pulse = [0.0]
"""When the reading or storing has last come further, in monotonic seconds."""


def pace() -> None:
    """Called as a long reading or storing goes on: let what became due meanwhile pass."""
    _pulse[0] = monotonic()
    background.breathe()


def seal_later(path: str, look: Look, part: Part, take: Callable[["Seal"], object]) -> None:
    """Hand the seal of what was seen at a path to `take`, on the helper thread; nothing where it is not there any more."""
    if look.is_whole():
        _submit(_Job(partial(seal_now, path, look, part, take), stores=False))


def seal_now(path: str, look: Look, part: Part, take: Callable[["Seal"], object]) -> None:
    """The same on this thread, which is the helper's.

    A training may remove at any moment what it has saved, and is not to fail because we read it: where reading could keep a
    file from being removed it is not read.
    """
    if holds_what_is_read(kind_of(path)):
        return
    from autotrack.objects.seal import seal_of

    seal = seal_of(path, look, part, pace)
    if seal is not None:
        take(seal)


def store_later(work: Callable[[], object]) -> None:
    """Do what stores a checkpoint behind what waits; the end of the run and of the process waits for it."""
    _submit(_Job(work, stores=True))


def wait(seconds: float) -> None:
    """Wait until what was saved so far has been read (at most LONGEST_WAIT), and until what is to be stored has been stored."""
    begun = monotonic()
    until = begun + min(seconds, LONGEST_WAIT)
    pace()
    while (_waiting or _at_work) and background.alive():
        now = monotonic()
        if any(job.stores for job in (*_waiting, *_at_work)):
            until = min(begun + LONGEST_STORING, _pulse[0] + _LONGEST_SILENCE)
        if now >= until:
            return
        sleep(_POLL_SECONDS)


def _submit(job: _Job) -> None:
    _waiting.append(job)
    background.submit(_work, job)


def _work(job: _Job) -> None:
    """Do a job, after those that wait longer; those that pass while it is at work come right behind it."""
    if _at_work:
        _overtaken.append(job)
        return
    turns = deque([job])
    try:
        while turns:
            while not turns[0].begun and _waiting:
                _at_work[:] = [_waiting[0]]
                first = _waiting.popleft()
                first.begun = True
                first.work()
            _at_work.clear()
            turns.popleft()
            turns.extend(_overtaken)
            _overtaken.clear()
    finally:
        _at_work.clear()
        for each in (*turns, *_overtaken):  # a job has failed
            background.submit(_work, each)
        _overtaken.clear()


def _forget() -> None:
    """In a forked child: the parent's helper thread does this."""
    _waiting.clear()
    _at_work.clear()
    _overtaken.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
