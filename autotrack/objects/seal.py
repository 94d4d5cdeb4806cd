"""What is known of a checkpoint once it was read to its end."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from autotrack.digests import ALL, Look, Part, digest_of_files, look_at
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


def seal_of(path: str, look: Look, part: Part = ALL, pace: Pace = bool) -> Seal | None:
    """Read what was seen at a path; None where that does not lie there now, or cannot be read."""
    if not look.is_whole():
        return None
    found: list[tuple[KeptFile, str | None]] = []
    try:
        for name, size, *_ in sorted(look.stamps):
            checked = check(os.path.join(path, name) if name else path, pace, sync=True)
            file = KeptFile(name.replace(os.sep, "/"), size, checked.digest, checked.format, None)
            found.append((file, checked.problem))
        return None if look_at(path, part) != look else seal_from(path, look, found)
    except OSError:
        return None


def seal_from(path: str, look: Look, found: Sequence[tuple[KeptFile, str | None]]) -> Seal:
    """The seal of files that were read to their ends, each with what is amiss with it. OSError where their index cannot be read."""
    files = tuple(file for file, _ in found)
    problems = [
        f"{file.name}: {problem}" if file.name else problem
        for file, problem in found
        if problem is not None and (file.size or not file.name or file.name.endswith(_HOLD_WEIGHTS))
    ]
    problems += missing(path, [file.name for file in files]) if look.files is not None else []
    formats = sorted({file.format for file in files} - {"file", "unknown"}) or ["file"]
    digest = (
        files[0].digest if look.files is None else digest_of_files({one.name: one.digest for one in files})
    )
    return Seal(files, digest, ", ".join(formats), "; ".join(problems[:5]) or None)
