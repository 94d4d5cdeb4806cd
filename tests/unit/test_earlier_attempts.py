"""What takes whose place among the checkpoints of a run: a newer one only once it is known to be whole, also over several attempts."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import autotrack
from autotrack import saves, sealing
from autotrack.run import Run
from autotrack.testing import only_run

pytestmark = pytest.mark.usefixtures("store")

ATTEMPT = """
import os, sys, time
from pathlib import Path
import autotrack
from autotrack import saves, sealing
folder, policy, first, pause = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "pause"
scores = [float(word) for word in sys.argv[5].split()]
run = autotrack.init(project="p", id="same", log_model={"true": True}.get(policy, policy))
if pause:
    from autotrack import background
    (run.retention or saves.retention_of(run)) and background.drain(60)
for step, score in enumerate(scores, first):
    path = folder / f"{step}.bin"
    path.write_bytes(bytes([step]) * 30_000)
    run.log_checkpoint(path, step=step, score=score, monitor="loss", mode="min")
    if pause:
        sealing.wait(60)
    for old in sorted(folder.glob("*.bin"), key=lambda one: int(one.stem))[:-2]:
        saves.going(run, old)
        old.unlink()
        saves.removed(run, old, "rotation", by="test")
sealing.wait(60)
if len(sys.argv) > 6:
    os.kill(os.getpid(), 9)
run.finish()
"""


def attempt(
    folder: Path, policy: str, first: int, scores: str, pause: bool = True, kill: bool = False
) -> None:
    """An attempt of the run that saves a checkpoint for each score, and rotates all but the two newest away."""
    folder.mkdir(exist_ok=True)
    words = [str(folder), policy, str(first), "pause" if pause else "-", scores, *(["kill"] if kill else [])]
    done = subprocess.run([sys.executable, "-c", ATTEMPT, *words], check=False)
    assert done.returncode == (-signal.SIGKILL if kill else 0)


def stored() -> list[int | None]:
    return [one.step for one in only_run().checkpoints if one.stored]


def log(run: Run, path: Path, score: float, data: bytes) -> None:
    path.write_bytes(data)
    run.log_checkpoint(path, step=int(path.stem), score=score, monitor="loss", mode="min")
    sealing.wait(60)


def rotate(run: Run, path: Path) -> None:
    saves.going(run, path)
    path.unlink()
    saves.removed(run, path, "rotation", by="test")
    sealing.wait(60)


def test_a_folder_that_is_linked_before_it_was_read_is_kept_however_its_files_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tmpfs lists the newest file first, so the links stand in another order than the files."""
    place = Path("/dev/shm") / f"autotrack-order-{os.getpid()}"
    folder = place / "checkpoint-1"
    folder.mkdir(parents=True)
    monkeypatch.setenv("AUTOTRACK_DIR", str(place / ".autotrack"))
    try:
        for name in ("c", "a", "d", "b"):
            (folder / name).write_bytes(name.encode() * 100)
        with autotrack.init(project="p") as run:
            with monkeypatch.context() as patched:
                patched.setattr(sealing, "_work", lambda *_: None)
                run.log_checkpoint(folder, step=1)
                saves.going(run, folder)
                shutil.rmtree(folder)
            saves.removed(run, folder, "rotation", by="test")
        assert [one.stored for one in only_run().checkpoints] == ["linked"]
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("policy", ["auto", True])
def test_a_best_one_that_turns_out_to_be_damaged_takes_nobodys_place(
    store: Path, tmp_path: Path, policy: str | bool
) -> None:
    with autotrack.init(project="p", log_model=policy) as run:
        log(run, tmp_path / "1.bin", 0.5, b"x" * 1000)
        with pytest.warns(autotrack.AutotrackWarning, match="is damaged"):
            log(run, tmp_path / "2.bin", 0.1, b"PK\x03\x04 and no more")
        rotate(run, tmp_path / "1.bin")
        log(run, tmp_path / "3.bin", 0.7, b"y" * 1000)
    assert 1 in stored()
    assert autotrack.checkpoints.get(f"{run.id}:best").read_bytes() == b"x" * 1000


def test_the_best_stays_until_the_next_best_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with autotrack.init(project="p", log_model=True) as run:
        log(run, tmp_path / "1.bin", 0.5, b"x" * 1000)
        assert stored() == [1]
        work = sealing._work
        monkeypatch.setattr(sealing, "_work", lambda *_: None)
        monkeypatch.setattr(sealing, "LONGEST_WAIT", 0.5)
        monkeypatch.setattr(sealing, "_LONGEST_SILENCE", 0.5)
        log(run, tmp_path / "2.bin", 0.1, b"y" * 1000)
        assert stored() == [1]
        monkeypatch.setattr(sealing, "_work", work)
        log(run, tmp_path / "3.bin", 0.2, b"z" * 1000)
    assert stored() == [2, 3]


@pytest.mark.parametrize("pause", [True, False])
@pytest.mark.parametrize("kill", [True, False])
def test_the_best_of_an_earlier_attempt_is_kept_when_rotation_takes_it(
    tmp_path: Path, pause: bool, kill: bool
) -> None:
    attempt(tmp_path / "ck", "auto", 1, "0.5 0.2", kill=kill)
    attempt(tmp_path / "ck", "auto", 3, "0.4 0.6 0.3", pause)
    run = only_run()
    assert (run.attempts, stored()) == (2, [2])
    assert autotrack.checkpoints.get(f"{run.id}:best").read_bytes() == bytes([2]) * 30_000


def test_the_best_of_an_earlier_attempt_goes_when_a_better_one_is_there(store: Path, tmp_path: Path) -> None:
    attempt(tmp_path / "ck", "auto", 1, "0.2 0.5 0.6")
    assert stored() == [1]
    attempt(tmp_path / "ck", "auto", 4, "0.1 0.3")
    assert stored() == []
    assert list((store / "objects").rglob("*.bin")) == []


@pytest.mark.parametrize("pause", [True, False])
def test_the_best_and_the_last_of_both_attempts_are_stored(store: Path, tmp_path: Path, pause: bool) -> None:
    attempt(tmp_path / "ck", "true", 1, "0.2 0.5 0.6", pause, kill=True)
    assert {1, 3} <= set(stored())
    attempt(tmp_path / "ck", "true", 4, "0.4 0.3", pause)
    assert stored() == [1, 5]
    attempt(tmp_path / "ck", "true", 6, "0.1 0.3", pause)
    assert stored() == [6, 7]
    taken = sum(path.stat().st_size for path in (store / "objects" / "packs").glob("*.pack"))
    assert taken < 2 * 31_000


def test_what_an_earlier_attempt_stored_as_one_of_all_stays(tmp_path: Path) -> None:
    attempt(tmp_path / "ck", "all", 1, "0.5 0.4 0.3")
    attempt(tmp_path / "ck", "true", 4, "0.1 0.2")
    assert set(stored()) >= {1, 2, 4, 5}


def test_what_an_attempt_did_not_live_to_read_is_read_by_the_next(tmp_path: Path) -> None:
    head = "from autotrack import sealing\nsealing._work = lambda *_: None\nsealing.wait = lambda seconds: None\n"
    (tmp_path / "ck").mkdir()
    words = [str(tmp_path / "ck"), "auto", "1", "-", "0.2 0.5", "kill"]
    done = subprocess.run([sys.executable, "-c", head + ATTEMPT, *words], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [one.state for one in only_run().checkpoints] == ["written", "written"]
    attempt(tmp_path / "ck", "auto", 3, "0.4 0.6 0.3")
    assert stored() == [1]


def test_a_path_that_is_saved_to_again_holds_what_was_saved_last(tmp_path: Path) -> None:
    attempt(tmp_path / "ck", "true", 1, "0.2")
    attempt(tmp_path / "ck", "true", 1, "0.3")
    run = only_run()
    assert [one.state for one in run.checkpoints] == ["stored", "stored"]
    os.unlink(tmp_path / "ck" / "1.bin")
    assert autotrack.checkpoints.get(f"{run.id}:best").read_bytes() == bytes([1]) * 30_000
