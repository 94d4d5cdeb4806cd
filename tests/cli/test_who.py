"""`autotrack who FILE`: the runs that saved, kept or read it, by content and by path."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autotrack

Invoke = Callable[..., Any]


@pytest.fixture
def files(store: Path, tmp_path: Path) -> dict[str, Path]:
    """A checkpoint and a folder that one run saved, and a second run that read the first."""
    model, folder = tmp_path / "model.pt", tmp_path / "checkpoint-9"
    model.write_bytes(os.urandom(5_000))
    folder.mkdir()
    (folder / "weights").write_bytes(os.urandom(3_000))
    with autotrack.init(project="p", name="trains") as run:
        run.log_checkpoint(model, step=4, score=0.5, monitor="val_loss")
        run.log_checkpoint(folder, step=9)
    with autotrack.init(project="q", name="tunes") as run:
        run.log_input(model, role="weights")
        run.log_artifact(model, name="copy.pt")
    return {"model": model, "folder": folder, "here": tmp_path}


def uses(invoke: Invoke, path: Path, code: int = 0) -> list[tuple[Any, ...]]:
    result = invoke("who", path, "--json")
    assert result.exit_code == code, result.output
    return [(one["name"], one["what"], one["same"], one["step"]) for one in json.loads(result.stdout)["uses"]]


ALL = {("trains", "saved", True, 4), ("tunes", "read", True, None), ("tunes", "kept", True, None)}


def test_a_file_is_known_by_its_content_wherever_it_lies(invoke: Invoke, files: dict[str, Path]) -> None:
    assert set(uses(invoke, files["model"])) == ALL
    moved = shutil.copy(files["model"], files["here"] / "who-knows.bin")
    assert set(uses(invoke, Path(moved))) == ALL
    folder = shutil.copytree(files["folder"], files["here"] / "copy")
    assert uses(invoke, Path(folder)) == [("trains", "saved", True, 9)]


def test_a_path_whose_bytes_changed_is_told_with_a_reservation(
    invoke: Invoke, files: dict[str, Path]
) -> None:
    files["model"].write_bytes(b"something else")
    assert set(uses(invoke, files["model"])) == {(name, what, False, step) for name, what, _, step in ALL}
    assert "other bytes" in invoke("who", files["model"]).stdout
    files["model"].unlink()
    assert {same for _, _, same, _ in uses(invoke, files["model"])} == {None}
    assert uses(invoke, files["folder"] / "weights") == [("trains", "saved", None, 9)]


def test_who_names_run_project_person_and_score(invoke: Invoke, files: dict[str, Path]) -> None:
    result = invoke("who", files["model"], "--json")
    [saved] = [one for one in json.loads(result.stdout)["uses"] if one["what"] == "saved"]
    assert (saved["project"], saved["score"], saved["monitor"]) == ("p", 0.5, "val_loss")
    assert saved["user"]
    assert saved["host"]
    shown = invoke("who", files["model"]).stdout
    assert json.loads(result.stdout)["digest"] in shown.replace("\n", "")
    for word in ("saved", "read as weights", "kept", saved["run"], "same bytes"):
        assert word in shown


def test_an_unknown_file_is_said_to_be_nobodys(invoke: Invoke, files: dict[str, Path]) -> None:
    stranger = files["here"] / "stranger.pt"
    stranger.write_bytes(b"never seen")
    result = invoke("who", stranger)
    assert result.exit_code == 1
    assert "none has the same bytes" in result.stderr.replace("\n", " ")
    assert uses(invoke, files["here"] / "not there", code=1) == []


def test_show_lists_checkpoints_with_the_beginning_of_their_digest(
    terminal: Invoke, invoke: Invoke, files: dict[str, Path]
) -> None:
    known = json.loads(invoke("who", files["model"], "--json").stdout)
    [saved] = [one["run"] for one in known["uses"] if one["what"] == "saved"]
    assert known["digest"][:12] in terminal("show", saved, columns=200).output
