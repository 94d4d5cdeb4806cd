"""When runs are sampled, and what is written of it, in processes of their own."""

import json
from itertools import pairwise
from typing import Any

import pytest

from autotrack.sampler.sampler import interval_of_age

OPEN = """
import sys, time, autotrack
from autotrack import background
run = autotrack.init(project="p")
"""
BOARD = json.dumps(
    [{"uuid": "GPU-1", "utilization": 50, "memory": [1, 4], "milliwatts": 1000, "temperature": 30}]
)


def test_a_run_is_sampled_from_its_first_second_on(script: Any) -> None:
    script(OPEN + "time.sleep(2.3)\nrun.finish()", AUTOTRACK_INTERVAL="0.4")
    moments = [line[2] / 1e9 for line in script.events("s")]
    start = script.events("start")[0][2] / 1e9
    assert moments[0] - start >= 1.0
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert 3 <= len(moments) <= 5
    assert all(gap > 0.15 for gap in gaps)
    assert {"system/cpu", "system/memory", "system/process.cpu", "system/process.rss"} <= set(
        script.samples()[-1]
    )
    assert all(key.startswith("system/") for values in script.samples() for key in values)


def test_the_report_says_what_is_read_and_why_there_are_no_gpus(script: Any) -> None:
    script(OPEN + "time.sleep(1.3)", BOARDS="[]", NVML_INIT="9")
    (report,) = script.reports()
    assert report["status"] == "captured"
    assert report["facts"]["interval"] == 5.0
    assert "DriverNotLoaded" in report["facts"]["gpu_why"]


def test_a_short_run_is_not_sampled(script: Any) -> None:
    script(OPEN + "run.finish()\nbackground.drain(60)\ntime.sleep(1.2)", AUTOTRACK_INTERVAL="0.1")
    assert script.samples() == []


def test_the_counters_are_looked_up_only_when_the_first_sample_is_due(script: Any) -> None:
    source = """
import sys, time
from autotrack import session
from autotrack.sampler import start
class Quick:
    id, is_root, last_logged, own_journal, opened_by = "a", True, 0, None, "training"
    def event(self, kind, body): pass
    def waiting(self): return False
    def end_with_process(self, *rest): pass
run = Quick()
session.register(run)
handle = start(run)
time.sleep(0.7)
print('autotrack.sampler.host' in sys.modules)
time.sleep(0.8)
print('autotrack.sampler.host' in sys.modules)
"""
    assert script(source).split() == ["False", "True"]


def test_a_thousand_short_runs_cost_next_to_nothing(script: Any) -> None:
    source = """
import sys, time
from autotrack import background, session
from autotrack.sampler import start
class Quick:
    is_root, last_logged = True, 0
    def __init__(self, id): self.id = id
    def event(self, kind, body): raise AssertionError(kind)
begun = time.thread_time()
for number in range(1000):
    run = Quick(str(number))
    session._open.append(run)
    handle = start(run)
    session._open.remove(run)
    handle.stop()
print((time.thread_time() - begun) / 1000)
print(len(background._state["helper"]._tasks) + len(background._state["helper"].jobs))
time.sleep(1.3)
print('psutil' in sys.modules)
"""
    cost, tasks, imported = script(source).split()
    assert float(cost) < 200e-6
    assert int(tasks) <= 2
    assert imported == "False"


def test_all_open_runs_get_the_samples_and_a_finished_one_no_more(script: Any) -> None:
    source = """
import time, autotrack
first, second = autotrack.init(project="p", name="first"), autotrack.init(project="p", name="second")
time.sleep(1.6)
first.finish()
time.sleep(1)
second.finish()
"""
    script(source, AUTOTRACK_INTERVAL="0.3")
    files = sorted(script.store.glob("runs/p/*/*.jsonl"), key=lambda file: file.stat().st_mtime_ns)
    counts = [sum(line.startswith(b'["s"') for line in file.read_bytes().splitlines()) for file in files]
    assert len(counts) == 2
    assert 1 <= counts[0] < counts[1]


@pytest.mark.parametrize(("seconds", "extra"), [("1.5", 1), ("3", 0)])
def test_a_last_sample_is_taken_of_a_run_that_outlasted_its_interval(
    script: Any, seconds: str, extra: int
) -> None:
    script(OPEN + "time.sleep(2.3)\nrun.finish()", AUTOTRACK_INTERVAL=seconds)
    assert len(script.samples()) == 1 + extra


def test_it_can_be_switched_off_and_the_report_says_so(script: Any) -> None:
    script(OPEN + "time.sleep(1.3)", AUTOTRACK_SYSTEM="0", AUTOTRACK_INTERVAL="0.2")
    assert script.samples() == []
    assert script.reports() == [
        {"what": "system", "status": "skipped", "why": "AUTOTRACK_SYSTEM=0", "ms": 0.0, "facts": {}}
    ]


@pytest.mark.parametrize("word", ["soon", "0", "-3", "nan", "inf"])
def test_an_interval_that_is_none_is_warned_of(script: Any, word: str) -> None:
    script(OPEN + "time.sleep(1.3)", AUTOTRACK_INTERVAL=word, AUTOTRACK_SILENT="1")
    assert script.reports()[0]["facts"]["interval"] == 5.0
    (warning,) = [line[3] for line in script.events("warning") if line[3]["slug"] == "interval"]
    assert repr(word) in warning["message"]


def test_long_runs_are_sampled_less_often_unless_the_user_chose_an_interval() -> None:
    assert [interval_of_age(age, None) for age in (0.0, 6 * 3600 - 1.0, 6 * 3600.0)] == [5.0, 5.0, 30.0]
    assert interval_of_age(1e6, 2.0) == 2.0


def test_a_forked_child_samples_nothing(script: Any) -> None:
    source = (
        OPEN
        + """
import os
time.sleep(1.2)
child = os.fork()
if not child:
    run.log({"a": 1})
    time.sleep(1.5)
    os._exit(0)
os.waitpid(child, 0)
run.finish()
"""
    )
    script(source, AUTOTRACK_INTERVAL="0.3")
    files = list(script.store.glob("runs/p/*/*.jsonl"))
    sampled = [b'["s"' in file.read_bytes() for file in files]
    assert sorted(sampled) == [False, True]


@pytest.mark.parametrize("ending", ["run.finish()", ""])
def test_nvml_is_opened_once_and_shut_down_at_the_end(script: Any, ending: str) -> None:
    source = (
        OPEN + "time.sleep(1.3)\nrun.finish()\nrun = autotrack.init(project='p')\ntime.sleep(1.6)\n" + ending
    )
    script(source, BOARDS=BOARD, AUTOTRACK_INTERVAL="0.5")
    assert script.notes.read_text().split() == ["init", "shutdown"]
    assert all(values["system/gpu.0.utilization"] == 50 for values in script.samples())
    assert script.reports()[0]["facts"]["gpus"] == [0]
