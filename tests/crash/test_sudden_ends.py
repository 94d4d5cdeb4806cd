"""A process that ends without a word to Python, or runs out of memory, has lost nothing that a call returned from."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from oracle import Victim, statuses

TRAIN = """
run = autotrack.init(project="p", name="run", config={"lr": 0.1})
child = run.child("child")
for step in range(100):
    log(run, "a", step)
    log(child, "b", step)
    config(run, f"c{step}", step)
artifact(run, "file", 1000)
from autotrack import background
background.drain(60)  # else an event of the helper's that is on its way has a number and is not there
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("os._exit(0)", 0),
        ("os._exit(7)", 7),
        ("os.abort()", -signal.SIGABRT),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
        ("os.kill(os.getpid(), signal.SIGBUS)", -signal.SIGBUS),
        ("os.execv('/bin/true', ['true'])", 0),
    ],
)
def test_an_end_without_a_word_costs_nothing(victim: Callable[..., Victim], end: str, code: int) -> None:
    one = victim(TRAIN + end)
    assert one.end()[0] == code
    assert one.damage() == []
    assert statuses(one.store) == {"run": "died", "child": "died"}


@pytest.mark.parametrize("end", ["sys.exit(3)", "raise SystemExit(3)", "raise RuntimeError('a thread')"])
def test_a_thread_that_exits_ends_neither_the_process_nor_its_run(
    victim: Callable[..., Victim], end: str
) -> None:
    one = victim(
        TRAIN
        + f"""
def work():
    log(run, "thread", 0)
    {end}
thread = threading.Thread(target=work)
thread.start()
thread.join()
log(run, "a", 100)
"""
    )
    assert one.end()[0] == 0
    assert one.damage() == []
    assert statuses(one.store) == {"run": "finished", "child": "finished"}


MEMORY = """
import resource
big = {f"metric.{key}": float(key) for key in range(300_000)}
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (4 << 20), resource.getrlimit(resource.RLIMIT_AS)[1]))
failed = 0
for step in range(101, 120):
    try:
        bytearray(1 << 30)
    except MemoryError:
        failed += 1
    log(run, "a", step)
assert failed == 19
"""


def test_values_are_recorded_on_when_the_training_runs_out_of_memory(victim: Callable[..., Victim]) -> None:
    one = victim(TRAIN.replace("range(100)", "range(101)") + MEMORY)
    code, _, errors = one.end()
    assert (code, errors) == (0, "")
    assert one.damage() == []


def test_a_call_that_finds_no_memory_raises_nothing_and_says_so(victim: Callable[..., Victim]) -> None:
    one = victim(
        TRAIN.replace("range(100)", "range(101)")
        + MEMORY
        + """
run.log(big, step=120)
run.update_config(big)
tell("returned")
del big
log(run, "a", 120)
"""
    )
    code, _, errors = one.end()
    assert code == 0, errors
    assert one.said("returned")
    assert "MemoryError" in errors
    assert one.damage() == []


@pytest.fixture
def small_cgroup() -> str:
    """A memory cgroup (v1 or v2) of 300 MB, which only root can make."""
    for base, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        folder = base / f"autotrack-test-{os.getpid()}"
        if (base / limit.replace("max", "stat")).exists() or (base / limit).exists():
            folder.mkdir()
            (folder / limit).write_text(str(300 << 20))
            return str(folder)
    raise AssertionError("this proof needs a memory cgroup")


@pytest.mark.proof
def test_the_oom_killer_costs_nothing(victim: Callable[..., Victim], small_cgroup: str) -> None:
    one = victim(
        f"open('{small_cgroup}/cgroup.procs', 'w').write(str(os.getpid()))\n"
        + TRAIN
        + """
hoard, step = [], 100
while True:
    log(run, "a", step)
    hoard.append(bytearray(os.urandom(1 << 20)))
    step += 1
"""
    )
    assert one.end()[0] == -signal.SIGKILL
    assert one.damage(killed=True) == []
    assert len(one.said("m")) > 300
    assert statuses(one.store)["run"] == "died"
    time.sleep(0.2)
    os.rmdir(small_cgroup)
