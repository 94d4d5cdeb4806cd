"""Reflinks on real file systems that have them (mounted here, which needs root), and what is done where there are none."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import autotrack
from autotrack import saves, sealing
from autotrack.digests import look_at
from autotrack.objects.clone import clone
from autotrack.objects.keep import Kept
from autotrack.objects.recipe import KeptFile
from autotrack.testing import only_run

MODEL = 4_000_000
"""Bytes of what all checkpoints of a series have in common."""


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system with reflinks, of 400 MB, which the store is on."""
    image, place = tmp_path / "image", tmp_path / "disk"
    place.mkdir()
    subprocess.run(["truncate", "-s", "400M", image], check=True)
    subprocess.run([f"mkfs.{request.param}", "-q", image], check=True, stderr=subprocess.DEVNULL)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    monkeypatch.setenv("AUTOTRACK_DIR", str(place / ".autotrack"))
    try:
        yield place
    finally:
        autotrack.testing.close_runs()
        subprocess.run(["umount", "-l", place], check=True)


BOTH = pytest.mark.parametrize("disk", ["btrfs", "xfs"], indirect=True)


def used(disk: Path) -> int:
    os.sync()
    return shutil.disk_usage(disk).used


def model(step: int) -> dict[str, torch.Tensor]:
    """A model of which only the head is trained."""
    body = torch.randn(MODEL // 4, generator=torch.Generator().manual_seed(0))
    return {"body": body, "head": torch.full((100,), float(step))}


@pytest.mark.proof
@BOTH
def test_what_is_stored_takes_no_room_while_the_training_has_it_too(store: Path, disk: Path) -> None:
    paths = [disk / f"{step}.pt" for step in range(5)]
    for step, path in enumerate(paths):
        torch.save(model(step), path)
    before = used(disk)
    with autotrack.init(project="p", log_model="all") as run:
        for step, path in enumerate(paths):
            run.log_checkpoint(path, step=step)
    assert {one.stored for one in only_run().checkpoints} == {"cloned"}
    assert used(disk) - before < MODEL / 2
    whole = [path.read_bytes() for path in paths]
    for path in paths:
        with open(path, "r+b") as file:
            file.write(b"written over in place" * 1000)
    for step, data in enumerate(whole):
        assert autotrack.checkpoints.get(f"{run.id}:step={step}").read_bytes() == data
    assert autotrack.checkpoints.verify() == {}


@pytest.mark.proof
@BOTH
def test_what_rotation_deletes_has_its_tensors_once(store: Path, disk: Path) -> None:
    with autotrack.init(project="p", log_model="all") as run:
        for step in range(5):
            path = disk / f"{step}.pt"
            torch.save(model(step), path)
            run.log_checkpoint(path, step=step)
            sealing.wait(60)
            saves.going(run, path)
            path.unlink()
            saves.removed(run, path, "rotation", by="test")
    assert {one.stored for one in only_run().checkpoints} == {"packed"}
    kept = [path for path in (disk / ".autotrack" / "objects").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in kept) < 1.1 * MODEL
    for step in range(5):
        found = autotrack.checkpoints.load(f"{run.id}:step={step}")
        assert torch.equal(found["head"], model(step)["head"])
        assert torch.equal(found["body"], model(step)["body"])


@pytest.mark.proof
@BOTH
def test_one_path_that_is_written_over_again_and_again_keeps_the_best(store: Path, disk: Path) -> None:
    path = disk / "model.pt"
    with autotrack.init(project="p", log_model=True) as run:
        for step, score in enumerate((0.5, 0.2, 0.4, 0.6)):
            torch.save(model(step), path)
            run.log_checkpoint(path, step=step, score=score, monitor="loss", mode="min")
            sealing.wait(60)
    assert [one.step for one in only_run().checkpoints if one.stored] == [1, 3]
    assert float(autotrack.checkpoints.load(f"{run.id}:best")["head"][0]) == 1.0
    assert autotrack.checkpoints.verify() == {}


@pytest.mark.proof
@BOTH
def test_a_folder_is_cloned_and_what_was_linked_meanwhile_stays(store: Path, disk: Path) -> None:
    folder = disk / "checkpoint-1"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "model.pt").write_bytes(os.urandom(10_000))
    (folder / "state.json").write_text("{}")
    look = look_at(str(folder))
    kept = Kept(disk / "objects")
    kept.link("run", "linked", str(folder), look)
    with pytest.raises(OSError, match=r"not empty|exists"):
        kept.clone("run", "linked", str(folder), look, ())
    kept.clone("run", "cloned", str(folder), look, ())
    with pytest.raises(FileExistsError):
        kept.link("run", "cloned", str(folder), look)
    for save, links in (("linked", 2), ("cloned", 1)):
        there = kept.beside("run", save) / "inner" / "model.pt"
        assert there.read_bytes() == (folder / "inner" / "model.pt").read_bytes()
        assert there.stat().st_nlink == links
    assert sorted(path.name for path in (kept.folder / "run").iterdir()) == [
        "cloned",
        "cloned.json",
        "linked",
    ]


def test_where_there_are_no_reflinks_nothing_is_left_of_the_attempt(tmp_path: Path) -> None:
    """A tmpfs has none."""
    folder = Path("/dev/shm") / f"autotrack-reflink-{os.getpid()}"
    folder.mkdir()
    try:
        path = folder / "model.bin"
        path.write_bytes(b"x" * 1000)
        with pytest.raises(OSError, match=r"not supported|Invalid|Inappropriate"):
            clone(path, folder / "other")
        kept = Kept(folder / "objects")
        with pytest.raises(OSError, match=r"not supported|Invalid|Inappropriate"):
            kept.clone("run", "save", str(path), look_at(str(path)), (KeptFile("", 1000, "", "file", None),))
        assert sorted(one.name for one in folder.rglob("*") if one.is_file()) == ["lock", "model.bin"]
    finally:
        shutil.rmtree(folder)


def test_a_part_of_a_clone_that_a_dead_process_left_is_freed(
    store: Path, tmp_path: Path, save: Callable[..., Path]
) -> None:
    with autotrack.init(project="p", log_model="all") as run:
        run.log_checkpoint(save(1))
    left = store / "objects" / "kept" / run.id / "abc.def.tmp" / "inner"
    left.mkdir(parents=True)
    (left / "part").write_bytes(b"x" * 1000)
    assert autotrack.checkpoints.gc().freed["left behind by processes that died"] == 1000
    assert autotrack.checkpoints.gc(apply=True).problems == []
    assert not left.parent.exists()
