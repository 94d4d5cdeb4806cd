"""A real Jupyter kernel: cells that are interrupted, kernels that are restarted, and the first cell run again and again."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from oracle import statuses

FIRST_CELL = """
import autotrack
from autotrack import session
session.TICK_SECONDS = 0.2  # descriptors are closed a moment later
run = autotrack.init(project="p", name=f"run{COUNT}")
run.log({"a": 1.0}, step=1)
"""
COUNTS = """
import os, threading
print(len(os.listdir("/proc/self/fd")), threading.active_count())
"""
LOOP = """
pathlib.Path("ready2").touch()
while True:
    run.log({"b": 1.0})
"""


class Kernel:
    """A kernel of this Python, and what its cells print."""

    def __init__(self) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env=dict(os.environ))
        self._connect()

    def _connect(self) -> None:
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str) -> tuple[str, str]:
        """Run a cell to its end: (what it printed, the name of its exception or nothing)."""
        printed: list[str] = []

        def take(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        reply = self.client.execute_interactive(code, timeout=60, output_hook=take)
        while (
            reply["content"]["status"] == "aborted"
        ):  # it came while the kernel dropped what waited behind an error
            reply = self.client.execute_interactive(code, timeout=60, output_hook=take)
        return "".join(printed), reply["content"].get("ename", "")

    def interrupt_in(self, code: str, ready: Path) -> str:
        """Start a cell, interrupt the kernel when the cell has made the file `ready`; the name of the cell's exception."""
        request = self.client.execute(code)
        until = time.monotonic() + 30
        while not ready.exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        self.manager.interrupt_kernel()
        while True:
            reply = self.client.get_shell_msg(timeout=30)
            if reply["parent_header"].get("msg_id") == request:
                return str(reply["content"].get("ename", ""))

    def restart(self, now: bool) -> None:
        self.client.stop_channels()
        self.manager.restart_kernel(now=now)
        self._connect()

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)
        self.manager.context.destroy(linger=0)


@pytest.fixture
def kernel(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    """A kernel that records into the test's store; the user's own Jupyter and IPython settings are left out."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    found = Kernel()
    yield found
    found.close()


def test_the_first_cell_run_fifty_times_leaves_one_open_run_and_no_descriptors(
    kernel: Kernel, store: Path
) -> None:
    first = FIRST_CELL.replace("{COUNT}", "0")
    for place in range(5):
        assert kernel.run(first.replace("run0", f"run{place}")) == ("", "")
    time.sleep(1)
    before = [int(word) for word in kernel.run(COUNTS)[0].split()]
    for place in range(5, 50):
        assert kernel.run(first.replace("run0", f"run{place}")) == ("", "")
    for _ in range(30):
        time.sleep(1)
        after = [int(word) for word in kernel.run(COUNTS)[0].split()]
        if after[0] <= before[0] + 1:
            break
    assert after[0] <= before[0] + 1
    assert after[1] <= before[1]
    states = statuses(store)
    assert states.pop("run49") == "running"
    assert states == {f"run{place}": "finished" for place in range(49)}
    assert len(os.listdir(store / "open")) == 1


def test_an_interrupted_cell_interrupts_the_run_of_its_block_and_no_other(
    kernel: Kernel, store: Path, tmp_path: Path
) -> None:
    kernel.run(FIRST_CELL.replace("{COUNT}", "_first"))
    cell = """
import time, pathlib
with autotrack.init(project="p", name="block") as block:
    pathlib.Path("ready").touch()
    for step in range(10**9):
        block.log({"b": 1.0}, step=step)
        time.sleep(0.001)
"""
    assert kernel.interrupt_in(cell, tmp_path / "ready") == "KeyboardInterrupt"
    assert statuses(store) == {"run_first": "finished", "block": "interrupted"}
    kernel.run(FIRST_CELL.replace("{COUNT}", "_second"))
    assert kernel.interrupt_in(cell.partition("with")[0] + LOOP, tmp_path / "ready2") == "KeyboardInterrupt"
    assert kernel.run("run.log({'a': 2.0}, step=2)\nprint(run.status)") == ("running\n", "")
    assert kernel.run("1 / 0")[1] == "ZeroDivisionError"
    assert statuses(store)["run_second"] == "running"
    assert kernel.run("run.finish()") == ("", "")
    assert statuses(store)["run_second"] == "finished"


@pytest.mark.parametrize("now", [False, True], ids=["asked", "killed"])
def test_a_restarted_kernel_ends_its_run_and_the_next_one_is_another(
    kernel: Kernel, store: Path, now: bool
) -> None:
    kernel.run(FIRST_CELL.replace("{COUNT}", "_before"))
    kernel.restart(now)
    kernel.run(FIRST_CELL.replace("{COUNT}", "_after"))
    assert statuses(store) == {"run_before": "died" if now else "finished", "run_after": "running"}


def test_a_run_inside_a_block_is_not_ended_by_another_init(kernel: Kernel, store: Path) -> None:
    cell = """
import autotrack
with autotrack.init(project="p", name="outer") as outer:
    with autotrack.init(project="p", name="inner") as inner:
        inner.log({"a": 1.0}, step=1)
    outer.log({"a": 1.0}, step=1)
    print(outer.status)
"""
    assert kernel.run(cell) == ("running\n", "")
    assert statuses(store) == {"outer": "finished", "inner": "finished"}
