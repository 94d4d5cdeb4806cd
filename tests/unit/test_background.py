"""The helper thread: order, errors, tasks that return, and waiting that holds nothing up."""

import importlib
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autotrack import background, guard, sealing


def until(happened: Callable[[], bool]) -> None:
    last = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < last
        time.sleep(0.01)


def test_jobs_run_in_order_off_the_calling_thread() -> None:
    seen: list[tuple[int, str]] = []
    for place in range(5):
        background.submit(lambda place=place: seen.append((place, threading.current_thread().name)))
    assert background.drain(60)
    assert seen == [(place, "autotrack") for place in range(5)]


def test_a_job_that_fails_ends_neither_the_thread_nor_the_next_jobs() -> None:
    guard.STRICT["on"] = False
    seen: list[int] = []
    background.submit(lambda: 1 / 0)
    background.submit(lambda: seen.append(1))
    assert background.drain(60)
    assert seen == [1]


def test_a_task_comes_again_until_it_is_cancelled() -> None:
    seen: list[float] = []
    task = background.every(0.01, lambda: seen.append(time.monotonic()))
    time.sleep(0.3)
    task.cancel()
    assert background.drain(60)
    count = len(seen)
    assert count >= 5
    time.sleep(0.05)
    assert len(seen) == count


def test_what_is_wanted_soon_is_called_whether_or_not_the_thread_rests() -> None:
    called: set[tuple[int, int]] = set()

    def want_one(thread: int, place: int) -> None:
        def once() -> None:
            called.add((thread, place))
            task.cancel()

        task = background.soon(once)

    def want(thread: int) -> None:
        for place in range(300):
            want_one(thread, place)
            time.sleep(0.15 if place % 100 == 0 else 0.0005)  # between some of them the thread goes to rest

    threads = [threading.Thread(target=want, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: len(called) == 4 * 300)


def test_tasks_go_on_while_a_job_waits_for_something_outside() -> None:
    seen: list[float] = []
    task = background.every(0.01, lambda: seen.append(time.monotonic()))
    background.submit(background.idle, 0.3)
    assert background.drain(60)
    task.cancel()
    assert len(seen) >= 5


def test_however_many_long_jobs_wait_they_are_done_beside_and_not_inside_of_each_other() -> None:
    depths: list[int] = []

    def long_job() -> None:
        background.breathe()
        depths.append(len(inspect.stack(0)))
        background.breathe()

    free = threading.Event()
    background.submit(free.wait, 5)
    for _ in range(1500):
        background.submit(long_job)
    free.set()
    until(lambda: len(depths) == 1500)
    assert max(depths) < min(depths) + 15


def test_hundreds_of_checkpoints_that_wait_to_be_stored_are_stored_while_other_jobs_pass() -> None:
    done: list[str] = []
    free = threading.Event()
    background.submit(free.wait, 5)
    for number in range(1500):
        sealing.store_later(lambda number=number: done.append(f"stored {number}"))
        background.submit(done.append, "other")
    free.set()
    until(lambda: len(done) == 3000)
    assert [text for text in done if text != "other"] == [f"stored {number}" for number in range(1500)]
    assert done.count("other") == 1500
    assert done.index("other") < 3


def test_what_is_to_be_stored_is_done_once_and_in_its_turn_whatever_comes_meanwhile() -> None:
    done: list[int] = []

    def store(number: int) -> None:
        sealing.pace()  # lets the jobs behind this one pass
        done.append(number)

    for number in range(5000):
        sealing.store_later(lambda number=number: store(number))
    sealing.wait(30)
    assert done == list(range(5000))


def test_what_is_behind_a_job_that_fails_is_stored_all_the_same() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("the disk is gone")

    guard.STRICT["on"] = False
    free = threading.Event()
    background.submit(free.wait, 5)
    sealing.store_later(fail)
    sealing.store_later(lambda: done.append(1))
    free.set()
    sealing.wait(60)
    assert done == [1]


def test_what_is_held_back_reaches_the_thread_at_the_end_of_the_outermost_block_in_its_order() -> None:
    seen: list[int] = []
    with background.held():
        background.submit(seen.append, 1)
        with background.held():
            background.submit(seen.append, 2)
        elsewhere = threading.Thread(target=background.submit, args=(seen.append, 0))
        elsewhere.start()
        elsewhere.join()
        until(lambda: bool(seen))
        time.sleep(0.05)
        assert seen == [0]
    assert background.drain(60)
    assert seen == [0, 1, 2]


def test_who_waits_for_the_thread_inside_of_a_block_waits_for_what_it_held_back_too() -> None:
    seen: list[int] = []
    with background.held():
        background.submit(seen.append, 1)
        assert background.drain(60)
        assert seen == [1]
        background.submit(seen.append, 2)
    assert background.drain(60)
    assert seen == [1, 2]


def test_a_child_that_is_forked_inside_of_a_block_does_not_do_what_its_parent_will_do() -> None:
    seen: list[int] = []
    with background.held():
        background.submit(seen.append, 1)
        pid = os.fork()
    assert background.drain(60)
    if pid == 0:
        os._exit(len(seen))
    assert os.waitpid(pid, 0)[1] == 0
    assert seen == [1]


def test_a_forked_child_has_a_thread_of_its_own() -> None:
    background.submit(time.sleep, 0)
    assert background.drain(60)
    pid = os.fork()
    if pid == 0:
        done = threading.Event()
        background.submit(done.set)
        os._exit(0 if done.wait(60) else 1)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize("inside", [True, False])
def test_drain_from_the_helper_thread_itself_does_not_hang(inside: bool) -> None:
    answers: list[bool] = []
    if inside:
        background.submit(lambda: answers.append(background.drain(60)))
    assert background.drain(60)
    assert len(answers) == inside


def test_a_job_that_comes_while_the_interpreter_ends_is_done_at_once_and_holds_nothing_up() -> None:
    code = """
from autotrack import background
class Late:
    def __del__(self, submit=background.submit, write=__import__("os").write):
        submit(write, 1, b"late")
background.submit(len, "")
late = Late()
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30)
    assert (found.returncode, found.stdout, found.stderr) == (0, b"late", b"")


def test_a_fork_is_not_warned_of_because_of_us_and_tasks_go_on_after_it() -> None:
    """Python 3.12 and later warn of a fork while the process has threads. Another library's threads would hide ours."""
    code = """
import os, time, warnings
warnings.simplefilter("error")
from autotrack import background
seen = []
background.every(0.01, lambda: seen.append(1))
for _ in range(20):
    time.sleep(0.005)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
count = len(seen)
time.sleep(0.2)
assert len(seen) > count, "the task ended with the fork"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_waits_for_a_module_that_the_helper_thread_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = tmp_path / "begun"
    (tmp_path / "slow_to_import.py").write_text(
        f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(0.7)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    background.submit(importlib.import_module, "slow_to_import")
    until(begun.exists)
    child = os.fork()
    if child == 0:
        importlib.import_module("slow_to_import")
        os._exit(7)
    last, ended, status = time.monotonic() + 30, 0, 0
    while not ended and time.monotonic() < last:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert (ended, os.waitstatus_to_exitcode(status)) == (child, 7)
