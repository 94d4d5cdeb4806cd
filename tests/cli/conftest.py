"""Real stores, recorded by a real process, and the real command line on them."""

import fcntl
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from autotrack.cli.app import app

RECORD = r"""
import math, os, sys
import autotrack

def run(name, lr, optimizer, **more):
    with autotrack.init(project="digits", name=name, config={"lr": lr, "optimizer": {"name": optimizer}, "epochs": 2}, **more) as run:
        for step in range(20):
            run.log({"train/loss": math.exp(-lr * step), "val/accuracy": 1 - lr - 0.5 * math.exp(-step)}, step=step)
        return run.id

ids = {}
ids["sgd"] = run("mlp-sgd", 0.5, "sgd", tags=["baseline"])
ids["adam"] = run("mlp-adam", 0.25, "adam", notes="First line.\nSecond line.", group="night")
try:
    with autotrack.init(project="digits", name="broken") as failed:
        ids["broken"] = failed.id
        failed.log({"train/loss": float("nan")}, step=0)
        failed.log({"train/loss": 1.5}, step=1)
        failed.log({"train/loss": float("inf")}, step=2)
        raise ValueError("bad loss\x1b[31m at step 1\nand more")
except ValueError:
    pass
hostile = autotrack.init(
    project="other",
    name="\x1b]0;owned\x07[red]not markup[/red] \u202egnp.exe :smile:\nnext\x9b2J",
    tags=["=1+1", "\x1b[2J", "@cmd"],
    notes="a\x1b[31mb\n\u202ec\x07",
    config={"k\ney": "v\x1b[0m", "__proto__": 1, "formula": "=HYPERLINK(1)", "minus": -5},
)
hostile.log({"m\u202ex\x1b[1m": 1.0, "a.b/c d@k:%[x=1] \U0001f525": 2.0, "\u4e2d\u6587": 3.5})
ids["hostile"] = hostile.id
hostile.finish()
parent = autotrack.init(project="digits", name="grid")
ids["grid"] = parent.id
for c in (1, 10):
    child = autotrack.init(project="digits", name=f"C={c}", parent=parent.id, config={"C": c})
    child.log({"score": c / 20})
    ids[f"C{c}"] = child.id
    child.finish()
with open(os.path.join(os.path.dirname(sys.argv[1]), "weights.txt"), "w") as file:
    file.write("w" * 3000)
parent.log_artifact(file.name, name="weights.txt")
parent.log_input(file.name)
parent.finish()
import json
print(json.dumps(ids))
"""


MAIN = "import sys; sys.argv[0] = 'autotrack'; from autotrack.cli.main import main; main()"


class Terminal:
    """What a command wrote to a terminal, and how it ended."""

    def __init__(self, output: str, code: int) -> None:
        self.output = output
        self.code = code

    @property
    def lines(self) -> list[str]:
        """The lines without what is not shown."""
        return self.output.replace("\r\n", "\n").rstrip("\n").split("\n")


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A store that a process of its own recorded, and the ids of its runs."""
    folder = tmp_path_factory.mktemp("recorded")
    store = folder / ".autotrack"
    env = {**os.environ, "AUTOTRACK_DIR": str(store), "AUTOTRACK_SILENT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RECORD, str(store)],
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return store, json.loads(done.stdout)


@pytest.fixture
def filled(recorded: tuple[Path, dict[str, str]], store: Path) -> Path:
    """A store of the test's own with the recorded runs."""
    shutil.copytree(recorded[0], store)
    return store


@pytest.fixture
def ids(recorded: tuple[Path, dict[str, str]]) -> dict[str, str]:
    """The ids of the recorded runs by a short name."""
    return recorded[1]


@pytest.fixture
def invoke(store: Path) -> Callable[..., Any]:
    """Run the command line in this process: the result has `exit_code`, `stdout`, `stderr`."""

    def call(*args: object, stdin: str | None = None) -> Any:
        return CliRunner().invoke(app, [str(arg) for arg in args], input=stdin)

    return call


@pytest.fixture
def answer(invoke: Callable[..., Any]) -> Callable[..., Any]:
    """The JSON that a command prints."""

    def call(*args: object) -> Any:
        result = invoke(*args, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout, parse_constant=lambda token: pytest.fail(f"{token} is no JSON"))

    return call


@pytest.fixture
def process(store: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m autotrack` as a process of its own, through pipes."""

    def call(
        *args: object, env: dict[str, str] | None = None, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "autotrack", *map(str, args)]
        return subprocess.run(
            words,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **more,
        )

    return call


@pytest.fixture
def terminal(store: Path) -> Callable[..., Terminal]:
    """Run `python -m autotrack` in a terminal of a given width.

    `before`: Python to run first in the same process. `interrupt_at`: Ctrl-C as soon as this text is there. `into`: a
    file that standard output goes to.
    """

    def call(
        *args: object,
        columns: int = 80,
        env: dict[str, str] | None = None,
        typed: bytes = b"",
        before: str = "",
        interrupt_at: bytes = b"",
        into: Any = None,
    ) -> Terminal:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        settings = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **(env or {})}
        for name in ("COLUMNS", "LINES", "NO_COLOR") if env is None else ("COLUMNS", "LINES"):
            settings.pop(name, None)
        words = [sys.executable, "-c", f"{before}\n{MAIN}", *map(str, args)]
        out = slave if into is None else into
        child = subprocess.Popen(
            words, stdin=slave, stdout=out, stderr=slave, env=settings, start_new_session=True
        )
        os.close(slave)
        if typed:
            os.write(master, typed)
        output = b""
        for piece in _everything(master, child):
            output += piece
            if interrupt_at and interrupt_at in output:
                child.send_signal(signal.SIGINT)
                interrupt_at = b""
        os.close(master)
        return Terminal(output.decode("utf-8", "replace"), child.wait(60))

    return call


def _everything(master: int, child: subprocess.Popen[bytes]) -> Iterator[bytes]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if select.select([master], [], [], 0.1)[0]:
            try:
                data = os.read(master, 65536)
            except OSError:
                return
            if not data:
                return
            yield data
        elif child.poll() is not None:
            return
    child.kill()
    pytest.fail("the command did not end within 60 seconds")
