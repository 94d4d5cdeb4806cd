"""The tables of the README and of docs/benchmarks.md are what benchmarks/results/peers.json says, and leave nobody out."""

import copy
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "benchmarks" / "results" / "peers.json"


def load(name: str) -> ModuleType:
    """A module of benchmarks/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tables = load("tables")


@pytest.fixture
def result() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("page", ["README.md", "docs/benchmarks.md"])
def test_the_tables_are_made_from_the_results(page: str, result: dict[str, Any]) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text == tables.filled(text, tables.blocks(result)[ROOT / page])


def test_a_table_that_was_changed_by_hand_is_found_and_made_anew(tmp_path: Path) -> None:
    for name in (
        "README.md",
        "docs/benchmarks.md",
        "benchmarks/tables.py",
        "benchmarks/peers.toml",
        "benchmarks/results/peers.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    readme = tmp_path / "README.md"
    right = readme.read_text(encoding="utf-8")
    readme.write_text(right.replace("| autotrack |", "| autotrack, the best |"), encoding="utf-8")
    found = made(tmp_path, "--check")
    assert (found.returncode, "README.md" in found.stderr) == (1, True)
    assert made(tmp_path).returncode == 0
    assert readme.read_text(encoding="utf-8") == right
    assert made(tmp_path, "--check").returncode == 0


def made(root: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(root / "benchmarks" / "tables.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_tracker_has_an_adapter_a_pinned_version_and_a_result_in_every_section(
    result: dict[str, Any],
) -> None:
    adapters = {path.stem for path in (ROOT / "benchmarks" / "adapters").glob("[a-z]*.py")}
    assert {name.lower() for name in tables.COLUMNS} == adapters
    for name, wanted in tables.PEERS.items():
        for requirement in [*wanted.get("first", []), *wanted["requirements"]]:
            assert re.fullmatch(r"[\w-]+==[\d.]+", requirement), requirement
            distribution, _, version = requirement.partition("==")
            assert result["versions"][name][distribution].partition("+")[0] == version
    for section, each in result["sections"].items():
        wanted = {row[0] for row in tables.FRAMEWORKS} if section == "frameworks" else set(tables.COLUMNS)
        assert set(each["results"]) == wanted, section


def test_a_tracker_that_fails_is_shown_and_not_left_out(result: dict[str, Any]) -> None:
    changed = copy.deepcopy(result)
    changed["sections"]["calls"]["results"]["wandb"] = {"error": "not installed: no such thing"}
    row = next(line for line in tables.peers_table(changed, readme=True).splitlines() if "`log()`" in line)
    titles = [tables.PEERS[name]["title"] for name in tables.COLUMNS]
    assert (
        dict(zip(titles, [word.strip() for word in row.split("|")[2:-1]], strict=True))["wandb offline"]
        == "failed"
    )
    assert "- calls, wandb: `not installed: no such thing`" in tables.failures(changed)


def test_a_row_in_which_a_peer_is_better_is_named(result: dict[str, Any]) -> None:
    changed = copy.deepcopy(result)
    ours = changed["sections"]["calls"]["results"]["autotrack"]
    changed["sections"]["calls"]["results"]["aim"] = ours | {"start_finish_ms": ours["start_finish_ms"] / 2}
    (line,) = [each for each in tables.worse(changed).splitlines() if each.startswith("- start and finish")]
    assert re.search(r"\baim\b", line)


def test_the_results_name_no_folder_of_the_machine() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert not re.findall(r"/(?:home|root|work|tmp|usr|Users)/[\w.-]+", text)
