"""`autotrack checkpoint …` and `autotrack audit verify`, from the shell's side: what is printed, and with which exit code."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autotrack

Invoke = Callable[..., Any]
DOCS = (Path(__file__).resolve().parents[2] / "docs" / "json.md").read_text(encoding="utf-8")


def write_torch_like(path: Path, number: int) -> None:
    """A file with the structure of torch's; what stands in its pickle is nobody's business here."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02.")
        archive.writestr("model/data/0", bytes([number]) * 4000)
        archive.writestr("model/data/1", b"same" * 5000)


@pytest.fixture
def run(store: Path, tmp_path: Path) -> str:
    """A run with three stored checkpoints, the second one the best."""
    with autotrack.init(project="p", name="trains", log_model="all") as run:
        run.log({"latency_ms": 3.5})
        for step, loss in enumerate((0.9, 0.25, 0.5)):
            path = tmp_path / f"step-{step}.pt"
            write_torch_like(path, step)
            run.log_checkpoint(path, step=step, score=loss, monitor="loss", mode="min")
    return run.id


def ok(invoke: Invoke, *words: object) -> str:
    result = invoke("checkpoint", *words)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def fails(invoke: Invoke, *words: object) -> str:
    result = invoke("checkpoint", *words)
    assert result.exit_code == 1, result.output
    return " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["get", "nosuch"], "No run id begins with"),
        (["get", "RUN:accuracy"], "It has scores of: loss"),
        (["get", "detector@production"], "There is no model 'detector'"),
        (["register", "../x", "RUN"], "is no name for a model"),
        (["register", "détecteur", "RUN"], "is no name for a model"),
        (["promote", "detector", "latest", "-w", "x"], "There is no model"),
        (["export", "RUN", "out", "--as", "onnx"], "files, mlflow, safetensors"),
    ],
)
def test_mistakes_are_told_in_a_sentence(invoke: Invoke, run: str, words: list[str], says: str) -> None:
    assert says in fails(invoke, *(word.replace("RUN", run) for word in words))


def test_gc_tells_first_and_frees_what_it_told(invoke: Invoke, run: str, store: Path) -> None:
    ok(invoke, "register", "detector", f"{run}:step=0")
    before = {path: path.stat().st_size for path in store.rglob("objects/**/*") if path.is_file()}
    told = json.loads(ok(invoke, "gc", "--last", "1", "--json"))
    assert told["dry"] is True
    assert {path: path.stat().st_size for path in before} == before
    assert "Nothing was freed" in invoke("checkpoint", "gc", "--last", "1").stderr
    [dropped] = told["dropped"]
    best = next(one for one in autotrack.get_run(run).checkpoints if one.best)
    assert dropped == f"{run}:{best.id}"
    done = json.loads(ok(invoke, "gc", "--last", "1", "--apply", "--json"))
    assert (done["dry"], done["dropped"], done["freed"]) == (False, told["dropped"], told["freed"])
    states = [(one.stored, one.unstored) for one in autotrack.get_run(run).checkpoints]
    assert states == [("packed", None), (None, "gc"), ("packed", None)]
    assert ok(invoke, "verify")


def test_verify_names_the_part_that_was_hit(invoke: Invoke, run: str, store: Path) -> None:
    assert "as it was kept" in ok(invoke, "verify")
    pack = next(
        path for path in (store / "objects" / "packs").glob("*.pack") if b"same" * 10 in path.read_bytes()
    )
    data = bytearray(pack.read_bytes())
    data[data.index(b"same" * 10) + 3] ^= 1
    pack.write_bytes(data)
    result = invoke("checkpoint", "verify", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["whole"] is False
    assert {one["part"] for damages in found["damages"].values() for one in damages} == {"data/1"}
    assert "data/1" in invoke("checkpoint", "verify", f"{run}:best").stdout
    everything = invoke("verify")
    assert everything.exit_code == 1
    assert "data/1" in everything.stdout


def test_the_audit_finds_a_decision_that_was_changed_or_is_gone(
    invoke: Invoke, run: str, store: Path
) -> None:
    ok(invoke, "register", "detector", run)
    for reason in ("first", "second"):
        ok(invoke, "promote", "detector", "production", "-w", reason)
    with autotrack.init(project="p"):
        pass  # notes the heads
    audit = invoke("audit", "verify", "--json")
    assert audit.exit_code == 0
    assert json.loads(audit.stdout)["compared"] == 1
    chain = store / "registry" / "detector"
    second = chain / "2.json"
    whole = second.read_bytes()
    second.write_bytes(whole.replace(b"first", b"worst"))
    result = invoke("audit", "verify")
    assert result.exit_code == 1
    assert "was changed" in " ".join(result.stdout.split())
    assert invoke("verify").exit_code == 1
    second.write_bytes(whole)
    assert invoke("audit", "verify").exit_code == 0
    os.unlink(chain / "3.json")
    result = invoke("audit", "verify")
    assert result.exit_code == 1
    assert "decisions were removed" in " ".join(result.stdout.split())


def test_every_field_of_the_json_is_on_the_page(invoke: Invoke, run: str) -> None:
    ok(invoke, "register", "detector", run)
    ok(invoke, "promote", "detector", "production", "-w", "good")
    for words in (["ls"], ["show", "detector"], ["show", run], ["verify"], ["gc"]):
        missing = sorted(
            name for name in names(json.loads(ok(invoke, *words, "--json"))) if f"`{name}`" not in DOCS
        )
        assert missing == [], words
    audit = json.loads(invoke("audit", "verify", "--json").stdout)
    assert sorted(name for name in audit if f"`{name}`" not in DOCS) == []


def names(value: Any) -> set[str]:
    """The names of fields at every depth but in what users name themselves, and in decisions, which docs/format.md describes."""
    if isinstance(value, list):
        return set().union(*map(names, value))
    if not isinstance(value, dict):
        return set()
    own = {"aliases", "metrics", "decisions", "heads", "freed", "damages", "code", "from"}
    inner = [names(one) for key, one in value.items() if key not in own]
    if "last" not in value and all(
        isinstance(one, dict) and "bytes_only_by_it" in one for one in value.values()
    ):
        return set().union(*inner)  # rules by their names
    return set(value).union(*inner)


def test_a_damaged_decision_hides_its_own_model_and_no_other(invoke: Invoke, run: str, store: Path) -> None:
    ok(invoke, "register", "detector", f"{run}:best")
    ok(invoke, "register", "reader", f"{run}:last")
    (store / "registry" / "reader" / "1.json").write_bytes(b"{}")
    result = invoke("checkpoint", "ls")
    assert result.exit_code == 0
    assert "detector@v1" in result.stdout
    assert "'reader' is left out" in " ".join(result.stderr.split())
    assert "detector@v1" in ok(invoke, "show", f"{run}:best")
    assert "1.json" in fails(invoke, "gc")
