"""Bringing a file to the disk bit by bit, where the system can (Linux): sync_file_range(2)."""

import ctypes
import os
from collections.abc import Callable

_WRITE = 2  # SYNC_FILE_RANGE_WRITE
_WRITE_AND_WAIT = 7  # SYNC_FILE_RANGE_WAIT_BEFORE | _WRITE | _WAIT_AFTER


def begin_write_back(fd: int, offset: int, length: int) -> None:
    """Let the disk begin with a part of a file. Nothing is promised of it before an fsync, which then has less to wait for."""
    _sync_file_range(fd, offset, length, _WRITE)


def sync_in_steps(fd: int, step: int, pace: Callable[[], object]) -> None:
    """fsync, in steps of so many bytes where that can be, with a call of `pace` after each."""
    size = os.fstat(fd).st_size
    if size > step:
        for offset in range(0, size, step):
            if not _sync_file_range(fd, offset, step, _WRITE_AND_WAIT):
                break
            pace()
    os.fsync(fd)


def _sync_file_range(fd: int, offset: int, length: int, flags: int) -> bool:
    """False where the system does not have it."""
    try:
        call = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return False
    call(fd, ctypes.c_int64(offset), ctypes.c_int64(length), ctypes.c_uint(flags))
    return True
