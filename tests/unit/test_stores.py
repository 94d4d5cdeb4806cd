"""Stores that cannot be used, or not any more: the training goes on, and what was recorded before is there."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import autotrack
from autotrack import AutotrackWarning
from autotrack.errors import StoreError
from autotrack.journal.format import decode
from autotrack.layout import Layout, decode_project, encode_project, find_store, new_run_id


def values(folder: Path) -> list[dict[str, float]]:
    """The metrics of a folder with one journal; a line that only lacked its newline may stand there twice."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    events = {event.seq: event for event in map(decode, lines) if event is not None and event.kind == "m"}
    return [events[seq].body for seq in sorted(events)]


def wait_for(condition: object, seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert callable(condition)
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("not within the time")


def test_the_store_is_the_nearest_one_upwards_else_at_the_git_root_else_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUTOTRACK_DIR", raising=False)
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    assert find_store(deep) == deep / ".autotrack"
    (tmp_path / "a" / ".git").mkdir()
    assert find_store(deep) == tmp_path / "a" / ".autotrack"
    (tmp_path / "a" / "b" / ".autotrack").mkdir()
    assert find_store(deep) == tmp_path / "a" / "b" / ".autotrack"
    monkeypatch.setenv("AUTOTRACK_DIR", str(tmp_path / "given"))
    assert find_store(deep) == tmp_path / "given"


@pytest.mark.parametrize("project", ["", "a/b", "..", ".", "ü", "%41", "a b", "\x00", "\ud800"])
def test_a_projects_folder_name_gives_the_project_back(project: str) -> None:
    folder = encode_project(project)
    assert decode_project(folder) == project
    assert "/" not in folder
    assert not folder.startswith(".")


def test_run_ids_do_not_repeat_and_leave_the_random_states_alone() -> None:
    import random

    before = random.getstate()
    assert len({new_run_id() for _ in range(10_000)}) == 10_000
    assert random.getstate() == before


def test_a_store_that_is_a_file_moves_the_run_to_the_fallback(store: Path, tmp_path: Path) -> None:
    store.parent.mkdir(parents=True)
    store.write_text("mine")
    with pytest.warns(AutotrackWarning, match="is a file.*AUTOTRACK_DIR.*recorded in"):
        run = autotrack.init(project="p")
    run.log({"a": 1.0})
    assert values(run.dir) == [{"a": 1.0}]
    assert run.dir.is_relative_to(tmp_path / "state")
    assert store.read_text() == "mine"


def test_a_store_below_a_file_is_named_clearly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        Layout(tmp_path / "file" / "x" / ".autotrack").create()


WITHOUT_RIGHTS = """
import os
import autotrack, autotrack.opening, autotrack.face, autotrack.capture.base, autotrack.sampler, traceback
autotrack.init
if os.geteuid() == 0:  # root may write everywhere: become nobody
    os.setgid(65534); os.setuid(65534)
run = autotrack.init(project="p")
run.log({"a": 1.0})
run.finish()
print(run.dir)
"""


@pytest.mark.parametrize("mode", [0o555, 0o500])
def test_a_store_without_rights_moves_the_run_to_the_fallback(store: Path, tmp_path: Path, mode: int) -> None:
    Layout(store).create()
    for folder in (store / "runs", store / "open", store):
        folder.chmod(mode)
    other = tmp_path / "other"
    other.mkdir()
    other.chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder.name.startswith(("pytest", "popen", "test_")):
            folder.chmod(folder.stat().st_mode | 0o055)
    environment = dict(os.environ, XDG_STATE_HOME=str(other), HOME=str(other))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RIGHTS],
        env=environment,
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    for folder in (store, store / "runs", store / "open"):
        folder.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert "is recorded in" in done.stderr
    assert values(Path(done.stdout.strip())) == [{"a": 1.0}]


def test_a_folder_that_vanishes_is_made_again(store: Path) -> None:
    run = autotrack.init(project="p")
    run.log({"before": 1.0})
    shutil.rmtree(run.dir)
    run.log({"gone": 1.0})
    with pytest.warns(AutotrackWarning, match="was deleted"):
        run.own_journal.tick()
    run.log({"later": 1.0})
    run.finish()
    assert {"later": 1.0} in values(run.dir)


ON_A_SMALL_DISK = """
import resource, sys, time, warnings
import autotrack
run = autotrack.init(project="p")
run.log({"i": 0}, step=0)
time.sleep(1.5)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
size = max(path.stat().st_size for path in run.dir.iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, hard))
worst = 0.0
for step in range(1, 2000):
    started = time.perf_counter()
    run.log({"i": step}, step=step)
    worst = max(worst, time.perf_counter() - started)
print(run.waiting(), worst)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
until = time.monotonic() + 10
while run.waiting() and time.monotonic() < until:
    time.sleep(0.01)
print(run.waiting())
run.log({"i": 2000}, step=2000)
run.finish()
print(run.dir)
"""


def test_a_disk_that_refuses_for_a_while_loses_nothing(store: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ON_A_SMALL_DISK], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "kept in memory" in done.stderr
    while_full, after, folder = done.stdout.splitlines()
    assert (while_full.split()[0], after) == ("True", "False")
    assert sorted(value["i"] for value in values(Path(folder))) == list(range(2001))
