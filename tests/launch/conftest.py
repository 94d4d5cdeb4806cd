"""Running a script twice, by plain Python and by `autotrack run`, and reading what was recorded."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autotrack.index import open_index


def _interpreter(command: str) -> str:
    """The Python that an installed command names in its first line, as it names it (python, python3, python3.11)."""
    first = Path(command).read_text("utf-8").splitlines()[0].removeprefix("#!")
    return first if Path(first).is_file() else sys.executable


class Workplace:
    """A folder for scripts with a store of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self.store = folder / "store"
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("AUTOTRACK_")}
        self.env |= {"AUTOTRACK_DIR": str(self.store), "OMP_NUM_THREADS": "1"}
        self.autotrack = str(Path(sys.executable).with_name("autotrack"))
        self.python = _interpreter(self.autotrack)

    def write(self, name: str, text: str) -> Path:
        """A script; folders are made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def plain(self, *words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        """`python words…`"""
        return self._run([self.python, *words], **options)

    def launch(self, *words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        """`autotrack run words…`"""
        return self._run([self.autotrack, "run", *words], **options)

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """A command in the background, its output piped."""
        return subprocess.Popen(
            command, cwd=self.folder, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def runs(self) -> list[Any]:
        """Every run in the store, children too, oldest first."""
        if not self.store.exists():
            return []
        index = open_index(self.store)
        index.sync()
        try:
            return sorted(index.runs(children=True), key=lambda run: run.created)
        finally:
            index.close()

    def only_run(self) -> Any:
        """The one run that there has to be."""
        runs = self.runs()
        assert len(runs) == 1, [(run.name, run.status) for run in runs]
        return runs[0]

    def _run(
        self, command: list[str], input: str | None = None, env: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.env | (env or {}),
            text=True,
            capture_output=True,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            timeout=120,
            check=False,
        )


@pytest.fixture
def work(tmp_path: Path) -> Workplace:
    """A folder for scripts, and the means to run them."""
    return Workplace(tmp_path)


@pytest.fixture
def background(work: Workplace) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start commands that are ended at the latest when the test ends."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str) -> "subprocess.Popen[str]":
        started.append(work.start(*command))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
