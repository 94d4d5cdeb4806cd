"""Where the index lies: in the store, else in the user's cache folder, else in memory."""

import hashlib
import os
from pathlib import Path

from autotrack.layout import Layout, cache_folder, make_private_folder, open_private

_NETWORK = frozenset(
    (
        "nfs nfs4 nfs3 cifs smb3 smbfs smb2 lustre beegfs gpfs ceph glusterfs 9p afs ncpfs pvfs2 orangefs moosefs "
        "virtiofs davfs s3fs wekafs panfs"
    ).split()
)


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


def on_network(path: Path) -> bool:
    """Whether a path lies on a network or user-space file system, where SQLite's locks cannot be trusted
    (Linux only).
    """
    kind = file_system(os.path.realpath(path), _mounts())
    return kind in _NETWORK or kind.startswith("fuse.")


def file_system(path: str, mounts: str) -> str:
    """The file system type of a path, from the text of /proc/self/mounts; "" when it is not known."""
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        below = path == point or path.startswith(point.rstrip("/") + "/")
        if below and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def _mounts() -> str:
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
