"""ls, show, compare and export on a recorded store: what is printed is what was recorded."""

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autotrack

Invoke = Callable[..., Any]
Ids = dict[str, str]


def test_ls_lists_root_runs_newest_first(invoke: Invoke, filled: Path, ids: Ids) -> None:
    result = invoke("ls")
    assert result.exit_code == 0
    first = [line.split()[0] for line in result.stdout.splitlines()]
    assert first == ["id", *(ids[name] for name in ("grid", "hostile", "broken", "adam", "sgd"))]
    assert "grid (+2)" in result.stdout
    assert "train/loss" in result.stdout


def test_show_json_tells_what_changed_since_the_attempt_before(answer: Invoke, store: Path) -> None:
    for attempt in ({"lr": 0.1, "depth": 3}, {"lr": 0.5}):
        autotrack.init(project="p", id="again", config=attempt).finish()
    assert answer("show", "again")["changes"] == [
        {"attempt": 2, "what": "config", "key": "lr", "before": 0.1, "after": 0.5}
    ]


def test_show_json_is_the_whole_record(answer: Invoke, filled: Path, ids: Ids) -> None:
    record = answer("show", ids["adam"])
    assert record["config"] == {"lr": 0.25, "optimizer": {"name": "adam"}, "epochs": 2}
    assert record["status"] == "finished"
    assert record["group"] == "night"
    assert record["notes"] == "First line.\nSecond line."
    loss = record["metrics"]["train/loss"]
    assert loss["count"] == 20
    assert loss["last"] == pytest.approx(math.exp(-0.25 * 19))
    assert loss["max_step"] == 0
    assert {"environment", "capture_report", "artifacts", "inputs", "children", "own_ns", "gaps"} <= set(
        record
    )


def test_values_that_are_not_finite_are_text_in_json(answer: Invoke, filled: Path, ids: Ids) -> None:
    record = answer("show", ids["broken"])
    assert record["summary"]["train/loss"] == "inf"
    assert record["metrics"]["train/loss"]["first"] == "nan"
    assert record["metrics"]["train/loss"]["nonfinite"] == 2
    assert record["error"]["type"] == "ValueError"


def test_show_prints_every_section(invoke: Invoke, filled: Path, ids: Ids) -> None:
    shown = invoke("show", ids["grid"][:9]).stdout
    for words in (
        "grid",
        ids["grid"],
        "finished",
        "weights.txt",
        "2.9 KiB",
        "Inputs",
        "Children",
        ids["C1"],
        "own time",
    ):
        assert words in shown
    failed = invoke("show", ids["broken"]).stdout
    assert "ValueError: bad loss\\x1b[31m at step 1" in failed
    assert "Traceback" in failed
    assert "not finite" in failed
    noted = invoke("show", ids["adam"]).stdout
    assert "  First line.\n  Second line.\n" in noted
    assert "█" in noted


def test_show_without_a_run_shows_the_newest(invoke: Invoke, filled: Path, ids: Ids) -> None:
    assert ids["grid"] in invoke("show").stdout


def test_show_cuts_long_sections_unless_all_is_asked_for(invoke: Invoke, store: Path) -> None:
    import autotrack

    run = autotrack.init(project="wide", config={f"key{number:03}": number for number in range(100)})
    run.log({f"metric{number:03}": number for number in range(100)})
    run.finish()
    short, whole = invoke("show", run.id).stdout, invoke("show", run.id, "--all").stdout
    assert "key099" not in short
    assert "60 more; --all" in short
    assert "key099" in whole
    assert "metric099" in whole


def test_compare_shows_differences_and_marks_the_best(invoke: Invoke, filled: Path, ids: Ids) -> None:
    shown = invoke("compare", ids["sgd"], ids["adam"]).stdout
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert rows["lr"] == ["0.5", "0.25"]
    assert rows["optimizer.name"] == ["sgd", "adam"]
    assert "epochs" not in rows
    assert rows["train/loss"][1] == "*"
    assert rows["val/accuracy"][2] == "*"
    everything = invoke("compare", ids["sgd"], ids["adam"], "--all").stdout
    assert "epochs" in everything


def test_compare_takes_another_statistic_and_direction(answer: Invoke, filled: Path, ids: Ids) -> None:
    result = answer(
        "compare",
        ids["sgd"],
        ids["adam"],
        "--stat",
        "max",
        "--maximize",
        "train/loss",
        "--minimize",
        "val/accuracy",
    )
    assert result["config"]["differing"] == {"lr": [0.5, 0.25], "optimizer.name": ["sgd", "adam"]}
    assert result["config"]["same"] == {"epochs": 2}
    assert result["metrics"]["train/loss"]["values"] == [1.0, 1.0]
    assert result["metrics"]["train/loss"]["best"] == []
    assert result["metrics"]["val/accuracy"]["best"] == [ids["sgd"]]


def test_compare_of_many_runs_loses_none_in_a_narrow_terminal(
    terminal: Invoke, filled: Path, ids: Ids
) -> None:
    shown = terminal("compare", *(ids[name] for name in ("sgd", "adam", "broken", "grid")), columns=60)
    assert shown.code == 0
    assert all(ids[name] in shown.output for name in ("sgd", "adam", "broken", "grid"))


def test_history_as_csv_is_every_point(invoke: Invoke, filled: Path, ids: Ids) -> None:
    rows = list(csv.DictReader(io.StringIO(invoke("export", ids["sgd"]).stdout)))
    losses = {int(row["step"]): float(row["value"]) for row in rows if row["key"] == "train/loss"}
    assert losses == {step: math.exp(-0.5 * step) for step in range(20)}
    assert {row["run"] for row in rows} == {ids["sgd"]}
    broken = list(csv.DictReader(io.StringIO(invoke("export", ids["broken"]).stdout)))
    assert [row["value"] for row in broken] == ["nan", "1.5", "inf"]


def test_keys_choose_what_is_exported(invoke: Invoke, filled: Path, ids: Ids) -> None:
    rows = list(csv.DictReader(io.StringIO(invoke("export", ids["sgd"], "--key", "val/*").stdout)))
    assert {row["key"] for row in rows} == {"val/accuracy"}


def test_csv_of_runs_keeps_formulas_from_spreadsheets(invoke: Invoke, filled: Path, ids: Ids) -> None:
    rows = {
        row["id"]: row for row in csv.DictReader(io.StringIO(invoke("export", "--project", "other").stdout))
    }
    row = rows[ids["hostile"]]
    assert row["config.formula"] == "'=HYPERLINK(1)"
    assert row["tags"].startswith("'=1+1")
    assert row["config.minus"] == "-5"
    assert row["config.__proto__"] == "1"


def test_csv_keys_that_look_like_formulas_are_kept_from_spreadsheets_too(invoke: Invoke, store: Path) -> None:
    import autotrack

    run = autotrack.init(project="p")
    run.log({"=cmd|' /C calc'!A0": 1.0, "+x": 2.0, "@y": 3.0, "-z": -4.0})
    run.finish()
    rows = list(csv.DictReader(io.StringIO(invoke("export", run.id).stdout)))
    assert {row["key"][0] for row in rows} == {"'"}
    assert {row["value"] for row in rows} == {"1.0", "2.0", "3.0", "-4.0"}


def test_json_export_of_runs_and_history(invoke: Invoke, filled: Path, ids: Ids) -> None:
    history = json.loads(invoke("export", ids["sgd"], "--format", "json").stdout)
    assert history[0]["series"]["train/loss"]["steps"] == list(range(20))
    runs = json.loads(invoke("export", "--format", "json", "--all").stdout)
    assert {run["id"] for run in runs} == set(ids.values())


def test_parquet_holds_the_same_as_the_history(
    invoke: Invoke, filled: Path, ids: Ids, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    target = tmp_path / "points.parquet"
    assert invoke("export", ids["sgd"], "--output", target).exit_code == 0
    table = pq.read_table(target).to_pylist()
    assert {row["step"]: row["value"] for row in table if row["key"] == "train/loss"}[3] == math.exp(-1.5)
    runs = tmp_path / "runs.parquet"
    assert invoke("export", "--all", "--output", runs).exit_code == 0
    rows = {row["id"]: row for row in pq.read_table(runs).to_pylist()}
    assert rows[ids["adam"]]["config.lr"] == 0.25
    assert rows[ids["adam"]]["archived"] is False


def test_parquet_without_pyarrow_says_what_to_install(process: Invoke, filled: Path, tmp_path: Path) -> None:
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide" / "pyarrow.py").write_text("raise ImportError('pyarrow is not here')")
    done = process(
        "export",
        "--format",
        "parquet",
        "--output",
        tmp_path / "x.parquet",
        env={"PYTHONPATH": str(tmp_path / "hide")},
    )
    assert done.returncode == 1
    assert "pip install 'autotrack-ml[parquet]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x.parquet").exists()


def test_a_file_that_is_there_is_left_alone_without_force(
    invoke: Invoke, filled: Path, tmp_path: Path
) -> None:
    target = tmp_path / "mine.csv"
    target.write_text("mine")
    result = invoke("export", "--output", target)
    assert result.exit_code == 1
    assert "--force" in result.stderr
    assert target.read_text() == "mine"
    assert invoke("export", "--output", target, "--force").exit_code == 0
    assert target.read_text().startswith("id,")
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
