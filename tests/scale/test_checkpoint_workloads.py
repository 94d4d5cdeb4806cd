"""What benchmarks/checkpoints.py does works with ours and with the floor, on small models: nothing is timed here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.proof
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
QUICK = """
import json, sys
from pathlib import Path
import checkpoints
from lab import Lab

checkpoints.SERIES = ("frozen", "full")
lab = Lab(Path(sys.argv[1]), Path(sys.argv[2]), ["copy", "autotrack"], True, 1, checkpoints.WORKER)
found = {name: getattr(checkpoints, name)(lab) for name in ("series", "keepers", "disk", "hooks")}
Path(sys.argv[3]).write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All that `--quick` measures, with the interpreter of this test in the place of every environment."""
    folder = tmp_path_factory.mktemp("quick")
    for name in ("copy", "autotrack", "training"):
        python = folder / "environments" / name / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
    work, result = folder / "work", folder / "result.json"
    work.mkdir()
    env = {key: value for key, value in os.environ.items() if not key.startswith("AUTOTRACK_")}
    command = [sys.executable, "-c", QUICK, str(folder / "environments"), str(work), str(result)]
    subprocess.run(command, cwd=BENCHMARKS, env=env, check=True, timeout=600)
    read: dict[str, Any] = json.loads(result.read_text())
    return read


def test_what_is_kept_comes_back_byte_for_byte_and_a_frozen_backbone_is_kept_once(
    found: dict[str, Any],
) -> None:
    for keeper, fetched in (("copy", 3), ("autotrack", 10)):
        for series in ("frozen", "full"):
            one = found["keepers"][keeper][series]
            assert (one["fetched"], one["exact"]) == (fetched, fetched)
            assert 0 < one["call_ms"] <= one["longest_ms"] < 1000 * one["seconds"]
    copied, ours = (found["keepers"][name] for name in ("copy", "autotrack"))
    assert copied["frozen"]["stored"] == copied["frozen"]["plain"] > 2 * ours["frozen"]["stored"]
    best_and_last = ours["full, best and last"]
    assert best_and_last["stored"] < 0.5 * ours["full"]["stored"]
    assert (best_and_last["fetched"], best_and_last["exact"]) == (1, 1)


def test_the_disk_is_measured_with_the_bytes_that_ours_is_given(found: dict[str, Any]) -> None:
    disk = found["disk"]
    assert disk["bytes"] == found["keepers"]["autotrack"]["full"]["plain"]
    assert disk["ratio"] == pytest.approx(disk["ours_mb_s"] / disk["disk_mb_s"])


def test_every_save_of_torch_and_of_the_trainer_goes_through_our_hook_and_is_stored(
    found: dict[str, Any],
) -> None:
    hooks = found["hooks"]
    assert (hooks["torch.save"]["saves"], hooks["Trainer"]["saves"]) == (10, 10)
    assert hooks["stored"] == hooks["known"] == 20
    assert 0 < hooks["Trainer"]["hook_ms"] <= hooks["Trainer"]["longest_ms"]
