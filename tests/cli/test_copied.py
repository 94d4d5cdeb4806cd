"""Run folders that were copied from elsewhere (`cp -a`, `rsync`): they are read like any other."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotrack.index.seal import seal_folder
from autotrack.journal.format import encode

Invoke = Callable[..., Any]
Ids = dict[str, str]
KILLED = (
    "import autotrack, os, signal\n"
    "run = autotrack.init(project='digits', name='killed')\n"
    "run.log({'loss': 0.5}, step=3)\n"
    "print(run.id, flush=True)\n"
    "os.kill(os.getpid(), signal.SIGKILL)\n"
)


def copy(source: Path, target: Path) -> None:
    """`cp -a`, with the folders above made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def elsewhere(folder: Path, seconds: int = 0) -> None:
    """Make a run's journals those of another machine, whose boot and processes say nothing here, and older."""
    for path in folder.glob("*.jsonl"):
        head, *rest = path.read_bytes().split(b"\n")
        kind, number, moment, body, _ = json.loads(head)
        body |= {
            "host": "gpu-17",
            "boot": "another boot",
            "pidns": "pid:[1]",
            "wall": body["wall"] - seconds * 10**9,
        }
        before = path.stat().st_mtime - seconds
        path.write_bytes(b"\n".join([encode(kind, number, moment, body).rstrip(b"\n"), *rest]))
        os.utime(path, (before, before))


def test_a_copied_run_is_listed_shown_and_exported(
    invoke: Invoke, answer: Invoke, recorded: tuple[Path, Ids], ids: Ids, store: Path
) -> None:
    for name in ("sgd", "grid", "C1", "C10"):
        copy(recorded[0] / "runs" / "digits" / ids[name], store / "runs" / "digits" / ids[name])
    rows = answer("ls")
    assert {row["name"]: row["status"] for row in rows} == {"mlp-sgd": "finished", "grid": "finished"}
    assert [child["name"] for child in answer("ls", "--all", "--where", "parent is not None")] == [
        "C=10",
        "C=1",
    ]
    assert answer("show", ids["sgd"])["config"]["lr"] == 0.5
    points = list(csv.DictReader(io.StringIO(invoke("export", ids["sgd"]).stdout)))
    assert len(points) == 40
    assert invoke("tag", ids["sgd"], "copied").exit_code == 0
    assert answer("show", ids["sgd"])["tags"] == ["baseline", "copied"]


def test_a_whole_store_is_copied_in_beside_what_is_there(
    invoke: Invoke, answer: Invoke, recorded: tuple[Path, Ids], ids: Ids, store: Path
) -> None:
    import autotrack

    own = autotrack.init(project="digits", name="own")
    own.log({"loss": 1.0})
    own.finish()
    assert [run["name"] for run in answer("ls")] == ["own"]
    subprocess.run(["cp", "-a", f"{recorded[0]}/runs/.", f"{store}/runs"], check=True)
    assert {run["id"] for run in answer("ls", "--all")} == {own.id, *ids.values()}
    assert invoke("compare", own.id, ids["sgd"]).exit_code == 0
    shutil.rmtree(store / "runs" / "other")
    assert ids["hostile"] not in {run["id"] for run in answer("ls", "--all")}


@pytest.mark.parametrize(("age", "status"), [(0, "running"), (3600, "stale")])
def test_a_run_that_another_machine_did_not_finish_is_running_or_stale(
    process: Invoke, store: Path, tmp_path: Path, age: int, status: str
) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False)
    run = done.stdout.strip()
    shown = json.loads(process("show", run, "--json").stdout)
    assert (shown["status"], shown["summary"]) == ("died", {"loss": 0.5})
    folder = store / "runs" / "digits" / run
    copy(folder, tmp_path / "other" / ".autotrack" / "runs" / "digits" / run)
    other = tmp_path / "other" / ".autotrack"
    (copied,) = other.glob("runs/*/*")
    elsewhere(copied, age)
    shown = json.loads(process("--store", other, "show", "--json").stdout)
    assert shown["summary"] == {"loss": 0.5}
    assert shown["damaged"] == 0
    assert shown["status"] == status
    if status == "stale":
        assert "stale" in process("--store", other, "ls").stdout
        refused = process("--store", other, "rm", "--yes", run)
        assert "another machine" in refused.stderr


def test_finished_runs_of_another_machine_keep_their_states(answer: Invoke, filled: Path, ids: Ids) -> None:
    for folder in filled.glob("runs/*/*"):
        elsewhere(folder)
    states = {run["id"]: run["status"] for run in answer("ls", "--all")}
    assert states == {run: ("failed" if name == "broken" else "finished") for name, run in ids.items()}


def rsync(source: Path, target: Path, look: Callable[[], object]) -> None:
    """What `rsync -a` does: a hidden file beside the old one, half written when `look` is called, then renamed, with the source's time."""
    for path in sorted(source.rglob("*.jsonl*")):
        copied = target / path.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        content, times = path.read_bytes(), path.stat()
        partial = copied.with_name(f".{copied.name}.Xa3bQ9")
        partial.write_bytes(content[: len(content) // 2])
        look()
        partial.write_bytes(content)
        os.utime(partial, ns=(times.st_atime_ns, times.st_mtime_ns))
        partial.rename(copied)


def test_rsync_of_a_run_again_and_again_while_it_is_written_and_after_it_was_sealed(
    invoke: Invoke, store: Path, tmp_path: Path
) -> None:
    import autotrack

    mirror = tmp_path / "mirror" / ".autotrack"
    (mirror / "runs").mkdir(parents=True)
    run = autotrack.init(project="digits", name="live")

    def copied() -> list[str]:
        """The points in the mirror after rsync, which a reader also looks into meanwhile; rsync twice changes nothing."""
        points: list[list[str]] = []
        for _ in range(2):
            rsync(
                store / "runs", mirror / "runs", lambda: invoke("--store", mirror, "ls", "--json").exit_code
            )
            exported = invoke("--store", mirror, "export", run.id)
            assert exported.exit_code == 0, exported.output
            points.append([row["value"] for row in csv.DictReader(io.StringIO(exported.stdout))])
        assert points[0] == points[1]
        return points[1]

    for step in range(3):
        run.log({"loss": step / 2}, step=step)
        assert copied() == [str(before / 2) for before in range(step + 1)]
    run.finish()
    old = os.path.getmtime(next(store.glob("runs/*/*/*.jsonl"))) - 86400
    for path in store.glob("runs/*/*/*.jsonl"):
        os.utime(path, (old, old))
    assert len(copied()) == 3
    (row,) = json.loads(invoke("--store", mirror, "ls", "--json").stdout)
    assert (row["id"], row["status"]) == (run.id, "finished")
    (journal,) = store.glob("runs/*/*/*.jsonl")
    assert seal_folder(journal.parent, {journal.stem.removesuffix(".0")})
    assert not journal.exists()
    assert len(copied()) == 3
    shutil.rmtree(mirror / "runs" / "digits" / run.id)
    assert len(copied()) == 3
