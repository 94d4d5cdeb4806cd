"""Stores with real torch files in them, and the catalog of one."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import autotrack
from autotrack.catalog.find import Catalog
from autotrack.index import open_index


def weights(seed: int = 0) -> dict[str, Any]:
    """Two tensors of 64 kB and 256 bytes."""
    made = torch.Generator().manual_seed(seed)
    return {
        "body.weight": torch.randn(128, 128, generator=made),
        "head.weight": torch.randn(64, generator=made),
    }


@pytest.fixture
def save(store: Path, tmp_path: Path) -> Callable[..., Path]:
    """Save tensors of a seed with torch, under a name; the store is there."""
    (store / "runs").mkdir(parents=True)

    def make(seed: int = 0, name: str = "model.pt") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(weights(seed), path)
        return path

    return make


@pytest.fixture
def train(store: Path, save: Callable[..., Path], tmp_path: Path) -> Callable[..., str]:
    """A run that saves a checkpoint for each score (the less the better) to a path of its own; its id.

    `stored`: all of them are kept in the store too. `gone`: what it saved is deleted afterwards.
    """

    def run(
        *scores: float, name: str = "run", stored: bool = False, gone: bool = False, seed: int = 0
    ) -> str:
        with autotrack.init(project="p", name=name, log_model="all" if stored else "auto") as made:
            for step, score in enumerate(scores, start=1):
                path = save(seed + step, f"{name}/step{step}.pt")
                made.log_checkpoint(path, step=step * 10, score=score, monitor="val_loss", mode="min")
        if gone:
            shutil.rmtree(tmp_path / name)
        return made.id

    return run


@pytest.fixture
def catalog(store: Path) -> Callable[[], AbstractContextManager[Catalog]]:
    """The catalog as of now."""

    @contextmanager
    def opened() -> Iterator[Catalog]:
        with open_index(store) as index:
            index.sync(seal_seconds=0)
            yield Catalog(index)

    return opened


@pytest.fixture
def flip(store: Path) -> Callable[[], None]:
    """One bit in the middle of the largest pack of the store is another."""

    def change() -> None:
        pack = max((store / "objects" / "packs").glob("*.pack"), key=lambda one: one.stat().st_size)
        with open(pack, "r+b") as file:
            file.seek(os.path.getsize(pack) // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))

    return change
