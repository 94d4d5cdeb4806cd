"""What a journal's files are called, and the first line of each."""

from time import time_ns

from autotrack.journal.format import FORMAT, encode
from autotrack.process import clocks, this_process
from autotrack.version import VERSION

_HOST_LENGTH = 64


def new_stem(rank: int) -> str:
    """The name of a journal that is begun now, without segment and suffix: `<host>-<pid>-<start ns>-<rank>`."""
    facts = this_process()
    host = "".join(c if (c.isalnum() and c.isascii()) or c in "._" else "_" for c in facts.host)
    return f"{host[:_HOST_LENGTH]}-{facts.pid}-{time_ns()}-{rank}"


def first_line(seq: int, segment: int, *, run: str, project: str, role: str, rank: int) -> bytes:
    """The line that says who writes a segment, where and since when."""
    facts = this_process()
    wall, mono = clocks()
    body = {
        "format": FORMAT,
        "run": run,
        "project": project,
        "host": facts.host,
        "pid": facts.pid,
        "pidns": facts.pidns,
        "boot": facts.boot,
        "started": facts.started,
        "rank": rank,
        "segment": segment,
        "wall": wall,
        "by": f"autotrack {VERSION}",
        "role": role,
    }
    return encode("h", seq, mono, body)
