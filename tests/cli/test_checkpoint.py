"""`autotrack checkpoint …`: every command does what it says, says what went wrong, and answers in JSON."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import autotrack
from autotrack import checkpoints

Invoke = Callable[..., Any]


@pytest.fixture
def run(store: Path, tmp_path: Path) -> str:
    """A run with three stored checkpoints and the version of a model; its id."""
    with autotrack.init(project="p", name="trains", log_model="all") as made:
        for step, score in ((1, 0.5), (2, 0.25), (3, 0.75)):
            made_by = torch.Generator().manual_seed(step)
            torch.save({"body.weight": torch.randn(64, 64, generator=made_by)}, tmp_path / f"{step}.pt")
            made.log_checkpoint(tmp_path / f"{step}.pt", step=step, score=score, monitor="loss", mode="min")
    checkpoints.register("detector", made.id)
    return made.id


def words(result: Any) -> str:
    return " ".join(result.output.split())


def flip(store: Path) -> None:
    for pack in (store / "objects" / "packs").glob("*.pack"):
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        pack.write_bytes(data)


def test_get_prints_where_it_lies_or_puts_it_there(invoke: Invoke, run: str, tmp_path: Path) -> None:
    assert invoke("checkpoint", "get", run).stdout == f"{tmp_path / '2.pt'}\n"
    assert (
        invoke("checkpoint", "get", "detector@v1", "--to", tmp_path / "out.pt").stdout
        == f"{tmp_path / 'out.pt'}\n"
    )
    taken = invoke("checkpoint", "get", run, "--to", tmp_path / "out.pt")
    assert (taken.exit_code, "something already" in words(taken)) == (1, True)
    os.unlink(tmp_path / "2.pt")
    rebuilt = Path(invoke("checkpoint", "get", run).stdout.strip())
    assert rebuilt.read_bytes() == (tmp_path / "out.pt").read_bytes()
    assert invoke("checkpoint", "resume", run).stdout == f"{tmp_path / '3.pt'}\n"


def test_a_name_that_is_none_is_one_sentence_and_code_1(invoke: Invoke, run: str) -> None:
    for command in ("get", "show", "load", "verify", "pin"):
        result = invoke("checkpoint", command, f"{run}:accuracy")
        assert result.exit_code == 1
        assert "scores of: loss" in words(result)
        assert "Traceback" not in result.output


def test_the_life_of_a_model(invoke: Invoke, run: str) -> None:
    assert (
        invoke("checkpoint", "register", "detector", f"{run}:step=1", "-m", "older").stdout == "detector@v2\n"
    )
    assert invoke("checkpoint", "alias", "detector", "candidate", "-v", "v2").exit_code == 0
    assert invoke("checkpoint", "promote", "detector", "production").exit_code == 2
    empty = invoke("checkpoint", "promote", "detector", "production", "--why", " ")
    assert (empty.exit_code, "needs a reason" in words(empty)) == (1, True)
    first = invoke(
        "checkpoint", "promote", "detector", "production", "--why", "good", "-v", "1", "--expect", "0"
    )
    assert first.stdout == "detector@production is v1\n"
    late = invoke("checkpoint", "promote", "detector", "production", "--why", "x", "--expect", "0")
    assert (late.exit_code, "stands for v1" in words(late)) == (1, True)
    held = invoke("checkpoint", "withdraw", "detector", "v1", "--why", "x")
    assert (held.exit_code, "alias 'production'" in words(held)) == (1, True)
    assert invoke("checkpoint", "unalias", "detector", "candidate").exit_code == 0
    assert invoke("checkpoint", "withdraw", "detector", "v2", "--why", "leaks").exit_code == 0
    shown = words(invoke("checkpoint", "show", "detector"))
    for text in ("production = v1", "good", "v2 withdrawn: leaks", "candidate removed (was v2)", "(older)"):
        assert text in shown


def test_each_reading_command_answers_in_json(answer: Invoke, run: str, tmp_path: Path) -> None:
    checkpoints.promote("detector", "production", why="good")
    listed = answer("checkpoint", "ls")
    assert [one["step"] for one in listed["checkpoints"]] == [3, 2, 1]
    assert listed["checkpoints"][1]["names"] == ["detector@v1", "detector@production"]
    assert listed["models"][0]["aliases"] == {"production": 1}
    assert len(answer("checkpoint", "ls", "--run", run)["checkpoints"]) == 3
    model = answer("checkpoint", "show", "detector")
    assert (model["versions"][0]["run"], model["decisions"][1]["why"]) == (run, "good")
    one = answer("checkpoint", "show", "detector@production")
    assert (one["step"], one["kept"], one["lineage"][0]["run"]) == (2, True, run)
    assert answer("checkpoint", "load", run) == [{"name": "body.weight", "what": "torch.float32 (64, 64)"}]
    gc = answer("checkpoint", "gc", "--last", "1")
    assert (gc["dry"], len(gc["dropped"]), gc["problems"]) == (True, 1, [])
    assert gc["kept"]["registered"]["checkpoints"]
    verified = answer("checkpoint", "verify")
    assert (verified["whole"], verified["checkpoints"], verified["damages"]) == (True, 3, {})
    assert answer("checkpoint", "verify", run)["checkpoints"] == 1


def test_verify_names_the_checkpoint_and_the_tensor_with_code_1(
    invoke: Invoke, run: str, store: Path, tmp_path: Path
) -> None:
    flip(store)
    name = f"{run}:{checkpoints.list(run)[1].id}"
    result = invoke("checkpoint", "verify", f"{run}:best")
    assert result.exit_code == 1
    assert name in result.stdout
    assert "body.weight" in result.stdout
    found = json.loads(invoke("checkpoint", "verify", "--json").stdout)
    assert (found["whole"], len(found["damages"]), found["damages"][name][0]["part"]) == (
        False,
        3,
        "body.weight",
    )
    os.unlink(tmp_path / "2.pt")
    refused = invoke("checkpoint", "get", run)
    assert (refused.exit_code, "body.weight" in words(refused)) == (1, True)


def test_gc_tells_and_frees_only_with_apply(invoke: Invoke, run: str, store: Path) -> None:
    told = invoke("checkpoint", "gc", "--last", "1")
    assert (told.exit_code, "Would be freed" in told.stdout, "--apply" in told.stderr) == (0, True, True)
    assert len(list((store / "objects" / "kept").glob("*/*.json"))) == 3
    assert invoke("checkpoint", "pin", f"{run}:step=1").exit_code == 0
    assert invoke("checkpoint", "gc", "--last", "0", "--apply").exit_code == 0
    assert len(list((store / "objects" / "kept").glob("*/*.json"))) == 2
    invoke("checkpoint", "unpin", f"{run}:step=1")
    assert "Freed" in invoke("checkpoint", "gc", "--last", "0", "--apply").stdout
    assert "not stored gc" in words(invoke("checkpoint", "show", f"{run}:step=1"))
    recipe = next((store / "objects" / "kept").glob("*/*.json"))
    recipe.write_bytes(b"[]")
    stopped = invoke("checkpoint", "gc", "--last", "0", "--apply")
    assert (stopped.exit_code, "damaged" in words(stopped)) == (1, True)


def test_load_refuses_what_would_run_code(invoke: Invoke, store: Path, tmp_path: Path) -> None:
    import joblib

    with autotrack.init(project="p") as made:
        joblib.dump({"a": [1, 2]}, tmp_path / "model.joblib")
        made.log_checkpoint(tmp_path / "model.joblib")
    refused = invoke("checkpoint", "load", made.id)
    assert (refused.exit_code, "--pickle" in words(refused)) == (1, True)
    assert "[1, 2]" in invoke("checkpoint", "load", made.id, "--pickle").stdout


def test_hostile_names_are_shown_harmless(invoke: Invoke, store: Path, tmp_path: Path) -> None:
    path = tmp_path / "\x1b]0;owned\x07\u202e[red].pt"
    torch.save({"\x1b[31mw": torch.ones(2)}, path)
    with autotrack.init(project="p") as made:
        made.log_checkpoint(path, score=1.0, monitor="m\x1b[2J", mode="min")
    invoke("checkpoint", "register", "detector", made.id, "--note", "\x1b[31mnote")
    for words_ in (("ls",), ("show", made.id), ("show", "detector"), ("load", made.id), ("verify",), ("gc",)):
        output = invoke("checkpoint", *words_).output
        assert not {"\x1b", "\x07", "\u202e"} & set(output)


def test_a_store_without_checkpoints_says_so(invoke: Invoke, store: Path) -> None:
    with autotrack.init(project="p"):
        pass
    assert "No run of this store" in invoke("checkpoint", "ls").stderr
    assert invoke("checkpoint", "verify").exit_code == 0
    assert invoke("checkpoint", "gc").exit_code == 0
    assert not shutil.os.path.exists(store / "objects" / "packs")


@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_is_wider_than_the_terminal(terminal: Invoke, run: str, columns: int) -> None:
    from rich.text import Text

    for command in (("ls",), ("show", "detector"), ("gc", "--last", "1")):
        shown = terminal("checkpoint", *command, columns=columns)
        assert shown.code == 0
        assert max(len(Text.from_ansi(line).plain) for line in shown.lines) <= columns
