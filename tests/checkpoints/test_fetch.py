"""A checkpoint is got back byte for byte as it was saved, or not at all."""

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import autotrack
from autotrack import checkpoints
from autotrack.errors import CheckpointNotFound, NotWhole
from autotrack.testing import close_runs

Train = Callable[..., str]


def test_it_is_where_the_training_put_it(train: Train, tmp_path: Path) -> None:
    run = train(0.5, stored=True)
    assert checkpoints.get(run) == tmp_path / "run" / "step1.pt"


@pytest.mark.parametrize("how", ["gone", "changed", "damaged", "replaced by a folder"])
def test_it_is_rebuilt_where_that_is_not_so_any_more(train: Train, tmp_path: Path, how: str) -> None:
    run = train(0.5, stored=True)
    path = tmp_path / "run" / "step1.pt"
    saved = path.read_bytes()
    if how in ("gone", "replaced by a folder"):
        path.unlink()
    if how == "replaced by a folder":
        path.mkdir()
    if how == "changed":
        path.write_bytes(b"another training's")
    if how == "damaged":
        with open(path, "r+b") as file:
            file.seek(len(saved) // 2)
            file.write(b"\x00\x01\x02\x03")
    got = checkpoints.get(run)
    assert got != path
    assert got.read_bytes() == saved
    assert stat.S_IMODE(got.stat().st_mode) == 0o600
    assert checkpoints.get(run) == got
    got.write_bytes(b"somebody wrote to the copy")
    assert checkpoints.get(run).read_bytes() == saved


def test_a_folder_is_got_back_with_all_of_its_files(
    store: Path, save: Callable[..., Path], tmp_path: Path
) -> None:
    folder = save(1, "checkpoint-5/deep/model.pt").parents[1]
    (folder / "small").write_bytes(b"x")
    (folder / "config.json").write_bytes(b"{}")
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with autotrack.init(project="p", log_model="all") as run:
        run.log_checkpoint(folder)
    copy = checkpoints.get(run.id, to=tmp_path / "copy")
    shutil.rmtree(folder)
    for got in (copy, checkpoints.get(run.id), checkpoints.get(run.id, to=tmp_path / "again")):
        assert {path.name: path.read_bytes() for path in got.rglob("*") if path.is_file()} == before
        assert (got / "deep" / "model.pt").is_file()


@pytest.mark.parametrize("gone", [False, True], ids=["copied", "rebuilt"])
def test_a_copy_is_put_where_it_is_wanted(train: Train, tmp_path: Path, gone: bool) -> None:
    run = train(0.5, stored=True)
    saved = (tmp_path / "run" / "step1.pt").read_bytes()
    if gone:
        (tmp_path / "run" / "step1.pt").unlink()
    (tmp_path / "folder").mkdir()
    assert checkpoints.get(run, to=tmp_path / "folder") == tmp_path / "folder" / "step1.pt"
    assert checkpoints.get(run, to=tmp_path / "new" / "m.pt") == tmp_path / "new" / "m.pt"
    for path in ("folder/step1.pt", "new/m.pt"):
        assert (tmp_path / path).read_bytes() == saved
        (tmp_path / path).write_bytes(b"mine")
        with pytest.raises(FileExistsError):
            checkpoints.get(run, to=tmp_path / path)
        assert (tmp_path / path).read_bytes() == b"mine"
    assert len(list((tmp_path / "folder").iterdir())) == len(list((tmp_path / "new").iterdir())) == 1


def test_of_what_a_later_run_has_saved_over_that_run_is_named(train: Train) -> None:
    first, second = train(0.5, seed=1), train(0.5, seed=2)
    with pytest.raises(
        CheckpointNotFound, match=rf"the run {second} has saved to .*step1.pt since.*not stored"
    ):
        checkpoints.get(first)


def test_what_is_nowhere_is_told_with_the_reason(train: Train, save: Callable[..., Path]) -> None:
    run = train(0.5, gone=True)
    with pytest.raises(CheckpointNotFound, match=r"step1.pt is gone or was changed since.*not stored"):
        checkpoints.get(run)
    path = save(1, "twice.pt")
    with autotrack.init(project="p") as again:
        again.log_checkpoint(path, step=1)
        time.sleep(0.05)
        save(2, "twice.pt")
        again.log_checkpoint(path, step=2)
    if checkpoints.list(again.id)[0].is_sealed:
        with pytest.raises(CheckpointNotFound, match="was overwritten"):
            checkpoints.get(f"{again.id}:step=1")


def test_what_was_damaged_when_it_was_saved_is_never_offered(store: Path, save: Callable[..., Path]) -> None:
    path = save(1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    run = autotrack.init(project="p", log_model="all")
    run.log_checkpoint(path)
    with pytest.warns(UserWarning, match="body.weight"):
        close_runs()
    assert checkpoints.list(run.id)[0].state == "damaged"
    for ask in (checkpoints.get, checkpoints.resume):
        with pytest.raises(CheckpointNotFound):
            ask(run.id)


def test_a_damaged_pack_gives_no_file(train: Train, flip: Callable[[], None], tmp_path: Path) -> None:
    run = train(0.5, stored=True, gone=True)
    flip()
    with pytest.raises(NotWhole, match=r"body\.weight"):
        checkpoints.get(run, to=tmp_path / "out" / "model.pt")
    assert list((tmp_path / "out").iterdir()) == []


def test_resume_gives_the_newest_that_is_whole(
    train: Train, flip: Callable[[], None], tmp_path: Path
) -> None:
    run = train(0.5, 0.4, 0.6, stored=True)
    assert checkpoints.resume(run) == tmp_path / "run" / "step3.pt"
    last = (tmp_path / "run" / "step3.pt").read_bytes()
    (tmp_path / "run" / "step3.pt").unlink()
    assert checkpoints.resume(run).read_bytes() == last
    shutil.rmtree(checkpoints.resume(run).parent)
    packs = sorted(
        (tmp_path / "store" / ".autotrack" / "objects" / "packs").glob("*.pack"), key=os.path.getmtime
    )
    packs[-1].unlink()
    assert checkpoints.resume(run) == tmp_path / "run" / "step2.pt"
    shutil.rmtree(tmp_path / "run")
    for pack in packs[:-1]:
        pack.unlink()
    with pytest.raises(CheckpointNotFound, match="no checkpoint that is whole"):
        checkpoints.resume(run)


def test_several_that_ask_at_once_all_get_it(store: Path, save: Callable[..., Path]) -> None:
    folder = save(1, "checkpoint/model.pt").parent
    save(2, "checkpoint/optimizer.pt")
    with autotrack.init(project="p", log_model="all") as run:
        run.log_checkpoint(folder)
    shutil.rmtree(folder)
    script = f"from autotrack import checkpoints\nprint(checkpoints.get({run.id!r}))"
    started = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(3)
    ]
    found = {one.communicate(timeout=60)[0].strip() for one in started}
    assert [one.returncode for one in started] == [0, 0, 0]
    [place] = found
    assert sorted(path.name for path in Path(place).iterdir()) == ["model.pt", "optimizer.pt"]
