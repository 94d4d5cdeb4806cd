"""Running an example as a user would, and reading its record."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from warm_process import warm

from autotrack.index import open_index

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

Example = Callable[..., tuple[str, list[Any]]]


@pytest.fixture
def example(tmp_path: Path) -> Example:
    """`example(name, *words)`: what it printed under the launcher, and the runs it left, oldest first.

    `by`: "python" runs it without the launcher, "warm" so too, in a process that has the frameworks loaded.
    """

    def run(name: str, *words: str, by: str = "launcher") -> tuple[str, list[Any]]:
        folder = tmp_path / name.removesuffix(".py")
        folder.mkdir(exist_ok=True)
        shutil.copy(EXAMPLES / name, folder)
        env = {key: value for key, value in os.environ.items() if not key.startswith("AUTOTRACK_")}
        env |= {"AUTOTRACK_DIR": str(folder / "store"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        if by == "warm":
            done = warm((folder / name).read_text(), *words, folder=folder, only=env)
        else:
            python = (
                [str(Path(sys.executable).with_name("autotrack")), "run"]
                if by == "launcher"
                else [sys.executable]
            )
            done = subprocess.run(
                [*python, name, *words],
                cwd=folder,
                env=env,
                text=True,
                capture_output=True,
                timeout=300,
                check=False,
            )
        assert done.returncode == 0, done.stderr
        assert "autotrack:" not in done.stderr
        left = {path.name for path in folder.iterdir()} - {"store", "__pycache__"}
        assert left == {name}, f"the example left {left - {name}}"
        return done.stdout, runs(folder / "store")

    return run


def runs(store: Path) -> list[Any]:
    """Every run of a store, children too."""
    if not store.exists():
        return []
    index = open_index(store)
    try:
        index.sync()
        return sorted(index.runs(children=True), key=lambda run: run.created)
    finally:
        index.close()
