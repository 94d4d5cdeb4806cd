"""Where trackers are put to work: runs workloads in their environments, bounds their time, and clears up behind them."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cpu
import environments

HERE = Path(__file__).resolve().parent
GONE = 3.0  # seconds that daemons have to end by themselves
Result = dict[str, Any]


class Lab:
    """The environments, a folder to work in, and the processes that were started."""

    def __init__(
        self, folder: Path, work: Path, names: list[str], quick: bool, seed: int, worker: str = "worker.py"
    ) -> None:
        self.worker = worker
        self.folder = folder
        self.work = work
        self.names = names
        self.quick = quick
        self.random = random.Random(seed)
        self._marks: dict[int, str] = {}

    def amount(self, full: Any, quick: Any) -> Any:
        """A size, by how much time there is."""
        return quick if self.quick else full

    def place(self, section: str, name: str) -> Path:
        """A folder for one tracker in one section: a git checkout with one commit, made if it is not there."""
        folder = self.work / section / name
        if not folder.is_dir():
            folder.mkdir(parents=True)
            identity = ["-c", "user.name=b", "-c", "user.email=b@example.org"]
            for words in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "first"]):
                subprocess.run(["git", *words], cwd=folder, check=True, env=self.environment())
        return folder

    def clear(self, section: str) -> None:
        """Remove what a section wrote."""
        shutil.rmtree(self.work / section, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        """What every process sees: nothing of the caller's settings of any tracker."""
        home = self.work / "home"
        home.mkdir(exist_ok=True)
        words = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8"}
        return words | {"OMP_NUM_THREADS": "1", "GIT_CONFIG_NOSYSTEM": "1", "KERAS_BACKEND": "torch"}

    def python(self, name: str) -> str:
        """The interpreter of one tracker."""
        return str(environments.python(self.folder, name))

    def command(self, name: str, workload: str, folder: Path, result: Path, /, **options: Any) -> list[str]:
        """The words that start one workload."""
        words = [name, workload, str(folder), str(result), json.dumps(options)]
        return [self.python(name), "-W", "ignore", str(HERE / self.worker), *words]

    def start(self, command: list[str], folder: Path) -> "subprocess.Popen[str]":
        """Start a process of its own session; what it prints goes to a file beside its folder."""
        log, name = tempfile.mkstemp(".log", dir=self.work)
        mark = f"BENCHMARK_PROCESS={uuid.uuid4()}"
        env = self.environment() | dict([mark.split("=")])
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            text=True, start_new_session=True,
        )  # fmt: skip
        process.args = name
        os.close(log)
        self._marks[process.pid] = mark
        return process

    def do(self, name: str, workload: str, folder: Path, seconds: float, /, **options: Any) -> Result:
        """Run one workload to its end: what it found, or {"error": why there is nothing}."""
        with tempfile.TemporaryDirectory(dir=self.work) as scratch:
            result = Path(scratch) / "result.json"
            process = self.start(self.command(name, workload, folder, result, **options), folder)
            return self.ended(process, result, seconds)

    def ended(self, process: "subprocess.Popen[str]", result: Path, seconds: float) -> Result:
        """Wait for a process that was started, and read its result."""
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return {"error": f"not over after {seconds:.0f} s"}
        finally:
            self.end(process)
        if result.is_file():
            found: Result = json.loads(result.read_text())
            return found
        return {"error": f"exit code {process.returncode}: {self.said(process)}"}

    def said(self, process: "subprocess.Popen[str]") -> str:
        """The last line that a process printed, without paths of this machine."""
        lines = [line.strip() for line in Path(str(process.args)).read_text(errors="replace").splitlines()]
        last = ([line for line in lines if line] or ["it printed nothing"])[-1]
        return last.replace(str(self.work), "…").replace(str(self.folder), "…")[:300]

    def end(self, process: "subprocess.Popen[str]") -> None:
        """End a process and all that it started; daemons have a moment to end by themselves."""
        if process.poll() is None:
            process.kill()
            process.wait()
        mark = self._marks.pop(process.pid, "")
        limit = time.monotonic() + GONE
        while mark and (left := cpu.marked(mark)):
            if time.monotonic() > limit:
                for pid in left:
                    _kill(pid)
            time.sleep(0.05)

    def together(self, jobs: Sequence[Callable[[], Any]], at_once: int) -> list[Any]:
        """Run functions beside one another; what must not be timed, or does not depend on time."""
        with ThreadPoolExecutor(at_once) as pool:
            return [each.result() for each in [pool.submit(job) for job in jobs]]


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def size(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def say(*words: object) -> None:
    """Tell how far it is."""
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)
