"""Many short lives for one start: a process that has everything loaded forks off a child for each task.

The child runs under tests/support/nth_call.c from its first call on, which kills it at one of its calls, and tells through a
file what has returned to it; at its end also "calls": of each call on the store the first letter of its name.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple, TextIO

_MAIN = """
import ctypes, json, os, sys
library = ctypes.CDLL(os.environ["NURSERY_LIBRARY"])
library.nth_calls.restype = ctypes.c_char_p
while line := sys.stdin.readline():
    task = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.environ["AUTOTRACK_DIR"] = task["store"]
        os.chdir(task["folder"])
        library.nth_arm(task["under"].encode(), task["at"], task["how"].encode())
        code = 1
        try:
            TASKS[task["name"]](Path(task["folder"]))
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            tell("calls", library.nth_calls().decode())
            os._exit(code)
    status = os.waitpid(pid, os.WUNTRACED)[1]
    if os.WIFSTOPPED(status):
        print("stopped", flush=True)
        os.kill(pid, int(sys.stdin.readline()))
        status = os.waitpid(pid, 0)[1]
    print(os.waitstatus_to_exitcode(status), flush=True)
"""

PRELUDE = """
import hashlib, os, signal, sys, time
from pathlib import Path
import autotrack
def tell(*words):
    fd = os.open("told", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, (" ".join(map(str, words)) + "\\n").encode())
    os.close(fd)
"""


class Life(NamedTuple):
    """What came of one child: its exit code (-9: killed), and what it told, in words."""

    code: int
    told: list[list[str]]

    def said(self, word: str) -> list[list[str]]:
        """What it told beginning with this word."""
        return [words[1:] for words in self.told if words[0] == word]


class Nursery:
    """The process that forks: `code` fills TASKS, from names to functions that are given a folder to work in."""

    def __init__(self, code: str, library: str, calls: str, leave_out: str) -> None:
        environment = {
            "LD_PRELOAD": library,
            "NURSERY_LIBRARY": library,
            "NTH_UNDER": "/nowhere",
            "NTH_CALLS": calls,
            "NTH_NOT": leave_out,
            "NTH_HOW": "before",
        }
        self._folder = tempfile.TemporaryDirectory()
        self._said = Path(self._folder.name) / "errors"
        with open(self._said, "w") as errors:
            self._process = self._start(code, environment, errors)

    def _start(self, code: str, environment: dict[str, str], errors: TextIO) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PRELUDE + code + _MAIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=dict(os.environ) | environment,
            text=True,
        )

    def run(self, name: str, place: Path, at: int = 0, how: str = "before", under: str = "store") -> Life:
        """One child that does a task on the store `store` in a place, working in `work` beside it.

        It is killed at its call number `at` (0: at none) on what lies below `under` there.
        """
        is_stopped = self.begin(name, place, at, how, under)
        assert not is_stopped
        return self._end(place)

    def begin(self, name: str, place: Path, at: int, how: str, under: str = "store") -> bool:
        """As `run`, up to where the child is over (False), or stopped, which `how="stop"` does instead of killing it."""
        (place / "work" / "told").unlink(missing_ok=True)
        paths = {"store": str(place / "store"), "under": str(place / under), "folder": str(place / "work")}
        self._say(json.dumps({"name": name, "at": at, "how": how} | paths))
        self._line = self._hear()
        return self._line == "stopped"

    def go_on(self, place: Path, number: signal.Signals) -> Life:
        """Send a stopped child a signal, SIGCONT or SIGKILL, and wait for its end."""
        self._say(str(int(number)))
        self._line = self._hear()
        return self._end(place)

    def _end(self, place: Path) -> Life:
        told = place / "work" / "told"
        words = [one.split(" ") for one in told.read_text().splitlines()] if told.exists() else []
        return Life(int(self._line), words)

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, self.errors()
        return line

    def errors(self) -> str:
        """What it and its children have written to standard error."""
        return self._said.read_text()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()
