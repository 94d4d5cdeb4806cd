"""Where the index lies: in the store, else in the user's cache folder, else in memory."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from autotrack.layout import Layout, cache_folder, make_private_folder, open_private
from autotrack.mounts import on_network


def index_paths(layout: Layout) -> list[Path]:
    """Files to try for the index of a store, best first; memory is what remains when none of them can be
    written.
    """
    name = hashlib.sha256(os.fsencode(os.path.realpath(layout.root))).hexdigest()[:24]
    cached = cache_folder() / "index" / f"{name}.db"
    return [cached] if on_network(layout.root) else [layout.index, cached]


def writable(path: Path) -> bool:
    """Whether an index can be kept in this file; the file is created for us alone when it is missing.

    One that is there is not opened: to close it would give up every lock that SQLite holds on it in this process
    (https://www.sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        if not path.parent.is_dir():
            make_private_folder(path.parent)
        if not path.is_file():
            with suppress(FileExistsError):  # another process was faster
                os.close(open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    except OSError:
        return False
    return path.is_file() and os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK)
