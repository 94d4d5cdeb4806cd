"""Registries of real files, and processes that decide in them at the same moment."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotrack.registry.models import Version, add_version


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """The folder of an empty registry."""
    return tmp_path / "registry"


@pytest.fixture
def facts() -> Callable[..., dict[str, Any]]:
    """What a registration says of some bytes."""

    def make(number: int = 1) -> dict[str, Any]:
        digest = f"{number:064x}"
        return {"digest": digest, "size": number, "path": f"/{number}.pt", "kept": ["@files", f"s{number}"]}

    return make


@pytest.fixture
def add(registry: Path, facts: Callable[..., dict[str, Any]]) -> Callable[..., Version]:
    """Register bytes of a number as a version of a model."""
    return lambda number=1, model="model": add_version(registry, model, facts(number))


@pytest.fixture
def together(tmp_path: Path) -> Callable[[str, int], list[str]]:
    """Run a script in so many processes that all wait for each other and then begin at once; what each has printed.

    The script is given the number of its process as `me`, and calls `ready()` where it is to begin.
    """
    head = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "me, gate = int(sys.argv[1]), Path(sys.argv[2])\n"
        "def ready():\n"
        "    (gate / f'{me}.there').touch()\n"
        "    while not (gate / 'go').exists():\n"
        "        time.sleep(0.0005)\n"
    )

    def run(script: str, count: int) -> list[str]:
        gate = tmp_path / f"gate{len(list(tmp_path.iterdir()))}"
        gate.mkdir()
        words = [sys.executable, "-c", head + script]
        started = [
            subprocess.Popen([*words, str(me), str(gate)], stdout=subprocess.PIPE, text=True, env=os.environ)
            for me in range(count)
        ]
        while len(list(gate.glob("*.there"))) < count and all(one.poll() is None for one in started):
            pass
        (gate / "go").touch()
        found = [one.communicate(timeout=60)[0].strip() for one in started]
        assert [one.returncode for one in started] == [0] * count
        return found

    return run
