"""Python in a process of its own, as tests need it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

SECONDS = 300


def python(code: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run code to its end with these variables in its environment."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


def answer(code: str, **settings: str) -> str:
    """What code prints that must end well."""
    done = python(code, **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def start(code: str, folder: Path) -> "subprocess.Popen[bytes]":
    """Start code as a script of that folder, which Ctrl-C interrupts also where the tests run in the background of a shell."""
    script = folder / "script.py"
    script.write_text(code)
    return subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_obey_ctrl_c
    )


def _obey_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def end(process: "subprocess.Popen[bytes]") -> tuple[int, str, str]:
    """Wait for a process: its exit code, standard output and standard error."""
    out, errors = process.communicate(timeout=60)
    return process.returncode, out.decode(), errors.decode()
