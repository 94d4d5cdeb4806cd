"""`autotrack audit verify`: whole chains are told with their heads, changed ones with what was changed and exit code 1."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autotrack
from autotrack import checkpoints

Invoke = Callable[..., Any]


@pytest.fixture
def registry(store: Path, tmp_path: Path) -> Path:
    """Three decisions about a model, which a run of another process has seen afterwards."""
    with autotrack.init(project="p") as run:
        (tmp_path / "model.bin").write_bytes(b"weights")
        run.log_checkpoint(tmp_path / "model.bin")
    checkpoints.register("detector", run.id)
    checkpoints.promote("detector", "production", why="first")
    checkpoints.unalias("detector", "production")
    script = "import autotrack\nwith autotrack.init(project='p'): pass"
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ)
    return store / "registry" / "detector"


def test_whole_chains_are_told_with_their_heads(answer: Invoke, invoke: Invoke, registry: Path) -> None:
    found = answer("audit", "verify")
    assert (found["whole"], found["models"], found["decisions"], found["compared"], found["faults"]) == (
        True, 1, 3, 1, [],
    )  # fmt: skip
    number, digest = found["heads"]["detector"]
    assert number == 3
    shown = invoke("audit", "verify")
    assert (shown.exit_code, digest in shown.stdout.replace("\n", "")) == (0, True)
    assert "as it was made" in shown.stdout


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_changed_decision_is_named_with_code_1(invoke: Invoke, registry: Path, number: int) -> None:
    path = registry / f"{number}.json"
    path.write_bytes(path.read_bytes().replace(b'"host":"', b'"host":"x'))
    result = invoke("audit", "verify")
    assert result.exit_code == 1
    assert f"detector, decision {min(number + 1, 3)}:" in " ".join(result.stdout.split())


def test_a_removed_last_decision_is_found_by_the_run_that_saw_it(invoke: Invoke, registry: Path) -> None:
    (registry / "3.json").unlink()
    result = invoke("audit", "verify", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert not found["whole"]
    assert [(one["model"], one["number"]) for one in found["faults"]] == [("detector", 3)]


def test_the_check_of_the_whole_store_finds_it_too(invoke: Invoke, registry: Path) -> None:
    assert invoke("verify").exit_code == 0
    (registry / "2.json").unlink()
    result = invoke("verify")
    assert (result.exit_code, "decision 2 is missing" in " ".join(result.stdout.split())) == (1, True)


def test_damaged_decisions_are_a_sentence_everywhere(invoke: Invoke, registry: Path) -> None:
    (registry / "2.json").write_bytes(b"{}")
    for code, words in (
        (0, ("checkpoint", "ls")),
        (1, ("checkpoint", "show", "detector")),
        (1, ("checkpoint", "get", "detector")),
    ):
        result = invoke(*words)
        assert (result.exit_code, "2.json" in result.output.replace("\n", "")) == (code, True)
        assert "Traceback" not in result.output


def test_a_store_without_a_registry_is_whole(answer: Invoke, store: Path) -> None:
    with autotrack.init(project="p"):
        pass
    assert (answer("audit", "verify")["whole"], answer("audit", "verify")["models"]) == (True, 0)
