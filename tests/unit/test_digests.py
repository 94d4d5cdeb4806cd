"""The digests of saved checkpoints: of the bytes that were saved, taken behind the training."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import autotrack
from autotrack import background, sealing
from autotrack.digests import digest_of, look_at
from autotrack.resuming import origin_of
from autotrack.testing import only_run

pytestmark = pytest.mark.usefixtures("store")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_saved_file_is_known_by_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(os.urandom(3_000_000))
    with autotrack.init(project="p") as run:
        run.log_checkpoint(file, step=1)
    [one] = only_run().checkpoints
    assert one.digest == sha256(file.read_bytes())


def test_a_folder_is_known_by_a_listing_that_sha256sum_can_check(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-5"
    (folder / "optimizer").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * 70)
    (folder / "optimizer" / "state.pt").write_bytes(b"y" * 30)
    (folder / "Zeta").write_bytes(b"")
    with autotrack.init(project="p") as run:
        run.log_checkpoint(folder)
    listing = subprocess.run(
        "find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum",
        shell=True,
        cwd=folder,
        capture_output=True,
        check=True,
    ).stdout
    [one] = only_run().checkpoints
    assert (one.digest, one.files) == (sha256(listing), 3)


def test_no_save_gets_the_digest_of_what_took_its_place(tmp_path: Path) -> None:
    file = tmp_path / "last.pt"
    contents = [bytes([number]) * 500_000 for number in range(50)]
    with autotrack.init(project="p") as run:
        for step, content in enumerate(contents):
            file.write_bytes(content)
            run.log_checkpoint(file, step=step)
            if step % 10 == 0:
                sealing.wait(60)
    found = only_run().checkpoints
    assert len(found) == 50
    for one, content in zip(found, contents, strict=True):
        assert one.digest in (None, sha256(content))
    assert [one.digest is not None for one in found[::10]] == [True] * 5
    assert found[-1].digest == sha256(contents[-1])


def test_what_changes_while_it_is_read_has_no_digest(tmp_path: Path) -> None:
    file = tmp_path / "big.pt"
    file.write_bytes(bytes(20 * 1024 * 1024))
    look = look_at(str(file))

    def overwrite() -> None:
        with open(file, "r+b") as target:
            target.write(b"changed")

    assert digest_of(str(file), look, pace=overwrite) is None
    assert digest_of(str(file), look_at(str(file))) == sha256(file.read_bytes())


def test_a_checkpoint_that_is_no_plain_file_is_noted_without_being_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with autotrack.init(project="p") as run:
        run.log_checkpoint(tmp_path / "pipe")
    assert [one.digest for one in only_run().checkpoints] == [None]


def test_a_long_reading_lets_the_journal_be_synced_and_metrics_be_read(tmp_path: Path) -> None:
    file = tmp_path / "big.pt"
    file.write_bytes(bytes(64 * 1024 * 1024))
    passed: list[int] = []

    def read() -> None:
        digest_of(
            str(file), look_at(str(file)), pace=lambda: (background.breathe(), passed.append(len(done)))
        )

    done: list[None] = []
    background.submit(read)
    background.submit(done.append, None)
    assert background.drain(60)
    while len(passed) < 4:
        time.sleep(0.01)
    assert passed == [1, 1, 1, 1]


def test_a_moved_checkpoint_is_found_by_its_content(tmp_path: Path) -> None:
    file, folder = tmp_path / "a.ckpt", tmp_path / "checkpoint-7"
    file.write_bytes(os.urandom(10_000))
    (folder / "part").mkdir(parents=True)
    (folder / "part" / "model").write_bytes(os.urandom(20_000))
    with autotrack.init(project="p") as run:
        run.log_checkpoint(file, step=3)
        run.log_checkpoint(folder, step=7)
    moved = shutil.move(file, tmp_path / "elsewhere.ckpt")
    copied = shutil.copytree(folder, tmp_path / "copy")
    other = tmp_path / "other.ckpt"
    other.write_bytes(os.urandom(10_000))
    assert [
        (one.run, one.step) for one in (origin_of(run.layout, each) for each in (moved, copied, other))
    ] == [
        (run.id, 3),
        (run.id, 7),
        (None, None),
    ]
    assert origin_of(run.layout, moved).digest == sha256(moved.read_bytes())


def test_the_end_of_a_run_waits_a_moment_for_what_was_saved_last(tmp_path: Path) -> None:
    big, more = tmp_path / "big.pt", tmp_path / "more.pt"
    for file, size in ((big, 50_000_000), (more, 10)):
        file.touch()
        os.truncate(file, size)
    with autotrack.init(project="p") as run:
        run.log_checkpoint(big)
        run.log_checkpoint(more)
    assert [one.digest for one in only_run().checkpoints] == [sha256(bytes(50_000_000)), sha256(bytes(10))]


def test_a_fork_behind_a_save_reads_nothing_twice(tmp_path: Path) -> None:
    script = """
import os, sys, autotrack
open("a.pt", "wb").write(os.urandom(60_000_000))
with autotrack.init(project="p") as run:
    run.log_checkpoint("a.pt")
    child = os.fork()
    if not child:
        run.log({"x": 1})
        os._exit(0)
    os.waitpid(child, 0)
    autotrack.background.drain(60)
"""
    script = script.replace("import os, sys, autotrack", "import os, autotrack, autotrack.background")
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    run = only_run()
    assert len(run.checkpoints) == 1
    text = b"".join(path.read_bytes() for path in Path(run.dir).glob("*.jsonl"))
    assert text.count(b'"digested"') <= 1


def test_the_exit_waits_a_moment_for_the_checkpoint_of_a_training_that_has_ended(tmp_path: Path) -> None:
    script = """
import os
from autotrack.saves import saved
from autotrack.options import Options
from autotrack.training import begin_training
training = begin_training("mine", name=None, config=None, options=Options(), nested="child")
open("a.pt", "wb").close()
os.truncate("a.pt", 50_000_000)
saved(training.run, "a.pt")
training.finish()
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    assert [one.digest for one in only_run().checkpoints] == [sha256(bytes(50_000_000))]
