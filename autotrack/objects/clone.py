"""Reflinks: a second file of the same bytes, which takes no room until one of the two is written to. btrfs, XFS and others have them."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from autotrack.layout import open_private

_FICLONE = 0x40049409  # ioctl_ficlone(2)


def clone(source: str | os.PathLike[str], target: Path) -> None:
    """Make a new file of what is in another one, at once and as it is in this moment. OSError where the file system cannot."""
    try:
        import fcntl
    except ImportError as error:
        raise OSError(errno.EOPNOTSUPP, "this system has no reflinks") from error
    with open(source, "rb", buffering=0) as there:
        fd = open_private(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        is_made = False
        try:
            fcntl.ioctl(fd, _FICLONE, there.fileno())
            os.fsync(fd)
            is_made = True
        finally:
            os.close(fd)
            if not is_made:
                with suppress(OSError):
                    os.unlink(target)
