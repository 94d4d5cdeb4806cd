"""Where the index lies: in the store, else in the user's cache folder, else in memory."""

import hashlib
import os
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
    """Whether an index can be kept in this file; the file is created for us alone when it is missing."""
    try:
        if not path.parent.is_dir():
            make_private_folder(path.parent)
        os.close(open_private(path, os.O_RDWR | os.O_CREAT))
        return os.access(path.parent, os.W_OK)
    except OSError:
        return False
