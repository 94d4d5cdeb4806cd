"""`log_model`: which checkpoints of a run are stored, and when they are dropped again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import autotrack
from autotrack import saves, sealing
from autotrack.errors import CheckpointNotFound
from autotrack.testing import only_run

pytestmark = pytest.mark.usefixtures("store")
SCORES = (0.9, 0.5, 0.7, 0.8, 0.6)


def train(
    folder: Path, log_model: str | bool | None = None, limit: int | None = None, pause: bool = False
) -> None:
    """A training that saves five checkpoints and rotates all but the `limit` newest away, as integrations tell of it."""
    folder.mkdir(exist_ok=True)
    paths: list[Path] = []
    with autotrack.init(project="p", log_model=log_model) as run:
        for step, score in enumerate(SCORES):
            path = folder / f"step-{step}.bin"
            path.write_bytes(os.urandom(50_000))
            run.log_checkpoint(path, step=step, score=score, monitor="loss", mode="min")
            paths.append(path)
            if pause:
                sealing.wait(sealing.LONGEST_WAIT)
            while limit is not None and len(paths) > limit:
                saves.going(run, paths[0])
                paths[0].unlink()
                saves.removed(run, paths.pop(0), "rotation", by="test")


def stored() -> list[tuple[int | None, str | None]]:
    return [(one.step, one.stored) for one in only_run().checkpoints if one.stored]


def taken(store: Path) -> int:
    places = [store / "objects" / name for name in ("packs", "kept")]
    return sum(path.stat().st_size for place in places for path in place.rglob("*") if path.is_file())


def test_auto_copies_nothing_that_is_there(store: Path, tmp_path: Path) -> None:
    train(tmp_path / "ck")
    assert stored() == []
    assert taken(store) == 0
    assert [(one.best, one.last) for one in only_run().checkpoints] == [
        (False, False),
        (True, False),
        (False, False),
        (False, False),
        (False, True),
    ]


def test_auto_keeps_the_best_one_that_rotation_takes_without_writing_a_byte(
    store: Path, tmp_path: Path
) -> None:
    train(tmp_path / "ck", limit=2)
    assert stored() == [(1, "linked")]
    best = next(one for one in only_run().checkpoints if one.best)
    assert autotrack.checkpoints.get(f"{best.run}:best").read_bytes()
    assert taken(store) < 55_000
    with pytest.raises(CheckpointNotFound, match="rotation"):
        autotrack.checkpoints.get(f"{best.run}:step=0")


@pytest.mark.parametrize("limit", [None, 1])
def test_true_stores_the_best_and_the_last_and_frees_the_others(
    store: Path, tmp_path: Path, limit: int | None
) -> None:
    train(tmp_path / "ck", True, limit)
    assert [step for step, _ in stored()] == [1, 4]
    assert taken(store) < 2 * 55_000
    shutil.rmtree(tmp_path / "ck")
    run = only_run().id
    for which, step in (("best", 1), ("last", 4), ("loss", 1)):
        assert autotrack.checkpoints.get(f"{run}:{which}").name == f"step-{step}.bin"


@pytest.mark.parametrize("limit", [None, 1])
def test_all_stores_every_one(tmp_path: Path, limit: int | None) -> None:
    train(tmp_path / "ck", "all", limit)
    assert [step for step, _ in stored()] == [0, 1, 2, 3, 4]
    assert autotrack.checkpoints.verify() == {}


@pytest.mark.parametrize("log_model", [True, "all"])
def test_the_end_of_a_run_waits_for_the_storing_of_what_has_not_been_read_yet(
    log_model: str | bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "LONGEST_WAIT", 0.0)  # as if reading took longer than that
    path = tmp_path / "model.bin"
    path.write_bytes(os.urandom(20_000_000))
    with autotrack.init(project="p", log_model=log_model) as run:
        run.log_checkpoint(path)
    path.unlink()
    assert stored() == [(None, "packed")]


def test_false_stores_none(store: Path, tmp_path: Path) -> None:
    train(tmp_path / "ck", False, limit=1)
    assert stored() == []
    assert taken(store) == 0


def test_the_environment_says_it_where_the_code_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTRACK_LOG_MODEL", "all")
    train(tmp_path / "ck")
    assert len(stored()) == 5


def test_a_word_that_is_none_is_warned_of_and_auto_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.warns(autotrack.AutotrackWarning, match="'sometimes'"):
        train(tmp_path / "ck", "sometimes")
    monkeypatch.setenv("AUTOTRACK_LOG_MODEL", "often")
    with pytest.warns(autotrack.AutotrackWarning, match="'often'"):
        train(tmp_path / "ck")


def test_children_have_the_policy_of_their_parent(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x" * 100)
    with autotrack.init(project="p", log_model="all") as run:
        run.child("inner").log_checkpoint(tmp_path / "model.bin")
    [child] = [one for one in autotrack.runs() if one.parent]
    assert [one.stored for one in child.checkpoints] == ["packed"]


def test_a_budget_that_is_full_stores_nothing_and_says_so(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTRACK_BUDGET", "120kB")
    with pytest.warns(autotrack.AutotrackWarning, match="AUTOTRACK_BUDGET"):
        train(tmp_path / "ck", "all")
    assert len(stored()) == 2
    assert taken(store) < 120 * 1024
    assert {one.unstored is not None for one in only_run().checkpoints[2:]} == {True}
    assert len(list((tmp_path / "ck").iterdir())) == 5


def test_where_no_link_can_be_had_the_best_and_last_are_stored(tmp_path: Path) -> None:
    """/dev/shm is another file system than that of the store."""
    folder = Path("/dev/shm") / f"autotrack-{os.getpid()}"
    try:
        train(folder, limit=1, pause=True)
    finally:
        shutil.rmtree(folder)
    assert [step for step, _ in stored()] == [1, 4]
    assert {how for _, how in stored()} == {"packed"}


def test_a_damaged_save_is_told_at_once_and_is_never_the_best(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    path.write_bytes(b"PK\x03\x04 and no more")
    with (
        pytest.warns(autotrack.AutotrackWarning, match="is damaged"),
        autotrack.init(project="p", log_model=True) as run,
    ):
        run.log_checkpoint(path, score=0.1, monitor="loss", mode="min")
    [one] = only_run().checkpoints
    assert (one.state, one.best, one.stored) == ("damaged", False, None)
    with pytest.raises(CheckpointNotFound, match="whole"):
        autotrack.checkpoints.get(run.id)


def test_what_was_announced_and_stayed_is_not_linked(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"x" * 1000)
    with autotrack.init(project="p") as run:
        run.log_checkpoint(path, score=1.0, monitor="loss", mode="min")
        saves.going(run, path)
        assert path.stat().st_nlink == 2
        saves.stayed(run, path)
        assert path.stat().st_nlink == 1
    assert taken(store) == 0


REFUSED = """
import os, resource, signal, sys
from pathlib import Path
import autotrack
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
path.write_bytes(os.urandom(3_000_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
with autotrack.init(project="p", log_model=True) as run:
    run.log_checkpoint(path, step=1)
    run.log({"loss": 0.5}, step=2)
print("trained on")
"""


def test_a_disk_that_refuses_the_store_leaves_the_training_and_its_file_alone(
    store: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, str(tmp_path / "model.bin")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "trained on\n"
    assert "is not stored" in done.stderr
    run = only_run()
    [one] = run.checkpoints
    assert (run.status, run.summary["loss"]) == ("finished", 0.5)
    assert (one.state, one.stored, one.unstored) == ("sealed", None, "File too large")
    assert (tmp_path / "model.bin").stat().st_size == 3_000_000
    assert [path.name for path in (store / "objects").rglob("*") if path.suffix in (".tmp", ".pack")] == []
    assert autotrack.checkpoints.get(run.id) == tmp_path / "model.bin"


DROPPED = """
import os, sys
from pathlib import Path
import autotrack
from autotrack import sealing
from autotrack.objects.keep import Kept
drop = Kept.drop
def killed(self, run, save):
    drop(self, run, save)
    os.kill(os.getpid(), 9)
Kept.drop = killed
with autotrack.init(project="p", log_model=True) as run:
    for step, score in enumerate((0.5, 0.4)):
        Path(sys.argv[1], f"{step}.bin").write_bytes(os.urandom(1000))
        run.log_checkpoint(Path(sys.argv[1], f"{step}.bin"), step=step, score=score, monitor="loss", mode="min")
        sealing.wait(60)
"""


def test_what_the_record_calls_stored_is_stored_though_the_process_died_as_it_was_dropped(
    tmp_path: Path,
) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", DROPPED, str(tmp_path)], check=False)
    assert done.returncode == -9
    first, second = only_run().checkpoints
    assert (first.stored, first.unstored, second.unstored) == (None, "superseded", None)
