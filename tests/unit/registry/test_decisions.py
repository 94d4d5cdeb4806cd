"""Decisions are files that are made once: of several that decide at the same moment one wins, and names cannot mislead."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotrack.errors import AliasMoved, CheckpointNotFound, RegistryError
from autotrack.registry.chain import check_chains
from autotrack.registry.decisions import decisions_of, models_in
from autotrack.registry.models import Version, add_version, check_alias, move_alias, read_model

Add = Callable[..., Version]
Together = Callable[[str, int], list[str]]
ROUNDS, PROCESSES = 8, 4

PROMOTE = """
from autotrack.errors import AliasMoved
from autotrack.registry.models import move_alias
registry = Path({registry!r})
for turn in range({rounds}):
    (gate / f"{{turn}}.{{me}}").touch()
    while len(list(gate.glob(f"{{turn}}.*"))) < {processes}:
        pass
    try:
        move_alias(registry, "model", f"at{{turn}}", f"v{{me + 1}}", {{"why": "mine"}}, action="promote", expect=0)
        print("won", end=" ")
    except AliasMoved:
        print("lost", end=" ")
"""

REGISTER = """
from autotrack.registry.models import add_version
registry = Path({registry!r})
ready()
for number in range(6):
    bytes_of = me * 3 + number  # half of it is what the neighbour registers too
    facts = {{"digest": f"{{bytes_of:064x}}", "size": 1, "path": "/p", "kept": ["@files", f"{{me}}-{{number}}"]}}
    add_version(registry, "model", facts)
"""


def test_of_those_who_promote_from_the_same_base_one_wins(
    registry: Path, add: Add, together: Together
) -> None:
    for number in range(PROCESSES):
        add(number)
    script = "ready()\n" + PROMOTE.format(registry=str(registry), rounds=ROUNDS, processes=PROCESSES)
    found = [line.split() for line in together(script, PROCESSES)]
    for turn in range(ROUNDS):
        results = [one[turn] for one in found]
        assert sorted(results) == ["lost"] * (PROCESSES - 1) + ["won"]
        assert read_model(registry, "model").aliases[f"at{turn}"] == results.index("won") + 1
    report = check_chains(registry)
    assert report.whole
    assert report.decisions == PROCESSES + ROUNDS


def test_of_those_who_register_at_once_each_gets_a_version_and_the_same_bytes_are_one(
    registry: Path, together: Together
) -> None:
    together(REGISTER.format(registry=str(registry)), PROCESSES)
    versions = read_model(registry, "model").versions
    assert [one.number for one in versions] == list(range(1, len(versions) + 1))
    assert sorted(int(one.digest, 16) for one in versions) == list(range(3 * (PROCESSES - 1) + 6))
    assert check_chains(registry).whole
    assert sorted(path.suffix for path in (registry / "model").iterdir()) == [".json"] * len(versions)


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../other", "a/b", "/a", "x" * 101, "x" * 300, "m\u043edel", "mod\xe9l", "\uff4dodel", "-rf", ".hidden", "a b",
        "a\n", "a\x00b", "a\x1b[31m", "a@b", "a:b", "a.tmp", "~", "C:\\a", "\u202emodel",
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused(registry: Path, facts: Callable[..., dict[str, Any]], name: str) -> None:
    with pytest.raises(RegistryError, match="is no name"):
        add_version(registry, name, facts())
    assert not registry.exists()
    with pytest.raises(RegistryError):
        check_alias(name)


@pytest.mark.parametrize(
    "other",
    ["Model-1", "MODEL-1", "m0del-1", "model-l", "model-I", "model_1", "model.1", "model1", "mo-del-1"],
)
def test_a_name_that_looks_like_a_model_is_refused(registry: Path, add: Add, other: str) -> None:
    add(1, "model-1")
    with pytest.raises(RegistryError, match=r"looks like 'model-1'"):
        add(2, other)
    assert models_in(registry) == ["model-1"]
    assert add(2, "model-2").number == add(2, "model-1").number - 1


@pytest.mark.parametrize("alias", ["v3", "3", "V3", "latest", "LATEST", "last", "newest"])
def test_an_alias_cannot_be_taken_for_a_version(registry: Path, add: Add, alias: str) -> None:
    add(1)
    with pytest.raises(RegistryError, match="cannot be an alias"):
        move_alias(registry, "model", alias, None, {})


def test_who_expects_another_version_loses_and_is_told_what_there_is(registry: Path, add: Add) -> None:
    for number in (1, 2, 3):
        add(number)
    move_alias(registry, "model", "production", 1, {}, expect=0)
    for wrong in (0, "v2", 3):
        with pytest.raises(AliasMoved, match="stands for v1"):
            move_alias(registry, "model", "production", 3, {}, expect=wrong)
    move_alias(registry, "model", "production", 2, {}, expect="v1")
    move_alias(registry, "model", "production", 3, {}, expect="production")
    with pytest.raises(CheckpointNotFound, match="v9"):
        move_alias(registry, "model", "production", 3, {}, expect="v9")
    assert read_model(registry, "model").aliases == {"production": 3}


def test_what_a_killed_process_left_is_nobodys_decision(registry: Path, add: Add) -> None:
    (registry / "half").mkdir(parents=True)
    add(1)
    (registry / "model" / "77-abcdefghjk.tmp").write_bytes(b'{"format":1,"n":2')
    (registry / "a file").write_bytes(b"")
    assert models_in(registry) == ["model"]
    assert add(2).number == 2
    assert len(decisions_of(registry, "model")) == 2
    assert check_chains(registry).whole
    assert add(1, "half").number == 1


def test_a_process_killed_at_any_moment_leaves_whole_decisions_only(registry: Path, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom autotrack.registry.models import add_version\n"
        "print('on', flush=True)\n"
        "for n in range(10**6):\n"
        "    add_version(Path(sys.argv[1]), 'model', {'digest': f'{n:064x}', 'size': 1, 'path': '/p', 'kept': ['@files', str(n)]})\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(registry)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    while len(list((registry / "model").glob("*.json"))) < 30:
        pass
    child.kill()
    child.communicate()
    report = check_chains(registry)
    assert report.whole
    assert report.decisions >= 30


def test_clocks_that_go_backwards_change_no_order(registry: Path, tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "support" / "shifted_clock.c"
    library, shift = tmp_path / "clock.so", tmp_path / "shift"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    script = (
        "import sys\nfrom pathlib import Path\nfrom autotrack.registry.models import add_version, move_alias\n"
        "for n in range(1, 4):\n"
        "    Path(sys.argv[2]).write_text(f'{-n * 10**8:+020d}')\n"
        "    add_version(Path(sys.argv[1]), 'model', {'digest': f'{n:064x}', 'size': 1, 'path': '/p', 'kept': ['@files', str(n)]})\n"
        "    move_alias(Path(sys.argv[1]), 'model', 'production', None, {})\n"
    )
    shift.write_text(f"{0:+020d}")
    env = {**os.environ, "LD_PRELOAD": str(library), "SHIFT_FILE": str(shift)}
    subprocess.run([sys.executable, "-c", script, str(registry), str(shift)], check=True, env=env)
    model = read_model(registry, "model")
    times = [one.registered for one in model.versions]
    assert times == sorted(times, reverse=True)
    assert times[0] != times[2]
    assert model.version().number == model.aliases["production"] == 3
    assert check_chains(registry).whole
