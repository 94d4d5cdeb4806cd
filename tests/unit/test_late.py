"""What arrives after its run has ended."""

import os
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

import autotrack
from autotrack import background, late
from autotrack.errors import AutotrackWarning
from autotrack.late import event_late, log_late
from autotrack.verify import verify


def ended(**options: Any) -> Any:
    with autotrack.init(project="p", **options) as run:
        run.log({"loss": 1.0}, step=0)
    return run


def test_many_late_values_take_one_more_file(store: Path) -> None:
    run = ended()
    before = len(list(run.dir.iterdir()))
    assert autotrack.get_run(run.id).summary == {"loss": 1.0}
    for step in range(300):
        log_late(run, {"test/acc": step / 300}, step)
    assert len(list(run.dir.iterdir())) == before + 1
    record = autotrack.get_run(run.id)
    assert record.history("test/acc")["test/acc"].steps.tolist() == list(range(300))
    assert record.status == "finished"
    log_late(run, {"test/acc": 2.0}, 300)
    assert autotrack.get_run(run.id).summary["test/acc"] == 2.0
    late._close_all()
    log_late(run, {"test/acc": 3.0}, 301)
    assert autotrack.get_run(run.id).summary["test/acc"] == 3.0
    assert verify(store).findings == []


def test_late_values_of_many_runs_hold_few_files_open(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "_MOST", 3)
    late._close_all()
    runs = [ended() for _ in range(8)]
    for run in runs:
        log_late(run, {"test/acc": 0.5}, 1)
    assert background.drain(100)
    assert len(late._open) <= 3
    links = [f"/proc/self/fd/{one}" for one in os.listdir("/proc/self/fd")]
    files = [os.readlink(link) for link in links if os.path.lexists(link)]
    folders = {str(run.dir): sum(file.startswith(str(run.dir)) for file in files) for run in runs}
    assert sum(folders[path] for path in list(folders)[:5]) <= 5  # each run's own file rests a moment
    assert [one.summary["test/acc"] for one in autotrack.runs()] == [0.5] * 8


def test_what_nobody_uses_is_closed_and_a_deleted_run_stays_deleted(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ended()
    log_late(run, {"test/acc": 0.5}, 1)
    shutil.rmtree(run.dir)
    late._serve()
    assert not run.dir.exists()
    assert late._open
    monkeypatch.setattr(late, "_UNUSED_SECONDS", 0.0)
    time.sleep(0.01)
    late._serve()
    assert not late._open
    assert not run.dir.exists()


def test_a_folder_that_refuses_late_values_costs_none(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTRACK_FALLBACK", str(tmp_path / "fallback"))
    run = ended()
    elsewhere = run.dir.rename(tmp_path / "moved")
    run.dir.write_text("a file in the way")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AutotrackWarning)
        log_late(run, {"test/acc": 0.5}, 1)
        event_late(run, "input", {"path": "/x", "digest": None, "size": None, "role": "data"})
        late._close_all()
    run.dir.unlink()
    elsewhere.rename(run.dir)
    (lost,) = (tmp_path / "fallback").glob("runs/*/*/*.jsonl")
    assert b'"test/acc":0.5' in lost.read_bytes()
    assert b'"input"' in lost.read_bytes()
