"""However a process ends: what it logged is there, its exit code is its own, and the run says how it ended."""

import os
import signal
import time
from pathlib import Path

import pytest
from python_process import end, start

from autotrack.journal.format import Event, decode

BEGIN = """
import autotrack, os, signal, sys, threading, time
run = autotrack.init(project="p", config={"lr": 0.1})
run.log({"a": 1.0}, step=1)
"""


def events(store: Path, kind: str, role: str = "run") -> list[Event]:
    found: list[Event] = []
    for path in sorted(store.glob("runs/*/*/*.jsonl")):
        decoded = [event for event in map(decode, path.read_bytes().splitlines()) if event is not None]
        if decoded[0].body["role"] == role:
            found += decoded
    return [event for event in found if event.kind == kind]


def test_the_end_of_the_script_finishes_the_run(store: Path, tmp_path: Path) -> None:
    code, _, errors = end(start(BEGIN, tmp_path))
    assert (code, errors) == (0, "")
    assert [event.body["status"] for event in events(store, "finish")] == ["finished"]
    assert not list((store / "open").iterdir())


def test_an_exception_fails_the_run_and_its_traceback_is_pythons(store: Path, tmp_path: Path) -> None:
    code, _, errors = end(start(BEGIN + "{}['missing']\n", tmp_path))
    assert code == 1
    assert (
        errors
        == f"""Traceback (most recent call last):
  File "{tmp_path}/script.py", line 5, in <module>
    {{}}['missing']
    ~~^^^^^^^^^^^
KeyError: 'missing'
"""
    )
    (finish,) = events(store, "finish")
    assert finish.body["status"] == "failed"
    assert finish.body["error"]["type"] == "KeyError"
    assert "{}['missing']" in finish.body["error"]["traceback"]


@pytest.mark.parametrize(
    ("call", "code", "status"),
    [
        ("sys.exit(0)", 0, "finished"),
        ("sys.exit()", 0, "finished"),
        ("sys.exit(3)", 3, "failed"),
        ("sys.exit('no')", 1, "failed"),
    ],
)
def test_sys_exit_keeps_its_code_and_decides_the_status(
    store: Path, tmp_path: Path, call: str, code: int, status: str
) -> None:
    found, _, errors = end(start(BEGIN + call, tmp_path))
    assert found == code
    assert errors == ("no\n" if "no" in call else "")
    (finish,) = events(store, "finish")
    assert (finish.body["status"], finish.body["exit_code"]) == (status, code)


def test_a_sys_exit_that_was_caught_does_not_count(store: Path, tmp_path: Path) -> None:
    code = BEGIN + "try:\n    sys.exit(3)\nexcept SystemExit:\n    run.log({'a': 2.0}, step=2)\n"
    assert end(start(code, tmp_path))[0] == 0
    assert events(store, "finish")[0].body["status"] == "finished"


TRAINING = """
from autotrack.training import Options, begin_training
class SIGTERMException(SystemExit):
    pass
training = begin_training("test", name=None, config=None, options=Options(), nested="child")
try:
    END
except BaseException as error:
    run.log({"last": 1.0}, step=2)
    training.finish(error)
    raise
"""


@pytest.mark.parametrize(
    ("call", "code", "status"),
    [
        ("sys.exit(7)", 7, "failed"),
        ("raise SystemExit(7)", 7, "failed"),
        ("raise SystemExit", 0, "finished"),
        ("raise SIGTERMException", 0, "interrupted"),
    ],
)
def test_an_exit_out_of_a_training_counts_behind_its_last_values(
    store: Path, tmp_path: Path, call: str, code: int, status: str
) -> None:
    found, _, errors = end(start(BEGIN + TRAINING.replace("END", call), tmp_path))
    assert (found, errors) == (code, "")
    (finish,) = events(store, "finish")
    assert (finish.body["status"], finish.body["exit_code"]) == (status, code)


def test_ctrl_c_that_a_framework_made_an_exit_of_is_one(store: Path, tmp_path: Path) -> None:
    code = (
        BEGIN
        + """
from autotrack.training import Options, begin_training
training = begin_training("test", name=None, config=None, options=Options(), nested="child")
try:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        interrupt = error
        run.log({"last": 1.0}, step=2)
        sys.exit(1)
finally:
    training.finish(interrupt)
"""
    )
    assert end(start(code, tmp_path))[0] == 1
    (finish,) = events(store, "finish")
    assert (finish.body["status"], finish.body["exit_code"]) == ("interrupted", 1)
    assert finish.body["error"]["type"] == "KeyboardInterrupt"


def test_os_exit_loses_nothing_and_leaves_no_end(store: Path, tmp_path: Path) -> None:
    assert end(start(BEGIN + "os._exit(5)", tmp_path))[0] == 5
    assert [event.body for event in events(store, "m")] == [{"a": 1.0}]
    assert events(store, "finish") == []


def test_ctrl_c_interrupts_the_run(store: Path, tmp_path: Path) -> None:
    process = start(BEGIN + "print('ready', flush=True)\ntime.sleep(60)\n", tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    code, _, errors = end(process)
    assert code == -signal.SIGINT
    assert errors.endswith("KeyboardInterrupt\n")
    assert events(store, "finish")[0].body["status"] == "interrupted"


def test_sigterm_ends_the_process_at_once_as_without_us(store: Path, tmp_path: Path) -> None:
    process = start(
        BEGIN
        + "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\nprint(flush=True)\ntime.sleep(60)\n",
        tmp_path,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    assert end(process)[0] == -signal.SIGTERM
    assert [event.body for event in events(store, "m")] == [{"a": 1.0}]
    assert events(store, "finish") == []


def test_sigterm_with_the_users_handler_interrupts_the_run(store: Path, tmp_path: Path) -> None:
    code = (
        BEGIN
        + """
def stop(*_):
    os.write(1, b"stopping\\n")  # the signal may come in the middle of a print
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
print(flush=True)
time.sleep(60)
"""
    )
    process = start(code, tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    found, out, _ = end(process)
    assert (found, out) == (143, "stopping\n")
    assert events(store, "finish")[0].body["status"] == "interrupted"


def test_a_forked_child_writes_beside_and_ends_nothing(store: Path, tmp_path: Path) -> None:
    code = (
        BEGIN
        + """
pid = os.fork()
if pid == 0:
    run.log({"child": 1.0}, step=7)
    sys.exit(0)
os.waitpid(pid, 0)
run.log({"a": 2.0}, step=2)
"""
    )
    assert end(start(code, tmp_path))[0] == 0
    assert [event.body for event in events(store, "m")] == [{"a": 1.0}, {"a": 2.0}]
    assert [event.body for event in events(store, "m", role="worker")] == [{"child": 1.0}]
    assert len(events(store, "finish")) == 1
    assert events(store, "finish", role="worker") == []


def test_a_fork_while_other_threads_log_does_not_hang(store: Path, tmp_path: Path) -> None:
    code = (
        BEGIN
        + """
go = True
def work():
    while go:
        run.log({"t": 1.0})
threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
for _ in range(30):
    pid = os.fork()
    if pid == 0:
        run.log({"child": 1.0})
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
go = False
[thread.join() for thread in threads]
"""
    )
    assert end(start(code, tmp_path))[0] == 0
    assert len(events(store, "m", role="worker")) == 30


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_multiprocessing_child_writes_into_its_parents_run(
    store: Path, tmp_path: Path, method: str
) -> None:
    code = f"""
import autotrack, multiprocessing
def work(place):
    autotrack.log({{"worker": float(place)}}, step=place)
if __name__ == "__main__":
    run = autotrack.init(project="p")
    context = multiprocessing.get_context("{method}")
    children = [context.Process(target=work, args=(place,)) for place in range(2)]
    [child.start() for child in children]
    [child.join() for child in children]
"""
    found, _, errors = end(start(code, tmp_path))
    assert (found, errors) == (0, "")
    assert sorted(event.body["worker"] for event in events(store, "m", role="worker")) == [0.0, 1.0]
    assert len({path.parent for path in store.glob("runs/*/*/*.jsonl")}) == 1


def test_what_an_exit_function_logs_is_kept(store: Path, tmp_path: Path) -> None:
    code = "import atexit\natexit.register(lambda: run.log({'last': 1.0}, step=9))\n" + BEGIN
    assert end(start(code, tmp_path))[0] == 0
    assert {"last": 1.0} in [event.body for event in events(store, "m")]


def test_a_signal_handler_that_logs_in_the_middle_of_a_log_does_not_hang(store: Path, tmp_path: Path) -> None:
    code = (
        BEGIN
        + """
signal.signal(signal.SIGALRM, lambda *_: run.log({"alarm": 1.0}))
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
until = time.monotonic() + 1
while time.monotonic() < until:
    run.log({"b": 1.0})
signal.setitimer(signal.ITIMER_REAL, 0)
"""
    )
    assert end(start(code, tmp_path))[0] == 0
    assert sum("alarm" in event.body for event in events(store, "m")) > 10


def test_a_kill_leaves_every_logged_value(store: Path, tmp_path: Path) -> None:
    process = start(
        BEGIN + "for i in range(10**9):\n    run.log({'i': i}, step=i)\n    os.write(1, b'%d\\n' % i)\n",
        tmp_path,
    )
    assert process.stdout is not None
    for _ in range(500):
        process.stdout.readline()
    time.sleep(0.05)
    process.kill()
    out, _ = process.communicate()
    acknowledged = 500 + out.count(b"\n")
    kept = {event.step: event.body["i"] for event in events(store, "m") if "i" in event.body}
    assert all(kept[step] == step for step in range(acknowledged))
    assert os.listdir(store / "open")


def test_a_rank_above_zero_writes_beside_under_its_prefix(store: Path, tmp_path: Path) -> None:
    code = """
import autotrack, os, subprocess, sys
if "RANK" in os.environ:
    autotrack.log({"loss": 2.0}, step=3)
else:
    run = autotrack.init(project="p")
    run.log({"loss": 1.0}, step=3)
    subprocess.run([sys.executable, __file__], env=dict(os.environ, RANK="1"), check=True)
"""
    found, _, errors = end(start(code, tmp_path))
    assert (found, errors) == (0, "")
    assert [event.body for event in events(store, "m")] == [{"loss": 1.0}]
    assert [event.body for event in events(store, "m", role="worker")] == [{"rank.1/loss": 2.0}]


def test_another_program_started_by_it_is_a_child_run(store: Path, tmp_path: Path) -> None:
    code = """
import autotrack, os, subprocess, sys
run = autotrack.init(project="p", name="driver" if len(sys.argv) == 1 else "trial")
if len(sys.argv) == 1:
    subprocess.run([sys.executable, __file__, "trial"], check=True)
"""
    assert end(start(code, tmp_path))[0] == 0
    driver, trial = sorted(events(store, "start"), key=lambda event: event.body["name"])
    assert driver.body["parent"] is None
    assert (store / "runs" / "p" / trial.body["parent"]).is_dir()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_init_in_a_worker_of_an_open_run_attaches_to_it(store: Path, tmp_path: Path, method: str) -> None:
    code = f"""
import autotrack, multiprocessing
def work(place):
    with autotrack.init(project="other", name="worker") as run:
        run.log({{"worker": float(place)}}, step=place)
if __name__ == "__main__":
    run = autotrack.init(project="p", name="mine")
    child = multiprocessing.get_context("{method}").Process(target=work, args=(1,))
    child.start()
    child.join()
"""
    found, _, errors = end(start(code, tmp_path))
    assert (found, errors) == (0, "")
    assert [event.body["worker"] for event in events(store, "m", role="worker")] == [1.0]
    assert events(store, "edit", role="worker") == events(store, "finish", role="worker") == []
    assert len(events(store, "finish")) == 1
    assert [path.name for path in (store / "runs").iterdir()] == ["p"]
