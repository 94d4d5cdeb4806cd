"""`autotrack diff`: what differs between two runs, and nothing else."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autotrack
from autotrack.cli.output import text_width
from autotrack.cli.records import differences

Invoke = Callable[..., Any]
Ids = dict[str, str]


def test_what_differs_is_shown_and_what_is_equal_is_not(invoke: Invoke, filled: Path, ids: Ids) -> None:
    result = invoke("diff", ids["sgd"], ids["adam"])
    assert result.exit_code == 0
    text = result.stdout
    assert re.search(r"~ +name +mlp-sgd +mlp-adam\n", text)
    assert re.search(r"~ +lr +0\.5 +0\.25\n", text)
    assert re.search(r"~ +optimizer\.name +sgd +adam\n", text)
    assert re.search(r"- +tags +\[\"baseline\"\] +-\n", text)
    assert re.search(r"\+ +group +- +night\n", text)
    assert re.search(r"~ +train/loss +\S+ +\S+ +\+0\.00\S+ \(\+\d+\.\d%\)", text)
    for equal in ("epochs", "python.version", "command.folder", "numpy"):
        assert equal not in text
    shown = invoke("diff", ids["sgd"], ids["adam"], "--all").stdout
    for equal in ("epochs", "python.version", "command.folder", "numpy", "host.name"):
        assert equal in shown


def test_json_gives_both_values_and_the_differences(answer: Invoke, filled: Path, ids: Ids) -> None:
    found = answer("diff", ids["sgd"], ids["adam"])
    assert found["runs"] == [ids["sgd"], ids["adam"]]
    assert found["config"] == {
        "lr": {"change": "changed", "values": [0.5, 0.25]},
        "optimizer.name": {"change": "changed", "values": ["sgd", "adam"]},
    }
    assert found["run"]["tags"] == {"change": "removed", "values": [["baseline"], None]}
    loss = found["metrics"]["train/loss"]
    assert loss["change"] == "changed"
    assert loss["last_difference"] == pytest.approx(loss["last"][1] - loss["last"][0])
    assert loss["min_difference"] == pytest.approx(loss["min"][1] - loss["min"][0])
    assert loss["count"] == [20, 20]
    assert {"code", "packages", "command", "environment", "inputs"} <= found.keys()
    assert found["packages"] == {}
    everything = answer("diff", ids["sgd"], ids["adam"], "--all")
    assert everything["config"]["epochs"] == {"change": "same", "values": [2, 2]}


def capture(run: autotrack.Run, what: str, **facts: Any) -> None:
    body = {"what": what, "status": "captured", "why": None, "ms": 0.1, "facts": facts}
    run.event("capture", body)


def packages(store: Path, **versions: Any) -> str:
    """A list of packages in the object store; its digest."""
    listed = [{"name": name, **({"version": v} if isinstance(v, str) else v)} for name, v in versions.items()]
    data = json.dumps({"packages": listed}).encode()
    digest = hashlib.sha256(data).hexdigest()
    path = store / "objects" / digest[:2] / digest[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return digest


@pytest.fixture
def pair(store: Path, tmp_path: Path) -> tuple[str, str]:
    """Two runs that differ in code, packages, machine, command and inputs."""
    found = []
    for number in (1, 2):
        data = tmp_path / "data.csv"
        data.write_text("x" * number)
        with autotrack.init(
            project="p", name="same", config={"x": float("nan"), "flag": [1, True][number - 1]}
        ) as run:
            autotrack.background.drain(60)
            run.log({"loss": float("nan"), "up": number})
            run.log_input(data)
            capture(run, "git", commit=str(number) * 40, branch="main", dirty=number == 2)
            listed = (
                {"torch": "2.0", "old": "1"}
                if number == 1
                else {"torch": "2.1", "new": {"version": "3", "commit": "c0ffee" * 7}}
            )
            capture(run, "packages", digest=packages(store, numpy="2.0", **listed))
            words = ["python", "train.py", *(["--seed", str(number)] * 3), "--out", "a-long-folder/" * 9]
            capture(run, "command", command=" ".join(words), argv=words, folder="/w")
            capture(run, "gpu", gpus={"0": {"name": ["A100", "H100"][number - 1], "memory": 8}})
        found.append(run.id)
    return found[0], found[1]


def test_code_packages_command_machine_and_inputs(answer: Invoke, pair: tuple[str, str]) -> None:
    found = answer("diff", *pair)
    assert found["code"] == {
        "git.commit": {"change": "changed", "values": ["1" * 40, "2" * 40]},
        "git.dirty": {"change": "changed", "values": [False, True]},
    }
    assert found["packages"] == {
        "torch": {"change": "changed", "values": ["2.0", "2.1"]},
        "old": {"change": "removed", "values": ["1", None]},
        "new": {"change": "added", "values": [None, "3 (c0ffeec0ffee)"]},
    }
    assert found["command"].keys() == {"command.command"}
    assert found["environment"] == {"gpu.gpus.0.name": {"change": "changed", "values": ["A100", "H100"]}}
    (digests,) = [one["values"] for one in found["inputs"].values()]
    assert digests == [hashlib.sha256(b"x" * number).hexdigest() for number in (1, 2)]
    assert found["config"] == {"flag": {"change": "changed", "values": [1, True]}}
    assert found["metrics"].keys() == {"up"}
    assert found["metrics"]["up"]["last_difference"] == 1.0


def test_without_the_list_of_packages_its_digest_is_compared(
    answer: Invoke, pair: tuple[str, str], store: Path
) -> None:
    for path in store.glob("objects/*/*"):
        path.unlink()
    assert "packages.digest" in answer("diff", *pair)["packages"]


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_it_fits_the_terminal_and_shows_where_long_texts_differ(
    terminal: Invoke, pair: tuple[str, str], columns: int
) -> None:
    shown = terminal("diff", *pair, columns=columns, env={"NO_COLOR": "1"})
    assert shown.code == 0
    assert "\x1b" not in shown.output
    assert max(map(text_width, shown.lines)) <= columns
    if columns >= 60:
        (line,) = [line for line in shown.lines if "command.command" in line]
        assert "--seed 1" in line
        assert "--seed 2" in line


def test_in_a_terminal_it_has_colour(terminal: Invoke, pair: tuple[str, str]) -> None:
    assert "\x1b[32m" in terminal("diff", *pair).output


def test_hostile_values_do_not_reach_the_terminal(invoke: Invoke, filled: Path, ids: Ids) -> None:
    result = invoke("diff", ids["hostile"], ids["sgd"])
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "\x07" not in result.stdout
    assert "\u202e" not in result.stdout


def test_runs_that_do_not_differ(invoke: Invoke, store: Path) -> None:
    ids = []
    for _ in range(2):
        with autotrack.init(project="p", name="same") as run:
            run.log({"a": float("nan"), "b": 1})
        ids.append(run.id)
    result = invoke("diff", *ids)
    assert result.exit_code == 0
    assert "Metrics" not in result.stdout
    assert "Config" not in result.stdout


def test_mistakes_are_sentences(invoke: Invoke, filled: Path, ids: Ids) -> None:
    assert invoke("diff", ids["sgd"]).exit_code == 2
    same = invoke("diff", ids["sgd"], ids["sgd"])
    assert same.exit_code == 2
    assert "two different runs" in same.stderr
    missing = invoke("diff", ids["sgd"], "nosuchrun1")
    assert missing.exit_code == 1
    assert "nosuchrun1" in missing.stderr


def test_thousands_of_differences_are_summed_up(invoke: Invoke, store: Path) -> None:
    ids = []
    for number in (1, 2):
        config = {f"k{place:04}": place * number for place in range(1, 1_500)}
        with autotrack.init(project="p", config=config) as run:
            run.log({f"m{place:04}": place * number for place in range(1, 1_500)})
        ids.append(run.id)
    result = invoke("diff", *ids)
    assert result.stdout.count("more with --all") == 2
    assert len(result.stdout.splitlines()) < 110
    assert len(invoke("diff", *ids, "--all").stdout.splitlines()) > 2_998


class Counted(str):
    """A key that counts how often it is looked up."""

    looked_up = 0

    def __hash__(self) -> int:
        Counted.looked_up += 1
        return super().__hash__()


def test_each_key_is_looked_up_a_few_times_however_many_there_are() -> None:
    keys = [Counted(number) for number in range(500)]
    rows = [dict.fromkeys(keys, place) | {"same": 0} for place in range(2)]
    Counted.looked_up = 0
    assert differences(rows) == (keys, ["same"])
    assert Counted.looked_up < 20 * len(keys)
