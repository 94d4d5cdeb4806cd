"""What kind of file system a path lies on (Linux only)."""

import os
from pathlib import Path

_NETWORK = frozenset(
    (
        "nfs nfs4 nfs3 cifs smb3 smbfs smb2 lustre beegfs gpfs ceph glusterfs 9p afs ncpfs pvfs2 orangefs moosefs "
        "virtiofs davfs s3fs wekafs panfs"
    ).split()
)
_HOLDING = ("nfs", "cifs", "smb", "9p", "ncpfs", "davfs", "virtiofs", "fuse.")


def on_network(path: Path) -> bool:
    """Whether a path lies on a network or user-space file system, where SQLite's locks cannot be trusted
    (Linux only).
    """
    kind = kind_of(path)
    return kind in _NETWORK or kind.startswith("fuse.")


def holds_what_is_read(kind: str) -> bool:
    """Whether a file that somebody reads can keep itself or its folder from being removed, on a file system of this kind.

    Over NFS it stays in the folder under another name until it is closed; over SMB and on Windows it may not be removed.
    """
    return os.name != "posix" or kind.startswith(_HOLDING)


def kind_of(path: str | Path) -> str:
    """The file system type of a path as it is mounted now; "" when it is not known."""
    return file_system(os.path.realpath(path), _mounts())


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
