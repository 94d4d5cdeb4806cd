"""Registering keeps the bytes, promoting records why, pins hold: whoever else lets go of the same bytes."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from safetensors.torch import save_file

import autotrack
from autotrack import checkpoints
from autotrack.cli.app import app
from autotrack.errors import AliasMoved, AutotrackError, NotWhole, RegistryError
from autotrack.layout import Layout
from autotrack.objects.keep import Kept

Train = Callable[..., str]
Save = Callable[..., Path]


def kept(store: Path) -> Kept:
    return Kept(Layout(store).objects)


def test_a_registered_checkpoint_outlives_its_file_and_its_run(
    train: Train, tmp_path: Path, store: Path
) -> None:
    from typer.testing import CliRunner

    run = train(0.5, 0.25)
    saved = (tmp_path / "run" / "step2.pt").read_bytes()
    version = checkpoints.register("detector", f"{run}:best", note="first")
    assert (str(version), version.run, version.step, version.score, version.note) == (
        "detector@v1", run, 20, 0.25, "first",
    )  # fmt: skip
    shutil.rmtree(tmp_path / "run")
    assert checkpoints.get("detector").read_bytes() == saved
    assert CliRunner().invoke(app, ["rm", run, "--yes"]).exit_code == 0
    assert checkpoints.list() == []
    checkpoints.gc(last=0, apply=True)
    assert checkpoints.get("detector@v1", to=tmp_path / "out.pt").read_bytes() == saved
    assert checkpoints.find("detector").digest == version.digest


def test_a_file_made_elsewhere_becomes_a_version(store: Path, save: Save, tmp_path: Path) -> None:
    path = save(1, "elsewhere.pt")
    saved = path.read_bytes()
    version = checkpoints.register("detector", path)
    assert (version.run, version.path, version.format) == (None, str(path), "torch")
    assert checkpoints.get("detector") == path
    path.unlink()
    assert checkpoints.get("detector").read_bytes() == saved
    assert checkpoints.register("another", "detector@v1").digest == version.digest


def test_a_file_that_a_run_saved_is_that_save(train: Train, tmp_path: Path) -> None:
    run = train(0.5)
    version = checkpoints.register("detector", tmp_path / "run" / "step1.pt")
    assert (version.run, version.step) == (run, 10)


def test_a_file_behind_a_uri_becomes_a_version(store: Path, save: Save, tmp_path: Path) -> None:
    path = save(1, "far.pt")
    assert checkpoints.register("far", path.as_uri()).path == path.as_uri()
    memory = fsspec.filesystem("memory")
    memory.pipe("/models/a.pt", path.read_bytes())
    assert checkpoints.register("far", "memory://models/a.pt").number == 1
    memory.pipe("/models/b.pt", save(2, "b.pt").read_bytes())
    folder = checkpoints.register("folder", "memory://models/")
    assert checkpoints.get("far", to=tmp_path / "got.pt").read_bytes() == path.read_bytes()
    got = checkpoints.get("folder")
    assert (got.name, sorted(one.name for one in got.iterdir())) == ("models", ["a.pt", "b.pt"])
    assert folder.size == sum(one.stat().st_size for one in got.iterdir())
    with pytest.raises(FileNotFoundError):
        checkpoints.register("far", "memory://models/nothing.pt")


def test_a_damaged_file_is_refused_and_its_tensor_named(store: Path, save: Save) -> None:
    path = save(1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(NotWhole, match=r"the tensor 'body\.weight' is damaged"):
        checkpoints.register("detector", path)
    assert checkpoints.models() == []
    assert list((store / "objects" / "kept").rglob("*.json")) == []
    assert list((store / "objects" / "kept").rglob("*.pin")) == []


def test_what_cannot_be_registered_leaves_nothing(
    train: Train, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(0.5, 0.25)
    monkeypatch.setenv("AUTOTRACK_BUDGET", "1KB")
    with pytest.raises(AutotrackError, match="AUTOTRACK_BUDGET"):
        checkpoints.register("detector", run)
    (tmp_path / "run" / "step1.pt").unlink()
    with pytest.raises(AutotrackError, match="nowhere"):
        checkpoints.register("detector", f"{run}:step=10")
    with pytest.raises(RegistryError):
        checkpoints.register("..", run)
    assert checkpoints.models() == []
    assert list((store / "objects").rglob("*.pin")) == []


def test_a_promotion_records_why_by_whom_and_what_both_reach(train: Train) -> None:
    run = train(0.5, 0.25)
    checkpoints.register("detector", f"{run}:step=10")
    checkpoints.register("detector", f"{run}:step=20")
    for reason in ("", " \n"):
        with pytest.raises(RegistryError, match="needs a reason"):
            checkpoints.promote("detector", "production", why=reason)
    checkpoints.promote("detector", "production", version=1, why="the first")
    body = checkpoints.promote("detector", "production", why="half the loss", expect="v1").body
    assert (body["action"], body["why"], body["from"], body["to"]) == ("promote", "half the loss", 1, 2)
    assert (body["before_metrics"]["val_loss"], body["after_metrics"]["val_loss"]) == (0.5, 0.25)
    assert body["who"]
    with pytest.raises(AliasMoved, match="stands for v2"):
        checkpoints.promote("detector", "production", version=1, why="back", expect=1)
    with pytest.raises(AutotrackError, match="no model 'nodel'"):
        checkpoints.promote("nodel", "production", why="x")


def test_a_version_whose_bytes_were_lost_takes_no_alias(train: Train, store: Path) -> None:
    checkpoints.register("detector", train(0.5, gone=False))
    [recipe] = (store / "objects" / "kept").glob("*/*.json")
    recipe.unlink()
    with pytest.raises(AutotrackError, match="not in the store any more"):
        checkpoints.promote("detector", "production", why="x")


def test_a_pin_of_the_user_outlives_what_the_registry_does(train: Train, store: Path) -> None:
    run = train(0.5, 0.25)
    target = checkpoints.list(run)[1]
    pin = kept(store).pin_path(run, target.id or "")
    checkpoints.pin(run)
    assert pin.exists()
    checkpoints.register("detector", run)
    checkpoints.withdraw("detector", 1, why="leaks")
    assert pin.exists()
    checkpoints.unpin(run)
    assert not pin.exists()
    checkpoints.unpin(run)


def test_what_is_a_version_stays_pinned_until_the_last_model_lets_go(train: Train, store: Path) -> None:
    run = train(0.5)
    pin = kept(store).pin_path(run, checkpoints.list(run)[0].id or "")
    checkpoints.register("one", run)
    checkpoints.register("two", run)
    checkpoints.pin(run)
    checkpoints.unpin(run)
    assert pin.exists()
    with pytest.raises(RegistryError, match="needs a reason"):
        checkpoints.withdraw("one", 1, why=" ")
    checkpoints.withdraw("one", 1, why="x")
    assert pin.exists()
    checkpoints.withdraw("two", 1, why="x")
    assert not pin.exists()


def test_the_same_bytes_of_another_save_are_the_same_version_and_pin_nothing_more(
    train: Train, store: Path
) -> None:
    first, second = train(0.5, name="a"), train(0.5, name="a", seed=0)
    assert checkpoints.list(first)[0].digest == checkpoints.list(second)[0].digest
    assert str(checkpoints.register("detector", first)) == str(checkpoints.register("detector", second))
    assert [path.parent.name for path in (store / "objects" / "kept").glob("*/*.pin")] == [first]


def test_a_live_run_never_drops_what_was_registered(store: Path, save: Save, tmp_path: Path) -> None:
    with autotrack.init(project="p", log_model=True) as run:
        run.log_checkpoint(save(1, "a.pt"), step=1)
        autotrack.background.drain(60)
        saved = (tmp_path / "a.pt").read_bytes()
        version = checkpoints.register("detector", f"{run.id}:last")
        os.unlink(tmp_path / "a.pt")
        for step in (2, 3):
            run.log_checkpoint(save(step, f"{step}.pt"), step=step)
    assert checkpoints.get(str(version)).read_bytes() == saved


def test_a_file_that_is_cut_off_is_no_version(store: Path, tmp_path: Path) -> None:
    (store / "runs").mkdir(parents=True)
    path = tmp_path / "model.safetensors"
    save_file({"w": torch.ones(4), "v": torch.ones(4)}, path)
    checkpoints.register("detector", path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(NotWhole):
        checkpoints.register("detector", path)
    found: Any = checkpoints.models()[0]
    assert len(found.versions) == 1
