"""Python scripts in processes of their own, and what they recorded."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STANDIN = Path(__file__).parent / "standin"
_OURS = ("AUTOTRACK_", "CUDA_VISIBLE")


class Scripts:
    """Runs scripts in a fresh store and reads their journals."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.notes = folder / "nvml.txt"

    def __call__(self, source: str, path: str | None = None, **variables: str) -> str:
        """The standard output of a script; `path` is put before the PATH."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
        environment |= {"AUTOTRACK_DIR": str(self.store), "NVML_NOTES": str(self.notes), **variables}
        if path is not None:
            environment["PATH"] = path + os.pathsep + environment["PATH"]
        if "BOARDS" in variables:
            environment["PYTHONPATH"] = os.pathsep.join([str(STANDIN), environment.get("PYTHONPATH", "")])
        script = self.folder / "script.py"
        script.write_text(source)
        done = subprocess.run(
            [sys.executable, str(script)],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def events(self, kind: str) -> list[list[Any]]:
        """All events of one kind, by run folder and file."""
        lines = [
            json.loads(line)
            for file in sorted(self.store.glob("runs/*/*/*.jsonl"))
            for line in file.read_text().splitlines()
        ]
        return [line for line in lines if line[0] == kind]

    def samples(self) -> list[dict[str, float]]:
        """The values of all samples."""
        return [line[3] for line in self.events("s")]

    def reports(self) -> list[dict[str, Any]]:
        """What the capture reports say of the sampler."""
        return [line[3] for line in self.events("capture") if line[3]["what"] == "system"]


@pytest.fixture
def script(tmp_path: Path) -> Scripts:
    return Scripts(tmp_path)


@pytest.fixture
def read_gpus(script: Scripts) -> Callable[..., dict[str, Any]]:
    """What `Gpus` reads in a process with these boards: {"values", "indices", "source", "why"}."""

    def read(boards: list[dict[str, Any]], **variables: str) -> dict[str, Any]:
        source = """
import json
from autotrack.sampler.gpu import Gpus
gpus = Gpus()
print(json.dumps({"values": gpus.read(), "indices": gpus.indices, "source": gpus.source, "why": gpus.why}))
gpus.close()
"""
        found: dict[str, Any] = json.loads(script(source, BOARDS=json.dumps(boards), **variables))
        return found

    return read
