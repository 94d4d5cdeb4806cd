"""Which run a training belongs to, without any framework."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import autotrack
from autotrack import background
from autotrack.errors import AutotrackWarning
from autotrack.options import Options
from autotrack.training import Training, begin_training, in_training


def begin(name: str = "fit", nested: str = "child", framework: str = "frame") -> Training | None:
    assert nested in ("child", "ignore")
    if nested == "child":
        return begin_training(framework, name=name, config={"depth": 3}, options=Options(), nested="child")
    return begin_training(framework, name=name, config={"depth": 3}, options=Options(), nested="ignore")


def test_a_training_alone_is_a_run_of_its_own(store: Path) -> None:
    training = begin()
    assert training is not None
    assert in_training()
    training.run.log({"loss": 0.5})
    training.finish()
    (run,) = autotrack.runs()
    assert (run.name, run.framework, run.status, run.opened_by) == ("fit", "frame", "finished", "training")
    assert run.config == {"depth": 3}
    assert not in_training()
    assert autotrack.active_run() is None


def test_the_first_training_in_an_open_run_is_that_run_and_the_next_ones_are_children(store: Path) -> None:
    run = autotrack.init(project="p", name="mine", config={"lr": 0.1})
    for place in range(3):
        training = begin(f"fit {place}")
        assert training is not None
        training.run.log({"loss": float(place)}, step=0)
        training.finish()
    assert autotrack.active_run() is run
    run.finish()
    record = autotrack.get_run(run.id)
    assert (record.name, record.framework, record.status) == ("mine", "frame", "finished")
    assert record.config == {"lr": 0.1, "depth": 3}
    assert record.summary == {"loss": 0.0}
    assert [child.name for child in record.children] == ["fit 1", "fit 2"]
    assert [child.summary["loss"] for child in record.children] == [1.0, 2.0]


def test_what_a_training_asks_for_and_does_not_get_is_told_once(store: Path) -> None:
    options = Options(project="theirs", name="best", group="sweep", tags=("t",))
    with autotrack.init(project="p", name="mine") as run:
        with pytest.warns(AutotrackWarning) as told:
            first = begin_training("frame", name="fit", config=None, options=options, nested="child")
        assert first is not None
        first.finish()
        assert [str(one.message).partition(" ")[2][:16] for one in told] == [
            "project='theirs'",
            "name='best' of t",
            "group='sweep' of",
        ]
        second = begin_training("frame", name="fit", config=None, options=options, nested="child")
        assert second is not None
        second.finish()
    record = autotrack.get_run(run.id)
    assert (record.project, record.name, record.group, record.tags) == ("p", "mine", None, ["t"])
    (child,) = record.children
    assert (child.project, child.name, child.group, child.tags) == ("p", "best", "sweep", ["t"])


def test_a_nested_training_is_a_child_or_nothing(store: Path) -> None:
    outer = begin("outer")
    assert outer is not None
    assert begin("inner", nested="ignore") is None
    inner = begin("inner")
    assert inner is not None
    assert inner.run.parent == outer.run.id
    inner.finish()
    assert autotrack.active_run() is outer.run
    outer.finish()


def test_trainings_in_threads_of_the_user_are_runs_of_their_own(store: Path) -> None:
    barrier = threading.Barrier(3)

    def work() -> None:
        training = begin()
        barrier.wait()
        assert training is not None
        training.finish()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.parent for run in autotrack.runs()] == [None, None, None]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no"), "failed"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(0), "finished"),
        (SystemExit(4), "failed"),
    ],
)
def test_the_exception_that_ended_a_training_decides_its_status(
    store: Path, error: BaseException, status: str
) -> None:
    training = begin()
    assert training is not None
    training.finish(error)
    training.finish()
    assert [run.status for run in autotrack.runs()] == [status]


def test_a_failed_training_leaves_the_users_run_open(store: Path) -> None:
    run = autotrack.init(project="p")
    training = begin()
    assert training is not None
    training.finish(ValueError("no"))
    run.log({"after": 1.0})
    run.finish()
    assert autotrack.get_run(run.id).status == "finished"
    assert autotrack.get_run(run.id).summary["after"] == 1.0


def test_nothing_is_recorded_inside_disabled_and_blocks_nest(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with autotrack.disabled():
        with autotrack.disabled():
            assert begin() is None
        assert begin() is None
    monkeypatch.setenv("AUTOTRACK_MODE", "disabled")
    assert begin() is None
    monkeypatch.delenv("AUTOTRACK_MODE")
    training = begin()
    assert training is not None
    training.finish()
    assert len(autotrack.runs()) == 1


def test_a_failed_fits_record_names_the_line_of_the_script_that_called_it(store: Path) -> None:
    from sklearn.linear_model import LinearRegression

    autotrack.sklearn.autolog()
    try:
        with pytest.raises(ValueError, match="inconsistent") as caught:
            LinearRegression().fit([[1], [2], [3]], [1, 2])  # the script's line
    finally:
        autotrack.autolog(disable=True)
    (run,) = autotrack.runs()
    assert "# the script's line" in run.error["traceback"]
    assert "in fit" in run.error["traceback"]
    assert "observed" not in [frame.name for frame in caught.traceback]


def test_a_training_of_a_moment_is_described_all_the_same_and_leaves_no_mark(store: Path) -> None:
    training = begin("one")
    assert training is not None
    training.finish()
    assert background.drain(60)
    run = autotrack.get_run(training.run.id)
    assert {each["what"] for each in run.capture_report} >= {"command", "python", "git", "packages"}
    assert list((store / "open").iterdir()) == []


SYNCED = """
import atexit, os, sys, time
from autotrack import background, session
from autotrack.options import Options
from autotrack.training import begin_training
synced, fsync = [], os.fsync
def noted(fd):
    synced.append(os.readlink(f"/proc/self/fd/{fd}"))
    fsync(fd)
os.fsync = noted
atexit.register(lambda: print(*synced, sep="\\n"))
session.TICK_SECONDS = float(sys.argv[1])
training = begin_training("frame", name="fit", config={}, options=Options(), nested="child")
path = str(training.run.own_journal.path)
training.finish()
if session.TICK_SECONDS < 1:
    until = time.monotonic() + 10
    while path not in synced and time.monotonic() < until:
        time.sleep(0.01)
print(path)
"""


@pytest.mark.parametrize("tick", ["0.05", "60"])
def test_the_end_of_a_training_is_brought_to_the_disk_soon_or_when_the_process_ends(
    store: Path, tick: str
) -> None:
    command = [sys.executable, "-c", SYNCED, tick]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    path, *synced = done.stdout.split()
    assert path in synced


def test_a_training_that_goes_on_is_marked_and_described_while_it_does(store: Path) -> None:
    training = begin("one")
    assert training is not None
    until = time.monotonic() + 30
    while not _is_described(training.run.id) and time.monotonic() < until:
        time.sleep(0.02)
    assert [mark.name for mark in (store / "open").iterdir()] == [training.run.id]
    training.finish()
    assert background.drain(60)
    reports = [each["what"] for each in autotrack.get_run(training.run.id).capture_report]
    assert len(reports) == len(set(reports))


def _is_described(run_id: str) -> bool:
    """Whether the last of the providers has reported."""
    return any(each["what"] == "packages" for each in autotrack.get_run(run_id).capture_report)
