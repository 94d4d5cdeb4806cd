"""Files, folders, figures, pictures and tables of a run."""

import hashlib
import io
import json
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image

import autotrack
from autotrack import AutotrackWarning
from autotrack.journal.format import decode
from autotrack.objects import ObjectStore

matplotlib.use("agg")


def artifact(run: autotrack.Run) -> dict[str, object]:
    lines = [line for path in run.dir.glob("*.jsonl") for line in path.read_bytes().splitlines()]
    found = [event.body for event in map(decode, lines) if event is not None and event.kind == "artifact"]
    return found[-1]


def content(store: Path, digest: object) -> bytes:
    data = ObjectStore(store / "objects").path(str(digest)).read_bytes()
    assert hashlib.sha256(data).hexdigest() == digest
    return data


def test_a_file_is_kept_as_it_is_now_and_left_alone(store: Path, tmp_path: Path) -> None:
    run = autotrack.init(project="p")
    file = tmp_path / "weights.bin"
    file.write_bytes(b"first" * 1000)
    before = file.stat()
    run.log_artifact(file, step=3)
    body = artifact(run)
    file.write_bytes(b"second")
    assert content(store, body["digest"]) == b"first" * 1000
    assert (body["name"], body["type"], body["size"], body["step"], body["path"]) == (
        "weights.bin",
        "file",
        5000,
        3,
        str(file),
    )
    assert before.st_ino == file.stat().st_ino


def test_the_same_content_is_kept_once(store: Path, tmp_path: Path) -> None:
    run = autotrack.init(project="p")
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"same")
        run.log_artifact(tmp_path / name)
    assert len([path for path in (store / "objects").rglob("*") if path.is_file()]) == 1


def test_a_folder_is_kept_with_a_listing(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "weights").write_bytes(b"w")
    run = autotrack.init(project="p")
    run.log_artifact(folder, name="the model")
    body = artifact(run)
    files = body["files"]
    assert isinstance(files, list)
    assert (body["type"], body["name"], body["size"]) == ("folder", "the model", 3)
    assert [file["path"] for file in files] == ["config.json", "sub/weights"]
    assert content(store, files[1]["digest"]) == b"w"
    assert json.loads(content(store, body["digest"])) == files


def test_a_figure_is_kept_as_png(store: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot([1, 2, 3])
    run = autotrack.init(project="p")
    run.log_artifact(figure, name="curve")
    body = artifact(run)
    assert body["name"] == "curve.png"
    assert Image.open(io.BytesIO(content(store, body["digest"]))).format == "PNG"


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 6)),
        np.full((4, 6, 3), 255, dtype=np.uint8),
        np.full((4, 6, 1), np.nan),
        np.ones((4, 6, 4), dtype=bool),
        Image.new("RGB", (6, 4)),
    ],
)
def test_a_picture_is_kept_as_png(store: Path, array: object) -> None:
    run = autotrack.init(project="p")
    run.log_image("sample", array, step=1)
    body = artifact(run)
    picture = Image.open(io.BytesIO(content(store, body["digest"])))
    assert (body["type"], body["name"], picture.size) == ("image", "sample.png", (6, 4))


def test_floats_of_a_picture_are_0_to_1(store: Path) -> None:
    run = autotrack.init(project="p")
    run.log_image("grey", np.array([[0.0, 0.5, 1.0, 7.0]]))
    picture = Image.open(io.BytesIO(content(store, artifact(run)["digest"])))
    assert list(np.asarray(picture)[0]) == [0, 128, 255, 255]


@pytest.mark.parametrize("value", [np.zeros(3), np.zeros((2, 2, 2)), np.zeros((0, 4))])
def test_an_array_that_is_no_picture_is_refused(store: Path, value: object) -> None:
    run = autotrack.init(project="p")
    with pytest.warns(AutotrackWarning, match="shape"):
        run.log_image("bad", value)


ROWS = {"columns": ["a", "b"], "data": [[1, "x"], [2, None]]}


@pytest.mark.parametrize(
    "table",
    [
        {"a": [1, 2], "b": ["x", None]},
        [{"a": 1, "b": "x"}, {"a": 2}],
        pd.DataFrame({"a": [1, 2], "b": pd.Series(["x", None], dtype=object)}),
        pl.DataFrame({"a": [1, 2], "b": ["x", None]}),
    ],
)
def test_a_table_of_any_make_is_kept(store: Path, table: object) -> None:
    run = autotrack.init(project="p")
    run.log_table("t", table)
    assert json.loads(content(store, artifact(run)["digest"])) == ROWS


def test_rows_without_names_are_numbered(store: Path) -> None:
    run = autotrack.init(project="p")
    run.log_table("t", [[np.float32(0.5), float("nan")]])
    assert json.loads(content(store, artifact(run)["digest"])) == {
        "columns": ["0", "1"],
        "data": [[0.5, {"$": "nan"}]],
    }


@pytest.mark.parametrize(
    ("call", "value", "text"),
    [
        ("log_table", {"a": [1], "b": []}, "one length"),
        ("log_table", 3, "list of rows"),
        ("log_artifact", object(), "Give a path"),
    ],
)
def test_what_is_none_of_these_is_refused_with_what_to_give(
    store: Path, call: str, value: object, text: str
) -> None:
    run = autotrack.init(project="p")
    with pytest.warns(AutotrackWarning, match=text):
        run.log_table("t", value) if call == "log_table" else run.log_artifact(value)
    run.log({"a": 1.0})


def test_a_file_that_is_not_there_is_named(store: Path, tmp_path: Path) -> None:
    run = autotrack.init(project="p")
    with pytest.warns(AutotrackWarning, match="nothere"):
        run.log_artifact(tmp_path / "nothere")
