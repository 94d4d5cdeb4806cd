"""A store with damage in it: every run loads, the others are as they were, and `verify` names what is lost."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import damage
import pytest
from disk import failing
from oracle import seed

import autotrack
from autotrack.index import open_index
from autotrack.index.seal import seal_folder
from autotrack.journal.format import encode
from autotrack.journal.lines import rows_of, split
from autotrack.journal.source import BLOCK, blocks, find_segments
from autotrack.verify import Report, verify


@pytest.fixture
def recorded(store: Path, tmp_path: Path) -> tuple[Path, str, str]:
    """A recorded store, the run to damage (with a child run), and another one."""
    with autotrack.init(
        project="p", name="hurt", config={"lr": 0.1, "opt": {"name": "sgd"}}, tags=["t"]
    ) as run:
        child = run.child("fold", {"k": 1})
        for step in range(150):
            run.log({"loss": step / 7, "acc": float("nan") if step % 50 == 9 else -step}, step=step)
            child.log({"score": step / 3})
        child.finish()
        run.log_table("t", {"a": [1, 2]})
    with autotrack.init(project="q", name="other", config={"lr": 0.5}) as other:
        for step in range(20):
            other.log({"loss": step / 9}, step=step)
    return store, run.id, other.id


def loaded(store: Path) -> dict[str, Any]:
    """Every run of a store, by a fresh index, as plain values."""
    with open_index(store) as index:
        index.sync(seal_seconds=0)
        return {run.id: described(run) for run in index.runs(archived=True)}


def described(run: Any) -> dict[str, Any]:
    points = {
        (key, int(step), repr(float(value)))
        for key, series in run.history().items()
        for step, value in zip(series.steps.tolist(), series.values.tolist(), strict=True)
    }
    return {
        "name": run.name,
        "status": run.status,
        "config": run.config,
        "points": points,
        "damaged": run.damaged,
        "created": run.created.timestamp(),
        "times": {key: series.times.tolist() for key, series in run.history().items()},
    }


def copied(store: Path, folder: Path) -> Path:
    """A copy of a store, without its index."""
    place = folder / ".autotrack"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(store, place, ignore=shutil.ignore_patterns("index.db*"))
    return place


def fingerprint(folder: Path) -> dict[str, Any]:
    """Every file below a folder: content, and when it was changed."""
    return {
        str(path): (path.stat().st_mtime_ns, path.is_dir() or hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
    }


def seqs_of(folder: Path) -> set[int]:
    """The sequence numbers of all lines that can be read in a run's only journal."""
    rows = [rows_of(split(block))[0] for one in find_segments(folder)[0] for block in blocks(one)]
    return {row[1] for some in rows for row in some}


def named(report: Report) -> set[int]:
    """The sequence numbers that a report calls lost."""
    ranges = [one for finding in report.findings for one in finding.lost]
    return {number for first, last in ranges for number in range(first, last + 1)}


def hurt_often(times: int, recorded: tuple[Path, str, str], folder: Path, rng: random.Random) -> int:
    """Hit a run's file, plain and sealed in turn, and load the whole store; how many lines were lost in all."""
    store, hurt, other = recorded
    whole = loaded(copied(store, folder))
    packed = copied(store, folder / "packed")
    (journal,) = find_segments(packed / "runs" / "p" / hurt)[0]
    assert seal_folder(packed / "runs" / "p" / hurt, {journal.stem})
    children = whole.keys() - {hurt, other}
    before = seqs_of(store / "runs" / "p" / hurt)
    total = 0
    for number in range(times):
        place = copied((store, packed)[number // 2 % 2], folder)
        (path,) = (place / "runs" / "p" / hurt).glob("*.jsonl*")
        data = bytearray(path.read_bytes())
        original = bytes(data)
        (damage.flip, damage.zero)[number % 2](data, rng)
        path.write_bytes(data)
        report = verify(place)
        found = loaded(place)
        assert found.keys() >= {hurt, other}, number
        assert found[other] == whole[other], number
        for run in {hurt, *children} & found.keys():
            assert found[run]["points"] <= whole[run]["points"], (number, run)
        lost = before - seqs_of(path.parent)
        total += len(lost)
        if data == original:
            continue
        assert not report.whole, number
        assert {finding.run for finding in report.findings if finding.state == "damage"} == {hurt}
        unnamed = {seq for seq in lost - named(report) if seq < max(before - lost, default=0)}
        assert unnamed == set(), (number, report.findings)
        assert not lost - named(report) or any(finding.open_end for finding in report.findings), number
        assert found[hurt]["damaged"] or any(finding.what in ("cut", "frame") for finding in report.findings)
    return total


def test_the_other_runs_load_and_verify_names_what_is_lost(
    recorded: tuple[Path, str, str], tmp_path: Path
) -> None:
    assert hurt_often(12, recorded, tmp_path / "copy", random.Random(seed())) > 6


@pytest.mark.proof
def test_the_other_runs_load_and_verify_names_what_is_lost_a_thousand_times(
    recorded: tuple[Path, str, str], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    chosen = seed()
    lost = hurt_often(1_000, recorded, tmp_path / "copy", random.Random(chosen))
    for name, value in {"seed": chosen, "hits": 1_000, "lines_lost": lost, "wrong_values": 0}.items():
        record_property(name, value)


@pytest.mark.parametrize("packed", [False, True])
def test_a_whole_store_is_whole_and_nothing_of_it_is_changed(
    recorded: tuple[Path, str, str], packed: bool
) -> None:
    store = recorded[0]
    if packed:
        for folder in store.glob("runs/*/*"):
            assert seal_folder(folder, {one.stem for one in find_segments(folder)[0]})
        assert len(list(store.glob("runs/*/*/*.zst"))) == 2
    before = fingerprint(store)
    report = verify(store)
    assert report.whole
    assert report.findings == []
    assert report.runs == 2
    assert report.lines > 320
    assert report.objects >= 1
    assert fingerprint(store) == before


def test_without_its_first_line_a_run_keeps_its_times(
    recorded: tuple[Path, str, str], tmp_path: Path
) -> None:
    store, hurt, _ = recorded
    whole = loaded(copied(store, tmp_path))[hurt]
    place = copied(store, tmp_path)
    spoil(next((place / "runs" / "p" / hurt).glob("*.jsonl")), 0, 40)
    found = loaded(place)[hurt]
    assert (found["name"], found["status"], found["damaged"]) == ("hurt", "finished", 1)
    assert (found["points"], found["config"]) == (whole["points"], whole["config"])
    for key, times in found["times"].items():
        assert times == pytest.approx(whole["times"][key], abs=0.005)


def test_without_its_first_lines_a_run_still_loads(recorded: tuple[Path, str, str], tmp_path: Path) -> None:
    store, hurt, other = recorded
    whole = loaded(copied(store, tmp_path))
    for lines in range(1, 8):
        place = copied(store, tmp_path)
        path = next((place / "runs" / "p" / hurt).glob("*.jsonl"))
        spoil(path, 0, sum(map(len, path.read_bytes().splitlines(keepends=True)[:lines])) - 2)
        found = loaded(place)
        assert found.keys() >= {hurt, other}
        assert found[hurt]["status"] == "finished"
        assert found[hurt]["points"] <= whole[hurt]["points"]
        assert len(found[hurt]["points"]) >= 2 * (150 - lines)
        assert abs(found[hurt]["created"] - whole[hurt]["created"]) < 1


def test_the_next_segment_tells_what_a_damaged_first_line_said(store: Path) -> None:
    folder = store / "runs" / "p" / "abcdefgh27"
    folder.mkdir(parents=True)
    header = {
        "format": 1,
        "run": "abcdefgh27",
        "project": "p",
        "host": "elsewhere",
        "pid": 7,
        "rank": 0,
        "role": "run",
    }
    name = "elsewhere-7-1700000000000000000-0"
    wall = 1_800_000_000 * 10**9
    head = encode("h", 0, 10**9, {**header, "segment": 0, "wall": wall})
    first = [encode("m", seq, seq * 10**9, seq, {"loss": seq / 2}) for seq in range(2, 9)]
    (folder / f"{name}.0.jsonl").write_bytes(b"\0" * len(head) + b"".join(first))
    second = encode("h", 9, 11 * 10**9, {**header, "segment": 1, "wall": wall + 10 * 10**9})
    (folder / f"{name}.1.jsonl").write_bytes(second + encode("m", 10, 12 * 10**9, 10, {"loss": 5.0}))
    run = loaded(store)["abcdefgh27"]
    assert run["times"]["loss"] == [wall / 1e9 + second for second in (*range(1, 8), 11)]


def spoil(path: Path, start: int, size: int) -> None:
    """Overwrite a part of a file with zeros."""
    data = bytearray(path.read_bytes())
    data[start : start + size] = bytes(size)
    path.write_bytes(data)


def test_odd_files_are_named_and_change_nothing(recorded: tuple[Path, str, str], tmp_path: Path) -> None:
    store, hurt, _ = recorded
    whole = loaded(copied(store, tmp_path))
    place = copied(store, tmp_path)
    folder = place / "runs" / "p" / hurt
    (path,) = folder.glob("*.jsonl")
    shutil.copy(path, folder / "copy-of-1-2-0.0.jsonl")
    shutil.copy(path, folder / path.name.replace(".0.jsonl", ".7.jsonl"))
    (folder / "a-1-2-0.0.jsonl").write_bytes(b"")
    (folder / "b-1-2-0.0.jsonl").write_bytes(random.Random(1).randbytes(5_000))
    (folder / "c-1-2-0.0.jsonl.zst").write_bytes(random.Random(2).randbytes(5_000))
    (folder / "d-1-2-0.0.jsonl").mkdir()
    (folder / "e.jsonl").write_bytes(b"[]\n")
    later = {"format": 2, "by": "autotrack 9", "run": hurt}
    (folder / "f-1-2-0.0.jsonl").write_bytes(encode("h", 0, 0, later) + b"\x00\x01new\n")
    (folder / "._g-1-2-0.0.jsonl").write_bytes(b"\x00\x05\x16\x07")
    os.symlink(folder / "nowhere", folder / "h-1-2-0.0.jsonl")
    os.mkfifo(folder / "i-1-2-0.0.jsonl")
    found = loaded(place)
    assert {run: facts | {"times": None} for run, facts in found.items()} == {
        run: facts | {"times": None} for run, facts in whole.items()
    }
    report = verify(place)
    said = {Path(finding.file).name[:2]: (finding.state, finding.text) for finding in report.findings}
    assert said["co"] == ("note", "is a copy of another journal in the folder; it is left out")
    assert said["a-"][0] == "damage"
    assert said["a-"][1].startswith("is empty: ")
    assert said["b-"][0] == said["c-"][0] == said["d-"][0] == said["h-"][0] == said["i-"][0] == "damage"
    assert "not named like a journal" in said["e."][1]
    assert "format 2, written by autotrack 9" in said["f-"][1]
    assert "._" not in said
    assert not report.whole


def test_files_and_folders_that_may_not_be_read_are_named(
    recorded: tuple[Path, str, str], tmp_path: Path
) -> None:
    store, hurt, other = recorded
    place = copied(store, tmp_path)
    (place / "runs" / "q" / other).chmod(0)
    (path,) = (place / "runs" / "p" / hurt).glob("*.jsonl")
    path.chmod(0)
    code = (
        "import ctypes, os, sys\n"
        "if os.geteuid() == 0:\n"  # root may read everything: give that up (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH)
        "    assert [ctypes.CDLL(None).prctl(24, number, 0, 0, 0) for number in (1, 2)] == [0, 0]\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'autotrack', *sys.argv[1:]])\n"
    )
    try:
        for command in ("verify", "ls"):
            words = [sys.executable, "-c", code, "--store", str(place), command]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
            assert "Traceback" not in done.stderr
            assert "denied" in done.stdout + done.stderr or "cannot be read" in done.stdout + done.stderr
            assert done.returncode == (1 if command == "verify" else 0), done.stderr
    finally:
        (place / "runs" / "q" / other).chmod(0o700)


def test_the_start_tells_the_time_that_a_damaged_first_line_said(store: Path) -> None:
    folder = store / "runs" / "p" / "abcdefgh27"
    folder.mkdir(parents=True)
    created = 1_800_000_000 * 10**9
    start = {"name": "n", "project": "p", "created": created, "resumed": False}
    points = [encode("m", seq, seq * 10**9, seq, {"loss": seq / 2}) for seq in range(2, 9)]
    content = b"\0" * 99 + b"\n" + encode("start", 1, 10**9, start) + b"".join(points)
    (folder / "elsewhere-7-1700000000000000000-0.0.jsonl").write_bytes(content)
    run = loaded(store)["abcdefgh27"]
    assert run["times"]["loss"] == [created / 1e9 + second for second in range(1, 8)]
    assert (run["name"], run["damaged"]) == ("n", 1)


READ = """
import json, os
from pathlib import Path
import autotrack
from autotrack.verify import verify
steps = {run.name: run.history("loss")["loss"].steps.tolist() for run in autotrack.runs()}
report = verify(Path(os.environ["AUTOTRACK_DIR"]))
print(json.dumps({"steps": steps, "damage": [(one.file, one.text) for one in report.findings if one.state == "damage"]}))
"""


def read_by_another(**environment: str) -> tuple[dict[str, list[int]], list[list[str]]]:
    """What another process reads of a store: the steps of each run, and what `verify` calls damaged."""
    done = subprocess.run(
        [sys.executable, "-c", READ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=dict(os.environ) | environment,
    )
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)
    return found["steps"], found["damage"]


def test_what_the_disk_can_still_read_of_a_journal_is_read_and_the_file_is_named(
    store: Path, tmp_path: Path, library: Callable[[str], str]
) -> None:
    with autotrack.init(project="p", name="hurt") as run:
        for step in range(25_000):
            run.log({"loss": step / 7}, step=step)
    with autotrack.init(project="p", name="other") as other:
        for step in range(20):
            other.log({"loss": step / 9}, step=step)
    (path,) = run.dir.glob("*.jsonl")
    assert path.stat().st_size > 1.2 * BLOCK
    # The first megabyte is read, and whatever is behind it is not.
    steps, damage = read_by_another(
        **failing(library, tmp_path, f"call=read path={path.name} from=2 errno=EIO")
    )
    assert steps["other"] == list(range(20))
    assert 10_000 < len(steps["hurt"]) < 25_000
    assert steps["hurt"] == list(range(len(steps["hurt"])))
    assert [Path(file).name for file, _ in damage] == [path.name]
    assert damage[0][1] == "cannot be read: Input/output error"
    assert read_by_another() == ({"hurt": list(range(25_000)), "other": list(range(20))}, [])
