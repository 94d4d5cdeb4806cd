"""Processes that are killed while they store, name and free checkpoints: nothing stored is lost, nothing half-done is given out."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import autotrack
from autotrack.errors import AutotrackError
from autotrack.objects.keep import Kept
from autotrack.objects.rebuild import Shelf
from autotrack.registry.chain import check_chains

Record = Callable[[str, object], None]

SAVING = """
import hashlib, os, sys, zipfile
from pathlib import Path
import autotrack
from autotrack import saves, sealing
folder, policy, seed = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
known = os.open(folder / "known", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_SYNC)
before = []
with autotrack.init(project="p", log_model={"true": True}.get(policy, policy)) as run:
    print("ready", flush=True)
    for step in range(10_000):
        path = folder / f"{seed}-{step}.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("m/data.pkl", b"\\x80\\x02.")
            archive.writestr("m/data/0", os.urandom(3000))
            archive.writestr("m/data/1", b"same" * 5000)
        os.write(known, f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path}\\n".encode())
        run.log_checkpoint(path, step=step, score=(step * 7919) % 101, monitor="loss", mode="min")
        before.append(path)
        if len(before) > 2:
            saves.going(run, before[0])
            before[0].unlink()
            saves.removed(run, before.pop(0), "rotation", by="test")
"""
NAMING = """
import os, sys
from pathlib import Path
import autotrack
folder, seed = Path(sys.argv[1]), sys.argv[2]
known = os.open(folder / "named", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_SYNC)
print("ready", flush=True)
for number in range(10_000):
    path = folder / f"{seed}-{number}.bin"
    path.write_bytes(os.urandom(5000))
    version = autotrack.checkpoints.register("model", path)
    os.write(known, f"{version.number} {version.digest}\\n".encode())
    path.unlink()
    autotrack.checkpoints.promote("model", "production", why=str(number))
"""
FREEING = """
import autotrack
print("ready", flush=True)
while True:
    autotrack.checkpoints.gc(last=3, apply=True)
"""


def start(code: str, *words: object) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, words)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def is_sound(store: Path, folder: Path, gentle: bool, only: str = "") -> None:
    """All that is kept is whole and is what was saved; and what the record calls stored is kept, unless gc ran beside it.

    `only`: look at the checkpoints whose names begin so; a thousand kills leave too many to look at all of them each time.
    """
    known = folder / "known"
    saved = dict(line.split()[::-1] for line in known.read_text().splitlines()) if known.exists() else {}
    shelf = Shelf(Kept(store / "objects"))
    for run, save in shelf.recipes():
        recipe = shelf.recipe(run, save)
        assert recipe is not None
        if Path(recipe.path).name.startswith(only):
            assert list(shelf.damages(recipe)) == []
            assert recipe.path not in saved or recipe.digest == saved[recipe.path]
    for run in autotrack.runs():
        for one in run.checkpoints:
            if not Path(one.path).name.startswith(only):
                continue
            assert one.digest in (None, saved.get(one.path, one.digest))
            if one.stored and gentle:
                kept = shelf.recipe(run.id, str(one.id))
                assert kept is not None, f"{one.path} is called stored and is not"
                shelf.rebuild(kept, folder / "again")
                assert hashlib.sha256((folder / "again").read_bytes()).hexdigest() == saved[one.path]
                (folder / "again").unlink()
    assert check_chains(store / "registry").faults == []


def left_behind(store: Path) -> list[str]:
    """What gc should have freed. An object (the source code, say) that a killed process began is freed a day later."""
    return [
        path.name
        for folder in ("packs", "kept")
        for path in (store / "objects" / folder).rglob("*")
        if path.suffix in (".tmp", ".dropping")
    ]


def rounds(kills: int) -> tuple[random.Random, int]:
    seed = int(os.environ.get("AUTOTRACK_TEST_SEED", random.randrange(2**32)))
    print("seed", seed)
    return random.Random(seed), kills


@pytest.mark.parametrize(
    "kills", [pytest.param(5, id="quick"), pytest.param(200, id="proof", marks=pytest.mark.proof)]
)
@pytest.mark.parametrize("policy", ["all", "true", "auto"])
def test_a_training_that_is_killed_while_it_stores(
    store: Path, tmp_path: Path, policy: str, kills: int, record_property: Record
) -> None:
    chance, count = rounds(kills)
    record_property("kills", count)
    for number in range(count):
        process = start(SAVING, tmp_path, policy, number)
        time.sleep(chance.uniform(0.0, 0.4))
        kill(process)
        is_sound(store, tmp_path, gentle=True, only=f"{number}-")
        if number % 4 == 3:
            autotrack.checkpoints.gc(apply=True)
            assert left_behind(store) == []
    is_sound(store, tmp_path, gentle=True)
    assert any(run.checkpoints for run in autotrack.runs())


@pytest.mark.parametrize(
    "kills", [pytest.param(5, id="quick"), pytest.param(200, id="proof", marks=pytest.mark.proof)]
)
def test_a_registration_or_promotion_that_is_killed(
    store: Path, tmp_path: Path, kills: int, record_property: Record
) -> None:
    chance, count = rounds(kills)
    record_property("kills", count)
    with autotrack.init(project="p"):
        pass
    for number in range(count):
        process = start(NAMING, tmp_path, number)
        while not (tmp_path / "named").stat().st_size:
            time.sleep(0.05)
        time.sleep(chance.uniform(0.1, 0.6))
        kill(process)
        is_sound(store, tmp_path, gentle=True, only=f"{number}-")
        told = (tmp_path / "named").read_text().splitlines()
        for line in told[-10:]:
            version, digest = line.split()
            place = autotrack.checkpoints.get(f"model@v{version}")
            assert hashlib.sha256(place.read_bytes()).hexdigest() == digest
    [model] = autotrack.checkpoints.models()
    assert set(model.aliases.values()) <= {one.number for one in model.versions}


@pytest.mark.parametrize(
    "kills", [pytest.param(5, id="quick"), pytest.param(200, id="proof", marks=pytest.mark.proof)]
)
def test_gc_that_is_killed_while_a_training_stores(
    store: Path, tmp_path: Path, kills: int, record_property: Record
) -> None:
    chance, count = rounds(kills)
    record_property("kills", count)
    training = start(SAVING, tmp_path, "all", "beside")
    try:
        for _ in range(count):
            process = start(FREEING)
            time.sleep(chance.uniform(0.1, 0.5))
            kill(process)
    finally:
        kill(training)
    is_sound(store, tmp_path, gentle=False)
    for _ in range(2):  # the run is over now, so its checkpoints are free to go
        autotrack.checkpoints.gc(last=3, apply=True)
    is_sound(store, tmp_path, gentle=True)
    [run] = autotrack.runs()
    try:
        assert autotrack.checkpoints.get(f"{run.id}:last").exists()
    except AutotrackError as error:
        raise AssertionError("the last one is kept by the rule, and is not there") from error
