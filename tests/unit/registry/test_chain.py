"""Whatever is done to the decisions afterwards is found: by the chain, or by the heads that a later run noted."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

import autotrack
from autotrack import checkpoints
from autotrack.layout import Layout
from autotrack.registry.chain import check_chains, heads_of
from autotrack.registry.models import Version, add_version, move_alias

Add = Callable[..., Version]


@pytest.fixture
def chain(registry: Path, add: Add) -> Path:
    """The folder of a model with four decisions."""
    for number in (1, 2, 3):
        add(number)
    move_alias(registry, "model", "production", 3, {"why": "better"})
    return registry / "model"


def faults(registry: Path, noted: list[tuple[str, dict[str, tuple[int, str]]]] | None = None) -> list[int]:
    return [one.number for one in check_chains(registry, noted or ()).faults]


def test_a_chain_as_it_was_made_is_whole(registry: Path, chain: Path) -> None:
    report = check_chains(registry, [("run1", heads_of(registry))])
    assert report.whole
    assert (report.models, report.decisions, report.compared) == (1, 4, 1)
    assert report.heads == heads_of(registry)
    assert report.heads["model"] == (4, hashlib.sha256((chain / "4.json").read_bytes()).hexdigest())


def test_every_flipped_byte_is_found(registry: Path, chain: Path) -> None:
    noted = [("run1", heads_of(registry))]
    for number in (1, 3, 4):
        path = chain / f"{number}.json"
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            report = check_chains(registry, noted if number == 4 else ())
            assert not report.whole, (number, place)
            assert {one.number for one in report.faults} & {number, number + 1}
        path.write_bytes(whole)
    assert check_chains(registry, noted).whole


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_removed_decision_is_found_and_named(registry: Path, chain: Path, number: int) -> None:
    (chain / f"{number}.json").unlink()
    assert faults(registry) == [number]


def test_two_that_were_swapped_are_found(registry: Path, chain: Path) -> None:
    os.rename(chain / "2.json", chain / "x")
    os.rename(chain / "3.json", chain / "2.json")
    os.rename(chain / "x", chain / "3.json")
    assert faults(registry) == [2, 3]


def test_one_of_another_model_is_found(registry: Path, chain: Path, add: Add) -> None:
    add(1, "another")
    shutil.copy(registry / "another" / "1.json", chain / "1.json")
    assert 1 in faults(registry)


def test_the_last_ones_removed_are_found_by_the_heads_that_were_noted(registry: Path, chain: Path) -> None:
    noted = [("run1", heads_of(registry))]
    (chain / "4.json").unlink()
    assert faults(registry) == []
    [fault] = check_chains(registry, noted).faults
    assert (fault.number, "run1" in fault.text, "removed" in fault.text) == (4, True, True)
    shutil.rmtree(chain)
    assert faults(registry, noted) == [4]


def rewrite(folder: Path) -> None:
    """Forge a whole chain with another reason in each decision, and right digests."""
    before = None
    for number in range(1, len(list(folder.glob("*.json"))) + 1):
        path = folder / f"{number}.json"
        data = orjson.dumps({**orjson.loads(path.read_bytes()), "before": before, "why": "forged"}) + b"\n"
        path.unlink()
        path.write_bytes(data)
        before = hashlib.sha256(data).hexdigest()


def test_a_chain_that_was_written_anew_is_found_by_the_heads_that_were_noted(
    registry: Path, chain: Path
) -> None:
    noted = [("run1", heads_of(registry))]
    rewrite(chain)
    assert faults(registry) == []
    [fault] = check_chains(registry, noted).faults
    assert "run1" in fault.text
    assert "written anew" in fault.text


def test_heads_that_are_no_heads_are_left_out(registry: Path, chain: Path) -> None:
    wrong: list[tuple[str, dict[str, object]]] = [
        ("r", {"model": None}),
        ("r", {"model": ["x"]}),
        ("r", {"model": {}}),
    ]
    assert check_chains(registry, wrong).whole


def test_a_file_that_is_far_too_large_is_not_read(registry: Path, chain: Path) -> None:
    with open(chain / "4.json", "r+b") as file:
        file.truncate(1 << 40)
    [fault] = check_chains(registry).faults
    assert (fault.number, "too large" in fault.text) == (4, True)


def test_a_run_notes_the_heads_that_it_finds(store: Path, facts: Callable[..., dict[str, object]]) -> None:
    registry = Layout(store).registry
    with autotrack.init(project="p"):
        pass
    add_version(registry, "model", facts(1))
    add_version(registry, "model", facts(2))
    script = "import autotrack\nwith autotrack.init(project='p') as run: print(run.id)"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ
    ).stdout.strip()
    report = checkpoints.audit()
    assert (report.whole, report.compared) == (True, 1)
    rewrite(registry / "model")
    [fault] = checkpoints.audit().faults
    assert run in fault.text
