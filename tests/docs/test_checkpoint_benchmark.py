"""The tables on checkpoints are what benchmarks/results/checkpoints.json says, and leave nobody out."""

import copy
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
FILE = BENCHMARKS / "results" / "checkpoints.json"
KEEPERS: dict[str, dict[str, Any]] = tomllib.loads(
    (BENCHMARKS / "checkpoints.toml").read_text(encoding="utf-8")
)


@pytest.fixture
def result() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def said(function: str, result: dict[str, Any]) -> str:
    """What a function of benchmarks/checkpoint_tables.py makes of a result; benchmarks/ is no package."""
    code = f"import json, sys, checkpoint_tables as t; print(t.{function}(json.load(sys.stdin)))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(result), cwd=BENCHMARKS, capture_output=True, text=True, check=True
    )  # fmt: skip
    return done.stdout


def test_the_tables_are_made_from_the_results() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "checkpoint_tables.py"), "--check"], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_number_that_was_changed_by_hand_is_found(result: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert said("keepers_table", result).strip() in page
    result["keepers"]["autotrack"]["frozen"]["stored"] //= 2
    assert said("keepers_table", result).strip() not in page


def test_every_keeper_has_an_adapter_a_pinned_version_and_a_result_for_every_series(
    result: dict[str, Any],
) -> None:
    assert {path.stem for path in (BENCHMARKS / "keepers").glob("[a-z]*.py")} == KEEPERS.keys() - {"training"}
    peers = tomllib.loads((BENCHMARKS / "peers.toml").read_text(encoding="utf-8"))
    for name, wanted in KEEPERS.items():
        for requirement in [*wanted.get("first", []), *wanted["requirements"]]:
            assert re.fullmatch(r"[\w-]+==[\d.]+", requirement), requirement
            distribution, _, version = requirement.partition("==")
            assert result["versions"][name][distribution].partition("+")[0] == version
        if name in peers:  # one environment for both
            keys = ("first", "requirements", "checkout")
            assert [wanted.get(key) for key in keys] == [peers[name].get(key) for key in keys]
        if name != "training":
            assert result["series"].keys() <= result["keepers"][name].keys()


def test_all_that_ours_gave_back_was_as_it_had_been_saved(result: dict[str, Any]) -> None:
    for series, each in result["series"].items():
        ours = result["keepers"]["autotrack"][series]
        assert (ours["fetched"], ours["exact"]) == (each["saves"], each["saves"]), series


def test_one_that_fails_is_shown_and_not_left_out(result: dict[str, Any]) -> None:
    changed = copy.deepcopy(result)
    changed["keepers"]["wandb"] = {"error": "not installed: no such thing"}
    place = list(KEEPERS).index("wandb") + 2  # behind the edge and the title
    rows = [line.split("|") for line in said("keepers_table", changed).splitlines() if "stored" in line]
    assert [row[place].strip() for row in rows[::2]] == ["failed"] * len(result["series"])
    assert "- wandb offline: `not installed: no such thing`" in said("failures", changed)


def test_a_row_in_which_another_one_is_better_is_named_and_a_target_that_is_missed_is_called_so(
    result: dict[str, Any],
) -> None:
    changed = copy.deepcopy(result)
    ours = changed["keepers"]["autotrack"]["frozen"]
    changed["keepers"]["dvc"]["frozen"]["stored"] = ours["stored"] // 2
    line = next(each for each in said("worse", changed).splitlines() if each.startswith("- frozen backbone"))
    assert re.search(r"stored.*\bdvc\b", line)
    ours["stored"] = ours["plain"]
    row = next(each for each in said("targets_table", changed).splitlines() if "frozen backbone" in each)
    assert row.endswith("| **missed** |")


def test_the_results_name_no_folder_of_the_machine() -> None:
    assert not re.findall(r"/(?:home|root|work|tmp|usr|Users)/[\w.-]+", FILE.read_text(encoding="utf-8"))
