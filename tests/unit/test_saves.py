"""What a run notes of the checkpoints that it writes, and what is read back of that."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from python_process import answer

import autotrack
from autotrack import saves
from autotrack.errors import AutotrackWarning


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("store")
def test_each_save_of_a_path_is_a_checkpoint_of_its_own(here: Path) -> None:
    file = here / "last.pt"
    with autotrack.init(project="p") as run:
        file.write_bytes(b"1" * 1000)
        run.log_checkpoint(
            "last.pt", step=3, epoch=0.5, score=np.float32(0.5), monitor="acc", metrics={"f1": 1}
        )
        file.write_bytes(b"2" * 2000)
        run.log_checkpoint(file, step=np.int64(4), score=math.nan)
    first, second = autotrack.get_run(run.id).checkpoints
    assert (first.path, first.step, first.epoch, first.score, first.monitor) == (
        str(file),
        3,
        0.5,
        0.5,
        "acc",
    )
    assert (first.size, first.metrics, first.state, first.by) == (1000, {"f1": 1}, "overwritten", "user")
    assert (second.size, second.step, second.state, second.gone) == (2000, 4, "sealed", None)
    assert math.isnan(second.score or 0.0)
    assert first.gone == second.saved > first.saved


@pytest.mark.usefixtures("store")
def test_a_folder_is_one_checkpoint_with_the_size_of_its_files(here: Path) -> None:
    folder = here / "checkpoint-5"
    (folder / "optimizer").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * 70)
    (folder / "optimizer" / "state.pt").write_bytes(b"x" * 30)
    with autotrack.init(project="p") as run:
        run.log_checkpoint(folder)
        run.log_checkpoint("s3://bucket/checkpoint-5", step=5)
    local, remote = run.checkpoints
    assert (local.size, local.files, local.step) == (100, 2, None)
    assert (remote.path, remote.size, remote.step) == ("s3://bucket/checkpoint-5", None, 5)


@pytest.mark.usefixtures("store")
def test_what_was_linked_and_removed_is_told_of_the_save(here: Path) -> None:
    (here / "a.ckpt").write_bytes(b"a")
    (here / "b").mkdir()
    (here / "b" / "part").write_bytes(b"b")
    with autotrack.init(project="p") as run:
        saves.saved(run, "a.ckpt", step=1, by="ModelCheckpoint")
        saves.linked(run, "last.ckpt", "a.ckpt", by="ModelCheckpoint")
        saves.saved(run, "b/part", step=2, by="ModelCheckpoint")
        assert [one.links for one in run.checkpoints] == [(str(here / "last.ckpt"),), ()]
        saves.removed(run, "a.ckpt", "rotation", by="ModelCheckpoint")
        saves.linked(run, "last.ckpt", "b/part", by="ModelCheckpoint")
        saves.removed(run, "b", "cleanup", by="user")
        saves.removed(run, "never seen", "rotation", by="user")
    first, second = run.checkpoints
    assert (first.state, first.why, first.links) == ("removed", "rotation", ())
    assert (second.state, second.why, second.links) == ("removed", "cleanup", (str(here / "last.ckpt"),))
    assert first.gone is not None
    assert second.gone is not None
    assert first.gone < second.gone


@pytest.mark.usefixtures("store", "here")
@pytest.mark.parametrize(
    ("path", "more", "says"),
    [("gone.pt", {}, "No such file"), (7, {}, "7"), ("here.pt", {"score": "high"}, "'high'")],
)
def test_what_cannot_be_noted_is_warned_of_and_costs_nothing_else(
    path: Any, more: dict[str, Any], says: str
) -> None:
    Path("here.pt").write_bytes(b"x")
    with autotrack.init(project="p") as run:
        with pytest.warns(AutotrackWarning, match=says):
            run.log_checkpoint(path, **more)
        run.log_checkpoint("here.pt")
    assert [one.path for one in run.checkpoints] == [str(Path("here.pt").absolute())]


@pytest.mark.parametrize(
    ("before", "given", "is_loaded"),
    [
        ("", "", False),
        ("sys.modules['torch'] = sys", "", True),
        ("", "log_model='all'", True),
        ("", "log_model=False", False),
    ],
)
def test_what_a_save_needs_is_loaded_behind_the_training_where_one_is_to_be_expected(
    store: Path, before: str, given: str, is_loaded: bool
) -> None:
    code = f"""
import sys, autotrack
{before}
from autotrack import background
run = autotrack.init({given})
background.drain(60)
print("autotrack.objects.keep" in sys.modules, "autotrack.keeping" in sys.modules)
"""
    assert answer(code).split() == [str(is_loaded)] * 2


@pytest.mark.usefixtures("store")
def test_of_the_same_score_the_first_is_the_best_as_long_as_it_is_there(here: Path) -> None:
    with autotrack.init(project="p", log_model=True) as run:
        for number in range(3):
            (here / f"{number}.pt").write_bytes(bytes([number]) * 100)
            run.log_checkpoint(f"{number}.pt", score=0.5, monitor="acc", mode="max")
    found = autotrack.get_run(run.id).checkpoints
    assert [(one.best, one.state) for one in found] == [
        (True, "stored"),
        (False, "sealed"),
        (False, "stored"),
    ]
    with autotrack.init(project="p", log_model=False) as run:
        for number in range(2):
            (here / "same.pt").write_bytes(bytes([number]) * 100)
            run.log_checkpoint("same.pt", score=0.5, monitor="acc", mode="max")
    assert [one.best for one in autotrack.get_run(run.id).checkpoints] == [False, True]


@pytest.mark.usefixtures("store")
def test_a_part_of_a_folder_is_a_checkpoint_of_these_files_alone(here: Path) -> None:
    folder = here / "out"
    (folder / "inner").mkdir(parents=True)
    (folder / "old.txt").write_text("before")
    (folder / "again.txt").write_text("before")
    with autotrack.init(project="p") as run:
        written = saves.Written(folder, without="checkpoint-")
        (folder / "again.txt").write_text("now")
        (folder / "inner" / "new.txt").write_text("now")
        part, overwrites = written.part()
        saves.saved(run, folder, part=part, overwrites=overwrites)
        (folder / "later.txt").write_text("behind")
    (found,) = autotrack.get_run(run.id).checkpoints
    assert (part.names, overwrites) == (("again.txt", "inner/new.txt"), True)
    assert (found.names, found.files, found.size, found.state) == (part.names, 2, 6, "sealed")
    assert autotrack.checkpoints.get(f"{run.id}:last") == folder
    (folder / "again.txt").write_text("changed")
    with pytest.raises(autotrack.AutotrackError, match="nowhere"):
        autotrack.checkpoints.get(f"{run.id}:last")
