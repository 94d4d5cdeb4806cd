"""What a user gives by mistake: one sentence with the value and what to do; the training goes on, nothing is lost."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

import autotrack
from autotrack import AutotrackWarning
from autotrack.errors import FilterError, StoreError
from autotrack.index import open_index
from autotrack.layout import Layout


class Unreadable:
    def __float__(self) -> float:
        raise RuntimeError("boom\x1b[31m\nnext")


class Evil(dict):
    def keys(self) -> Any:
        raise RuntimeError("no keys")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("text", "'text'"),
        (None, "None is not a number"),
        ([1, 2], r"\[1, 2\]"),
        (1j, "1j"),
        (Unreadable(), "boom"),
    ],
)
def test_a_value_that_is_no_number_is_named_with_what_to_do(store: Path, value: Any, shown: str) -> None:
    with autotrack.init(project="p") as run:
        with pytest.warns(AutotrackWarning, match=rf"The metric 'bad'.*{shown}.*log_table") as told:
            run.log({"good": 1.0, "bad": value})
        run.log({"good": 2.0})
    assert len(told) == 1
    assert str(told[0].message).isprintable()
    assert autotrack.get_run(run.id).metrics["good"].count == 2


@pytest.mark.parametrize("given", [None, "loss", 3.0, [1, 2]])
def test_log_of_anything_but_a_mapping_shows_what_it_was_given(store: Path, given: Any) -> None:
    with autotrack.init(project="p") as run:
        with pytest.warns(AutotrackWarning, match="mapping of names to numbers.*Write log"):
            run.log(given)
        run.log({"a": 1.0})
    assert autotrack.get_run(run.id).summary["a"] == 1.0


def test_a_config_that_is_cut_says_where(store: Path) -> None:
    cycle: dict[str, Any] = {"lr": 0.1}
    cycle["self"] = cycle
    with autotrack.init(project="p") as run:
        with pytest.warns(AutotrackWarning, match=r"config was cut.*self: cycle.*log_artifact"):
            run.update_config(cycle)
        with pytest.warns(AutotrackWarning, match=r"config was cut.*big\.text: .* more characters"):
            run.update_config({"big": {"text": "x" * 100_000_000}, "after": 1})
    config = autotrack.get_run(run.id).config
    assert (config["lr"], config["after"]) == (0.1, 1)


def test_a_config_of_many_large_texts_takes_little_of_the_journal(store: Path) -> None:
    with autotrack.init(project="p") as run:
        with pytest.warns(AutotrackWarning, match="config was cut"):
            run.update_config({f"k{i}": "z" * 20_000 for i in range(5_000)})
        run.update_config({"last": 1})
    assert sum(path.stat().st_size for path in run.dir.iterdir()) < 3_000_000
    assert autotrack.get_run(run.id).config["last"] == 1


@pytest.mark.parametrize("given", [[1, 2], "train.yaml", 5])
def test_a_config_that_is_no_mapping_is_kept_and_told_of(store: Path, given: Any) -> None:
    with pytest.warns(AutotrackWarning, match="config is a mapping.*'value'.*dict"):
        run = autotrack.init(project="p", config=given)
    run.finish()
    assert autotrack.get_run(run.id).config == {"value": given}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"tags": 5}, "tags=5"),
        ({"dir": 5}, "dir=5"),
        ({"dir": "/tmp/a\0b"}, "cannot be used.*AUTOTRACK_DIR"),
        ({"mode": "offline"}, "mode='offline'.*disabled"),
        ({"project": "x" * 1_000}, "too long.*shorter"),
        ({"id": "a/b"}, "'a/b'.*letters, digits"),
    ],
)
def test_a_wrong_argument_of_init_is_warned_of_and_the_run_recorded(
    store: Path, arguments: dict[str, Any], told: str
) -> None:
    with pytest.warns(AutotrackWarning, match=told):
        run = autotrack.init(**{"project": "p", **arguments})
    run.log({"a": 1.0})
    run.finish()
    assert any(run.dir.glob("*.jsonl*"))


@pytest.mark.parametrize("arguments", [{"name": 5}, {"id": 5}, {"parent": 5}, {"notes": 5}, {"group": 5}])
def test_arguments_of_init_that_are_no_text_become_text(store: Path, arguments: dict[str, Any]) -> None:
    run = autotrack.init(**{"project": "p", **arguments})
    run.log({"a": 1.0})
    run.finish()
    ((name, _),) = arguments.items()
    record = autotrack.get_run(run.id)
    assert getattr(record, name) == "5"
    assert record.summary["a"] == 1.0


def test_an_input_that_is_no_path_or_not_there(store: Path) -> None:
    with autotrack.init(project="p") as run:
        with pytest.warns(AutotrackWarning, match="takes a path, and was given None"):
            run.log_input(None)
        run.log({"a": 1.0})
    assert autotrack.get_run(run.id).summary["a"] == 1.0


@pytest.mark.parametrize("text", ["config.lr <", "name = 'a'", "", 5, "\0"])
def test_a_filter_that_does_not_parse_comes_with_an_example(store: Path, text: Any) -> None:
    autotrack.init(project="p").finish()
    with pytest.raises(FilterError, match=r"The filter .*Write for example: config\.lr"):
        autotrack.runs(where=text)
    with pytest.raises(FilterError, match=r"The ordering .*Write for example: -created"):
        autotrack.runs(order_by=text)


def test_a_folder_with_other_things_in_it_gets_no_gitignore(store: Path) -> None:
    store = store.parent
    store.mkdir(parents=True)
    (store / "train.py").write_text("")
    autotrack.init(project="p", dir=store).finish()
    assert not (store / ".gitignore").exists()
    assert len(open_index(store).runs()) == 1


def test_a_folder_that_is_no_store_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    with pytest.raises(StoreError, match=r"no store: it has no folder `runs`.*AUTOTRACK_DIR"):
        open_index(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train.py"]


@pytest.mark.parametrize("content", ["database", "text"])
def test_somebody_elses_file_under_the_indexs_name_is_not_touched(store: Path, content: str) -> None:
    store = store.parent
    Layout(store).create()
    path = store / "index.db"
    if content == "text":
        path.write_text("mine")
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE mine (x)")
        connection.close()
    before = path.read_bytes()
    autotrack.init(project="p", dir=store).finish()
    with open_index(store) as index:
        index.sync()
        assert len(index.runs()) == 1
    assert path.read_bytes() == before


def test_an_index_of_a_later_schema_is_built_again(store: Path) -> None:
    autotrack.init(project="p").finish()
    assert len(autotrack.runs()) == 1
    with sqlite3.connect(store / "index.db") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    assert len(autotrack.runs()) == 1
