"""What is known of a checkpoint once it was read to its end."""

import os
from typing import NamedTuple

from autotrack.digests import Look, digest_of_files, look_at
from autotrack.objects.reading import Pace, check
from autotrack.objects.recipe import KeptFile
from autotrack.objects.shards import missing

_HOLD_WEIGHTS = (".bin", ".ckpt", ".h5", ".keras", ".npz", ".pt", ".pth", ".safetensors")
"""A file of such a name is never empty; another one in a folder may be."""


class Seal(NamedTuple):
    """A checkpoint that was read to its end: its files with their digests, its own, its format, and what is amiss with it."""

    files: tuple[KeptFile, ...]
    digest: str
    format: str
    problem: str | None


def seal_of(path: str, look: Look, without: str | None = None, pace: Pace = bool) -> Seal | None:
    """Read what was seen at a path; None where that does not lie there now, or cannot be read."""
    if not look.is_whole():
        return None
    files, problems = [], []
    try:
        for name, *_ in sorted(look.stamps):
            checked = check(os.path.join(path, name) if name else path, pace, sync=True)
            size = next(stamp[1] for stamp in look.stamps if stamp[0] == name)
            files.append(KeptFile(name.replace(os.sep, "/"), size, checked.digest, checked.format, None))
            if checked.problem is not None and (size or not name or name.endswith(_HOLD_WEIGHTS)):
                problems.append(f"{name}: {checked.problem}" if name else checked.problem)
        if look_at(path, without) != look:
            return None
        problems += missing(path, [file.name for file in files]) if look.files is not None else []
    except OSError:
        return None
    formats = sorted({file.format for file in files} - {"file", "unknown"}) or ["file"]
    digest = (
        files[0].digest if look.files is None else digest_of_files({one.name: one.digest for one in files})
    )
    return Seal(tuple(files), digest, ", ".join(formats), "; ".join(problems[:5]) or None)
