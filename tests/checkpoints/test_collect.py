"""gc tells what it would free and changes nothing; with apply it frees that, and never what anybody counts on."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from questions import questions

import autotrack
from autotrack import checkpoints, saves
from autotrack.catalog.find import Catalog
from autotrack.errors import CheckpointNotFound
from autotrack.objects.budget import size_below
from autotrack.objects.keep import Kept
from autotrack.verify import verify as check

Train = Callable[..., str]
Save = Callable[..., Path]


def contents(store: Path) -> dict[str, bytes]:
    """Every file of a store but its index."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and not path.name.startswith("index.db")
    }


def steps(keys: set[tuple[str, str]] | list[tuple[str, str]]) -> list[int]:
    known = {(one.run, one.id): one.step for one in checkpoints.list()}
    return sorted(known[key] or 0 for key in keys)


def test_without_apply_nothing_is_changed(train: Train, store: Path) -> None:
    run = train(0.5, 0.4, 0.3, stored=True)
    checkpoints.get(run)
    before = contents(store)
    found = checkpoints.gc(last=1)
    assert (found.dry, steps(found.dropped)) == (True, [10, 20])
    assert found.bytes > 100_000
    assert checkpoints.gc().dropped == []
    assert contents(store) == before


def test_apply_frees_what_was_told(train: Train, store: Path) -> None:
    run = train(0.5, 0.4, 0.3, 0.6, stored=True)
    told = checkpoints.gc(last=1)
    before = size_below(store / "objects")
    found = checkpoints.gc(last=1, apply=True)
    freed = before - size_below(store / "objects")
    assert steps(found.dropped) == steps(told.dropped) == [10, 20, 30]
    assert told.bytes == found.bytes
    assert freed == pytest.approx(told.bytes, rel=0.01)
    assert [(one.unstored, one.state) for one in checkpoints.list(run)] == [("gc", "sealed")] * 3 + [
        (None, "stored")
    ]
    assert checkpoints.gc(last=1).bytes == 0


def test_each_rule_keeps_what_it_says(train: Train) -> None:
    train(0.5, 0.2, 0.3, 0.4, stored=True)
    found = checkpoints.gc(last=1, best=2, every=20)
    assert {rule: steps(keys) for rule, keys in found.kept.items() if keys} == {
        "last 1": [40],
        "best 2": [20, 30],
        "every 20 steps": [20, 40],
    }
    assert steps(found.dropped) == [10]
    assert steps(checkpoints.gc(last=0).dropped) == [10, 20, 30, 40]
    assert found.bytes_kept_only_by("last 1") == 0
    assert found.bytes_kept_only_by("best 2") > 60_000


def test_pinned_and_registered_and_aliased_are_never_freed(train: Train, tmp_path: Path) -> None:
    run = train(0.5, 0.4, 0.3, 0.2, stored=True)
    files = {step: (tmp_path / "run" / f"step{step}.pt").read_bytes() for step in (1, 2, 3)}
    checkpoints.pin(f"{run}:step=10")
    checkpoints.register("a", f"{run}:step=20")
    checkpoints.register("b", f"{run}:step=30")
    checkpoints.alias("b", "production")
    checkpoints.register("c", f"{run}:step=40")
    checkpoints.withdraw("c", 1, why="worse")
    found = checkpoints.gc(last=0, apply=True)
    assert steps(found.dropped) == [40]
    assert steps(found.kept["registered"]) == [20, 30]
    shutil.rmtree(tmp_path / "run")
    for step, data in files.items():
        assert checkpoints.get(f"{run}:step={step}0").read_bytes() == data
    assert checkpoints.verify() == {}


def test_of_a_run_that_goes_on_nothing_is_freed(store: Path, save: Save) -> None:
    script = (
        "import sys, autotrack\n"
        "run = autotrack.init(project='p', name='outer', log_model='all')\n"
        "child = run.child('inner')\n"
        "child.log_model = 'all'\n"
        "for one, path in zip((run, child), sys.argv[1:]):\n"
        "    one.log_checkpoint(path)\n"
        "autotrack.background.drain(60)\n"
        "print('saved', flush=True)\n"
        "sys.stdin.read()\n"
    )
    words = [sys.executable, "-c", script, str(save(1, "a.pt")), str(save(2, "b.pt"))]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "saved\n"
    try:
        deadline = time.monotonic() + 20
        while len(list((store / "objects" / "kept").glob("*/*.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        found = checkpoints.gc(last=0, apply=True)
        assert (len(found.kept["of runs that go on"]), found.dropped) == (2, [])
    finally:
        child.communicate()
    assert len(checkpoints.gc(last=0).dropped) == 2


def test_what_no_run_knows_any_more_is_freed(train: Train, store: Path) -> None:
    run = train(0.5, stored=True)
    shutil.rmtree(store / "runs" / "p" / run)
    found = checkpoints.gc(apply=True)
    assert found.dropped[0][0] == run
    assert list((store / "objects").rglob("*.pack")) == []


def test_a_damaged_recipe_stops_it(train: Train, store: Path) -> None:
    train(0.5, 0.4, stored=True)
    recipe = next((store / "objects" / "kept").glob("*/*.json"))
    recipe.write_bytes(recipe.read_bytes().replace(b"model", b"nodel")[:-9] + b"damaged\n]")
    before = contents(store)
    found = checkpoints.gc(last=0, apply=True)
    assert found.dropped == []
    assert str(recipe) in found.problems[0]
    assert contents(store) == before


def test_a_damaged_decision_stops_it(train: Train, store: Path) -> None:
    checkpoints.register("detector", train(0.5, 0.4, stored=True))
    (store / "registry" / "detector" / "1.json").write_bytes(b"{")
    before = contents(store)
    with pytest.raises(autotrack.errors.RegistryError):
        checkpoints.gc(last=0, apply=True)
    assert contents(store) == before


def test_a_link_that_a_dead_process_left_is_finished_if_it_is_what_was_saved(
    train: Train, store: Path, tmp_path: Path, catalog: Callable[[], AbstractContextManager[Catalog]]
) -> None:
    run = train(0.5, 0.4)
    saved = (tmp_path / "run" / "step1.pt").read_bytes()
    first, second = checkpoints.list(run)
    with catalog() as opened:
        for save in (first, second):
            folder = opened.kept.beside(run, save.id or "")
            folder.mkdir(parents=True)
            os.link(save.path, folder / Path(save.path).name)
    shutil.rmtree(tmp_path / "run")
    with open(folder / "step2.pt", "ab") as file:
        file.write(b"more")
    size = (folder / "step2.pt").stat().st_size
    found = checkpoints.gc(apply=True)
    assert found.freed["left behind by processes that died"] == size
    assert checkpoints.get(f"{run}:step=10").read_bytes() == saved
    assert [one.state for one in checkpoints.list(run)] == ["stored", "sealed"]
    assert not folder.exists()


def test_an_object_that_a_dead_process_did_not_finish_is_freed_a_day_later(train: Train, store: Path) -> None:
    train(0.5)
    left = store / "objects" / "4711-k2j3h4.tmp"
    left.write_bytes(b"unfinished")
    assert [(one.state, one.what, one.file) for one in check(store).findings] == [
        ("note", "left", "objects/4711-k2j3h4.tmp")
    ]
    assert checkpoints.gc(apply=True).freed["left behind by processes that died"] == 0
    assert left.exists()  # somebody may be writing it
    os.utime(left, (time.time() - 25 * 3600,) * 2)
    assert checkpoints.gc().freed["left behind by processes that died"] == 10
    assert left.exists()
    assert checkpoints.gc(apply=True).freed["left behind by processes that died"] == 10
    assert not left.exists()


def test_what_a_dead_process_was_about_to_drop_is_decided_anew(
    train: Train, store: Path, tmp_path: Path
) -> None:
    run = train(0.5, 0.4, stored=True)
    saved = (tmp_path / "run" / "step1.pt").read_bytes()
    recipe = store / "objects" / "kept" / run / f"{checkpoints.list(run)[0].id}.json"
    recipe.rename(recipe.with_suffix(".dropping"))
    shutil.rmtree(tmp_path / "run")
    checkpoints.gc(apply=True)
    assert checkpoints.get(f"{run}:step=10").read_bytes() == saved


def test_the_registration_of_a_dead_process_is_freed_after_an_hour(store: Path, save: Save) -> None:
    version = checkpoints.register("detector", save(1, "elsewhere.pt"))
    shutil.rmtree(store / "registry" / "detector")
    assert checkpoints.gc(apply=True).dropped == []
    pin = store / "objects" / "kept" / "@files" / f"{version.kept[1]}.pin"
    os.utime(pin, (time.time() - 7200,) * 2)
    assert checkpoints.gc(apply=True).dropped == [version.kept]
    assert list((store / "objects").rglob("*.pack")) == []
    assert not pin.exists()


def test_copies_that_were_rebuilt_go_when_nobody_asks_for_them(train: Train, store: Path) -> None:
    run = train(0.5, stored=True, gone=True)
    got = checkpoints.get(run)
    for again in (False, True):
        os.utime(got.parent, (time.time() - 7200,) * 2)
        if not again:
            checkpoints.get(run)
        found = checkpoints.gc(apply=True)
        assert got.exists() is not again
        assert (found.freed["rebuilt copies"] > 0) is again
    assert checkpoints.get(run).exists()


def test_a_drop_that_was_killed_half_way_is_finished_and_nothing_of_it_is_offered(
    store: Path, tmp_path: Path
) -> None:
    path = tmp_path / "best.bin"
    path.write_bytes(b"x" * 1000)
    with autotrack.init(project="p") as run:
        run.log_checkpoint(path, step=1, score=0.5, monitor="loss", mode="min")
        saves.going(run, path)
        path.unlink()
        saves.removed(run, path, "rotation", by="test")
    [one] = autotrack.get_run(run.id).checkpoints
    kept = Kept(store / "objects")
    recipe = kept.recipe_path(run.id, str(one.id))
    recipe.rename(recipe.with_suffix(".dropping"))
    (kept.beside(run.id, str(one.id)) / "best.bin").unlink()
    autotrack.checkpoints.gc(last=10, apply=True)
    assert list(kept.folder.rglob("*.*")) == []
    assert autotrack.checkpoints.verify() == {}
    with pytest.raises(CheckpointNotFound):
        autotrack.checkpoints.get(run.id)


def test_what_was_pinned_as_it_was_dropped_is_put_back_while_it_is_whole(store: Path, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x" * 1000)
    with autotrack.init(project="p", log_model="all") as run:
        run.log_checkpoint(tmp_path / "model.bin", step=1)
    [one] = autotrack.get_run(run.id).checkpoints
    kept = Kept(store / "objects")
    recipe = kept.recipe_path(run.id, str(one.id))
    recipe.rename(recipe.with_suffix(".dropping"))
    kept.pin_path(run.id, str(one.id)).write_bytes(b"user\n")
    (tmp_path / "model.bin").unlink()
    autotrack.checkpoints.gc(last=0, apply=True)
    assert autotrack.checkpoints.get(run.id).read_bytes() == b"x" * 1000


def test_many_checkpoints_take_no_more_questions_than_few(train: Train) -> None:
    asked = []
    for name, count in (("few", 2), ("many", 9)):
        train(*[1.0] * count, name=name, stored=True)
        with autotrack.init(project="p"), questions() as told:
            checkpoints.gc()
        asked.append(len(told))
    assert asked[1] - asked[0] < 9
