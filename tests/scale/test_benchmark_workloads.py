"""What the benchmarks make a tracker do works with ours and with the floor, in the small: nothing is timed here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).resolve().parents[2] / "benchmarks" / "worker.py"


def do(tracker: str, workload: str, folder: Path, **options: Any) -> dict[str, Any]:
    """One workload in a process of its own, as the benchmarks run it."""
    result = folder.parent / "result.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, str(WORKER), tracker, workload, str(folder), str(result), json.dumps(options)]
    env = {key: value for key, value in os.environ.items() if not key.startswith("AUTOTRACK_")}
    subprocess.run(command, cwd=folder, env=env, check=True, timeout=60, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(result.read_text())
    return found


@pytest.fixture(params=["floor", "autotrack"])
def tracker(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "place"
    made.mkdir()
    return made


def test_what_a_workload_records_is_what_another_process_reads(tmp_path: Path) -> None:
    found = []
    for tracker in ("floor", "unbuffered", "autotrack"):
        folder, elsewhere = tmp_path / tracker / "place", tmp_path / tracker / "elsewhere"
        for place, name, steps in ((folder, "warm", 5), (elsewhere, "warm", 5), (folder, "main", 40)):
            place.mkdir(parents=True, exist_ok=True)
            assert do(tracker, "run", place, name=name, steps=steps)["steps"] == steps
        assert do(tracker, "recovered", folder, names=["main", "warm"])["steps"] == {"main": 40, "warm": 5}
        read = do(tracker, "last", folder, name="main", warm="warm", elsewhere=str(elsewhere))
        found.append(read["values"])
    assert len(set(found[0])) == 4
    assert found[0] == found[1] == found[2]


def test_a_series_and_a_list_of_runs_come_back_whole(tracker: str, folder: Path) -> None:
    do(tracker, "run", folder, name="warm", steps=5)
    do(tracker, "write_series", folder, name="long", points=500)
    assert do(tracker, "read_series", folder, name="long", warm="warm", budget=0.0)["points"] == 500
    do(tracker, "many", folder, runs=3, budget=20.0)
    listed = do(tracker, "listing", folder, budget=0.0, settle=0.0)
    assert listed["runs"] == 5
    assert listed["complete"] == 4  # the long series has other keys


def test_what_a_call_and_a_step_cost_is_measured(tracker: str, folder: Path) -> None:
    found = do(tracker, "calls", folder, budget=0.02, most=50, paced=30)
    assert 0 < found["median_us"] <= found["p99_us"] <= found["longest_us"]
    assert found["step_calls"] > 0
    assert found["start_finish_ms"] > 0
    assert {"cpu_us", "step_cpu_us", "step_caller_cpu_us", "step_added_us"} <= found.keys()
