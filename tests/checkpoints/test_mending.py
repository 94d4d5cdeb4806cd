"""What a process that died has left half done is brought to its end by whoever looks for the checkpoint."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import autotrack
from autotrack.errors import CheckpointNotFound
from autotrack.objects.keep import Kept

KILLED = """
import os, sys
from pathlib import Path
import autotrack
from autotrack import saves, sealing
folder, how = Path(sys.argv[1]), sys.argv[2]
if how == "unread":
    sealing._work = lambda *_: None
with autotrack.init(project="p") as run:
    for step in range(2):
        path = folder / f"{step}.bin"
        path.write_bytes(bytes([step]) * 1000)
        run.log_checkpoint(path, step=step, score=step, monitor="loss", mode="min")
        if how != "unread":
            sealing.wait(60)
    if how == "linked":
        saves.going(run, folder / "0.bin")
        (folder / "0.bin").unlink()
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def killed(store: Path, tmp_path: Path) -> Callable[[str], str]:
    """A training that was killed after two saves, the first of them the best: before they were read, or as rotation had deleted one."""

    def run(how: str) -> str:
        done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), how], check=False)
        assert done.returncode == -signal.SIGKILL
        [one] = autotrack.runs()
        return one.id

    return run


def states(run: str) -> list[str]:
    return [one.state for one in autotrack.get_run(run).checkpoints]


def test_what_was_linked_by_a_process_that_died_is_offered_at_once(killed: Callable[[str], str]) -> None:
    run = killed("linked")
    assert autotrack.checkpoints.get(f"{run}:best").read_bytes() == bytes(1000)
    assert states(run) == ["stored", "sealed"]
    assert autotrack.checkpoints.verify() == {}


def test_what_a_process_did_not_live_to_read_is_read_by_who_asks_for_it(
    killed: Callable[[str], str], tmp_path: Path
) -> None:
    run = killed("unread")
    assert states(run) == ["written", "written"]
    assert autotrack.checkpoints.resume(run) == tmp_path / "1.bin"
    assert states(run) == ["written", "sealed"]
    assert autotrack.checkpoints.get(f"{run}:best") == tmp_path / "0.bin"
    assert autotrack.checkpoints.register("model", f"{run}:step=0").number == 1
    assert states(run) == ["sealed", "sealed"]


@pytest.mark.parametrize("how", ["shorter", "later"])
def test_what_was_changed_since_nobody_had_read_it_is_not_offered(
    killed: Callable[[str], str], tmp_path: Path, how: str
) -> None:
    run = killed("unread")
    for step in range(2):
        path = tmp_path / f"{step}.bin"
        path.write_bytes(b"x" * (10 if how == "shorter" else 1000))
        os.utime(path, (time.time() + (60 if how == "later" else -60),) * 2)
    with pytest.raises(CheckpointNotFound):
        autotrack.checkpoints.resume(run)
    with pytest.raises(CheckpointNotFound, match="read to its end"):
        autotrack.checkpoints.get(f"{run}:best")


def test_what_a_process_that_died_saved_damaged_is_found_out(
    store: Path, tmp_path: Path, killed: Callable[[str], str]
) -> None:
    run = killed("unread")
    [_, last] = autotrack.get_run(run).checkpoints
    later = os.stat(last.path).st_mtime
    (tmp_path / "1.bin").write_bytes(b"PK\x03\x04" + bytes(996))
    os.utime(tmp_path / "1.bin", (later, later))
    assert autotrack.checkpoints.resume(run) == tmp_path / "0.bin"
    assert states(run) == ["sealed", "damaged"]


def test_a_run_that_goes_on_reads_its_saves_itself(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autotrack.sealing, "_work", lambda *_: None)
    (tmp_path / "model.bin").write_bytes(b"x" * 100)
    run = autotrack.init(project="p")
    run.log_checkpoint(tmp_path / "model.bin")
    with pytest.raises(CheckpointNotFound):
        autotrack.checkpoints.get(run.id)
    assert states(run.id) == ["written"]


def test_a_link_beside_what_is_in_packs_is_freed(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"x" * 10_000)
    with autotrack.init(project="p", log_model="all") as run:
        run.log_checkpoint(path, step=1)
    [one] = autotrack.get_run(run.id).checkpoints
    kept = Kept(store / "objects")
    beside = kept.beside(run.id, str(one.id))
    beside.mkdir()
    os.link(path, beside / "model.bin")
    assert autotrack.checkpoints.gc().freed["left behind by processes that died"] == 10_000
    autotrack.checkpoints.gc(apply=True)
    assert not beside.exists()
    path.unlink()
    assert autotrack.checkpoints.get(run.id).read_bytes() == b"x" * 10_000


def test_gc_frees_what_a_killed_run_had_not_come_to_drop(store: Path, tmp_path: Path) -> None:
    """Of a run that stores the best and the last, what is neither goes; of one that stores all, nothing."""
    for policy, left in ((True, [0, 2]), ("all", [0, 1, 2])):
        with autotrack.init(project="p", log_model="all") as run:
            for step in range(3):
                path = tmp_path / f"{step}.bin"
                path.write_bytes(os.urandom(1000))
                run.log_checkpoint(path, step=step, score=step, monitor="loss", mode="min")
            autotrack.sealing.wait(60)
            run.log_model = policy
            assert run.retention is not None
            for one in list(run.retention._here.values()):
                run.retention._tell(one, "packed", 0)
        autotrack.checkpoints.gc(apply=True)
        assert [one.step for one in autotrack.get_run(run.id).checkpoints if one.stored] == left
