"""A progress bar on standard error, for work that takes long, where somebody is looking at it."""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from autotrack.cli.screen import Screen
from autotrack.digests import BREATH

if TYPE_CHECKING:
    from rich.progress import Progress

Tell = Callable[[float, float], None]
"""Takes how much is done, and how much there is in all."""
SECONDS = 1.0
_REST = 0.1


@contextmanager
def progress(what: str, size: bool = False, quiet: bool = False) -> Iterator[Tell]:
    """Show how far some work is, once it has taken a second; the bar is wiped away at the end.

    `what`: "Reading runs". `size`: what is counted are bytes. `quiet`: show nothing (`--json`). Nothing is shown either
    where standard error is no terminal or one without colours, and where the answer goes into a pipe, which may be a pager.
    """
    bar = _Bar(what, size, quiet or not _looked_at())
    try:
        yield bar.tell
    finally:
        bar.close()


def added(tell: Tell, total: int) -> Callable[[int], None]:
    """Takes how much more is done, and tells how much that makes of the total."""
    done = [0]

    def more(count: int) -> None:
        done[0] += count
        tell(done[0], max(total, done[0]))

    return more


def paced(tell: Tell, total: int) -> Callable[[], None]:
    """What is called about every 16 MiB of a long reading, and tells how much of the total that makes."""
    more = added(tell, total)
    return lambda: more(BREATH)


def _looked_at() -> bool:
    try:
        piped = stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        piped = False
    return not piped and Screen(sys.stderr).color


class _Bar:
    """The bar of one piece of work; Rich is loaded when it is drawn for the first time."""

    def __init__(self, what: str, size: bool, hidden: bool) -> None:
        self._what = what
        self._size = size
        self._hidden = hidden
        self._next = time.monotonic() + SECONDS
        self._bar: Progress | None = None

    def tell(self, done: float, total: float) -> None:
        """Draw the bar anew, if it is time for that."""
        if self._hidden or time.monotonic() < self._next or (self._bar is None and done >= total):
            return
        if self._bar is None:
            # Known before it is drawn, so that Ctrl-C in the middle of drawing it wipes it away.
            self._bar = self._made()
            self._bar.start()
            self._bar.add_task(self._what, total=total)
        for task in self._bar.task_ids:
            self._bar.update(task, completed=done, total=total)
        self._bar.refresh()
        self._next = time.monotonic() + _REST

    def _made(self) -> "Progress":
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            ProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        amount: ProgressColumn = TextColumn("{task.completed:,.0f} of {task.total:,.0f}")
        if self._size:
            amount = DownloadColumn(binary_units=True)
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            amount,
            TimeRemainingColumn(),
            console=Screen(sys.stderr).console,
            auto_refresh=False,
            transient=True,
        )

    def close(self) -> None:
        """Wipe it away."""
        if self._bar is not None:
            self._bar.stop()
