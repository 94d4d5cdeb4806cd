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
        self._use(segment.begin(self._path(folder, number), self._first_line(number)))
        self.folder, self.number = folder, number

    def leave_behind(self) -> None:
        """In a forked child: the parent's file is left alone, and the run's own folder is tried first."""
        self.fd, self.number, self.stem = None, -1, ""
        self.folder, self._home, self._refuge = self.home, None, []

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
                self._refuge += sorted(refuge.glob(f"{self.stem}.*{SUFFIX}"))
                segment.settle_in_flight()
            while self._refuge:
                segment.carry(self._refuge[0], home / self._refuge[0].name)
                del self._refuge[0]
        except OSError:
            return False
        self._home = None
        return True

    def sync(self) -> OSError | None:
        """fsync the file and, once, the names of new ones; the error where that fails."""
        if self.fd is None:
            return None
        new, self.new_names = self.new_names, False
        try:
            os.fsync(self.fd)
        except OSError as error:
            return error
        self._failed_syncs = 0
        if new:
            segment.sync_names(self.folder)
        return None

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
        """The deleted file's content under its old name; what was on its way to it meanwhile comes after."""
        try:
            new = segment.make_again(source, self._path(folder, max(self.number, 0)))
            self._use(new)
            self.folder = folder
            segment.settle_in_flight()
            segment.copy(source, self.fd if self.fd is not None else new)
        except FileExistsError:
            self.begin(folder)
        finally:
            os.close(source)

    def _use(self, fd: int) -> None:
        """Put a file under our descriptor; where the program has closed that one, the file's own number is the new one."""
        self.look()
        self._known = segment.identity(fd)
        if self.fd is not None:
            os.dup2(fd, self.fd, inheritable=False)
            os.close(fd)
        else:
            self.fd = fd
        self.new_names = True

    def _path(self, folder: Path, number: int) -> str:
        return os.path.join(folder, f"{self.stem}.{number}{SUFFIX}")
