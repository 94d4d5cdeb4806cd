"""Whether a checkpoint of several files has all of them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

_MOST_INDEX = 64 * 1024 * 1024


def missing(folder: str, names: Sequence[str]) -> list[str]:
    """What the files of a folder say is missing there.

    Of a model in shards `*.index.json` names every file (transformers' `save_pretrained`, Keras' sharded weights); of a distributed
    checkpoint `.metadata` is written last (torch/distributed/checkpoint/filesystem.py, `finish`).
    """
    here, found = set(names), []
    for name in sorted(here):
        if name.endswith(".index.json"):
            lost = sorted(_named(Path(folder, name)).difference(_beside(name, here)))
            found += [f"{name} names {one!r}, which is not there" for one in lost]
    folders = {os.path.dirname(name) for name in here if name.endswith(".distcp")}
    for inner in sorted(folders):
        if os.path.join(inner, ".metadata") not in here:
            found.append(
                f"{inner or 'it'} is a distributed checkpoint without .metadata, which is written last"
            )
    return found


def _beside(name: str, here: set[str]) -> Iterator[str]:
    inner = os.path.dirname(name)
    return (os.path.basename(one) for one in here if os.path.dirname(one) == inner)


def _named(index: Path) -> set[str]:
    try:
        if index.stat().st_size > _MOST_INDEX:
            return set()
        body: Any = orjson.loads(index.read_bytes())
        return {str(one) for one in body["weight_map"].values()}
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return set()
