"""Where a journal is written: its segments in the run's folder, in the fallback folder while that one refuses, and back.

Only the helper thread, or whoever ends the run, comes here; callers of `log` use the descriptor alone.
"""

import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from autotrack.guard import warn
from autotrack.journal import segment
from autotrack.journal.format import SUFFIX
from autotrack.journal.replaced import Replaced

RETURN_SECONDS = 10.0
_RETURN_MOST = 600.0
_SEGMENTS_AFTER_FAILED_SYNCS = 3


class Place:
    """The file that is appended to. Its descriptor's number stays the same from segment to segment."""

    def __init__(
        self, folder: Path, first_line: Callable[[int], bytes], fallback: Callable[[], Path | None]
    ) -> None:
        self.folder = folder
        self.fd: int | None = None
        self.number = -1
        self.stem = ""
        self.new_names = False
        """Whether files were made whose names were not synced yet."""
        self.replaced = Replaced()
        self._first_line = first_line
        self._fallback = fallback
        self._known = segment.Identity(0, 0)
        self._home: Path | None = None
        self._refuge: list[Path] = []
        self._return_at = 0.0
        self._pause = RETURN_SECONDS
        self._failed_syncs = 0

    @property
    def path(self) -> Path:
        """The file that is written now."""
        return Path(self._path(self.folder, max(self.number, 0)))

    @property
    def home(self) -> Path:
        """The run's own folder."""
        return self._home or self.folder

    @property
    def away(self) -> bool:
        """Whether some of the journal lies in the fallback folder."""
        return self._home is not None

    def begin(self, folder: Path | None = None) -> None:
        """A new segment, in this folder or the present one; OSError, and everything as before, where it takes none."""
        folder, number = folder or self.folder, self.number + 1
        self._use(segment.begin(self._path(folder, number), self._first_line(number)), folder, number)

    def leave_behind(self) -> None:
        """In a forked child: the parent's file is left alone, and the run's own folder is tried first."""
        self.fd, self.number, self.stem = None, -1, ""
        self.folder, self._home, self._refuge = self.home, None, []
        self.replaced.let_go()
        self.replaced = Replaced()

    def look(self) -> os.stat_result | None:
        """The file that is written to; None: there is none yet, or the program closed the descriptor, which is forgotten, or
        somebody deleted it.
        """
        found = None if self.fd is None else segment.look(self.fd, self._known)
        if found is None:
            self.fd = None
        return found if found is not None and found.st_nlink else None

    def recover(self) -> bool:
        """Make a file to write to: what was deleted with all that was in it, else a new one. Whether it had been deleted."""
        if self.fd is None:
            self.begin()
            return False
        deleted = self.path
        try:
            source = segment.open_again(self.fd)
        except OSError:
            self.begin()
        else:
            self._fill_again(source, self.folder)
        warn(
            "vanished",
            f"{deleted} was deleted; the run goes on in {self.path}.",
            key=(deleted, self.number),
        )
        return True

    def follow(self) -> None:
        """Where somebody moved the folder, later segments go there too."""
        folder = segment.moved_to(self.fd, self.path) if self.fd is not None else None
        if folder is not None:
            warn("moved", f"{self.folder} was moved to {folder}; the run goes on there.", key=folder)
            self.folder = folder

    def leave(self, why: str) -> bool:
        """Go on in the fallback folder, which `ls` and `doctor` find; False where there is none that takes files."""
        folder = self._fallback()
        if folder is None or folder == self.folder:
            return False
        refused = self.folder
        try:
            if self.look() is None and self.fd is not None:
                self._fill_again(segment.open_again(self.fd), folder)
            else:
                self.begin(folder)
        except OSError:
            return False
        self._home = self._home or refused
        self._return_at = monotonic() + self._pause
        self._pause = min(2 * self._pause, _RETURN_MOST)
        warn("fallback", f"{refused} takes no more events ({why}); they go to {folder}.", key=folder)
        return True

    def may_return(self) -> bool:
        """Whether it is time to try the run's own folder again."""
        return self._home is not None and monotonic() >= self._return_at

    def come_home(self) -> bool:
        """Try the run's own folder again, and bring back what was written elsewhere; whether all is there now."""
        self._return_at = monotonic() + self._pause
        home, refuge = self.home, self.folder
        try:
            if refuge != home:
                self.begin(home)
                written = sorted(refuge.glob(f"{self.stem}.*{SUFFIX}"))
                self._refuge += [path for path in written if not self._comes_back(path)]
                segment.settle_in_flight()
            while self._refuge:
                source = self._refuge[0]
                if os.path.lexists(source):  # else somebody took it away
                    self.replaced.carry(source, home / source.name)
                del self._refuge[0]
        except OSError:
            return False
        self._home = None
        return True

    def sync(self) -> OSError | None:
        """fsync the file, those before it that are not synced yet and, once, the names of new ones; the error where that fails."""
        fd, new = self.fd, self.new_names
        if fd is None:
            return None
        self.new_names = False
        error = self.replaced.sync()
        try:
            os.fsync(fd)
        except OSError as failed:
            if self.fd is not None:  # else the journal was closed meanwhile
                error = failed
        if new:
            segment.sync_names(self.folder)
        if error is None:
            self._failed_syncs = 0
        return error

    def sync_failed(self, error: OSError) -> None:
        """After a failed fsync the kernel may have dropped pages: a new segment begins, unless that did not help before."""
        warn(
            "disk",
            f"{self.path} could not be synced ({error.strerror or error}): a power loss may cost more than the last "
            "2 seconds.",
            key=("sync", self.folder),
        )
        self._failed_syncs += 1
        if self._failed_syncs <= _SEGMENTS_AFTER_FAILED_SYNCS:
            try:
                self.begin()
            except OSError:
                return

    def _fill_again(self, source: int, folder: Path) -> None:
        """The deleted file's lines under its old name; where another file has that name now, what that one lacks in a new one.
        What was on its way meanwhile is had from `replaced`. OSError, and everything as before, where that cannot be.
        """
        number = max(self.number, 0)
        path = self._path(folder, number)
        try:
            try:
                new = segment.make_again(source, path)
            except FileExistsError:
                number = self.number + 1
                again = self._path(folder, number)
                new = segment.begin_with_missing(again, self._first_line(number), source, path)
        except OSError:
            os.close(source)
            raise
        self._use(new, folder, number)
        self.replaced.keep_deleted(source)
        segment.settle_in_flight()

    def _comes_back(self, path: Path) -> bool:
        """Whether a file in the fallback folder is known already."""
        return path in self._refuge or self.replaced.is_carried(path)

    def _use(self, fd: int, folder: Path, number: int) -> None:
        """Put a file under our descriptor; where the program has closed that one, the file's own number is the new one."""
        if self.look() is not None and self.fd is not None:
            self.replaced.keep(self.fd)
        self._known = segment.identity(fd)
        if self.fd is not None:
            os.dup2(fd, self.fd, inheritable=False)
            os.close(fd)
        else:
            self.fd = fd
        self.folder, self.number, self.new_names = folder, number, True

    def _path(self, folder: Path, number: int) -> str:
        return os.path.join(folder, f"{self.stem}.{number}{SUFFIX}")
