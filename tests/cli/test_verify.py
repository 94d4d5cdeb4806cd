"""`autotrack verify`: what it names, its exit codes, and that it changes nothing."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from autotrack.journal.format import encode
from autotrack.journal.sealed import frames

Invoke = Callable[..., Any]
Ids = dict[str, str]


def journal(store: Path, run: str) -> Path:
    """The only file of a recorded run, unpacked."""
    (path,) = store.glob(f"runs/*/{run}/*.jsonl*")
    if path.name.endswith(".zst"):
        data = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
        path.unlink()
        path = path.with_suffix("")
        path.write_bytes(data)
    return path


def findings(invoke: Invoke, *args: str, code: int = 1) -> list[dict[str, Any]]:
    result = invoke("verify", *args, "--json")
    assert result.exit_code == code, result.output
    report = json.loads(result.stdout)
    assert report["whole"] is (code == 0)
    assert result.stderr == ""
    return list(report["findings"])


def test_a_whole_store_is_said_to_be_whole(invoke: Invoke, filled: Path) -> None:
    result = invoke("verify")
    assert result.exit_code == 0
    assert re.search(r"Checked: 7 runs, 7 journal files with \d+ whole lines, [23] objects", result.stdout)
    assert result.stdout.endswith("Everything is whole.\n")
    assert result.stderr == ""
    assert findings(invoke, code=0) == []


def test_a_damaged_line_is_named_with_its_place_and_event(invoke: Invoke, filled: Path, ids: Ids) -> None:
    path = journal(filled, ids["sgd"])
    lines = path.read_bytes().splitlines(keepends=True)
    offset = sum(map(len, lines[:9]))
    seq = json.loads(lines[9])[1]
    data = bytearray(b"".join(lines))
    data[offset + 20] ^= 1
    path.write_bytes(data)
    (found,) = findings(invoke)
    assert found["state"] == "damage"
    assert found["run"] == ids["sgd"]
    assert found["file"] == str(path.relative_to(filled))
    assert (found["lines"], found["offset"]) == ([10, 10], offset)
    assert (found["lost"], found["open_end"]) == ([[seq, seq]], False)
    result = invoke("verify")
    assert result.exit_code == 1
    assert (
        f"line 10 ({len(lines[9]) - 1} bytes at byte {offset}) is damaged; event {seq} is lost"
        in result.stdout
    )
    assert "Damage in 1 file of 1 run; 1 event is lost." in result.stdout
    assert findings(invoke, ids["adam"], code=0) == []
    assert len(findings(invoke, ids["adam"], ids["sgd"][:6])) == 1


def test_missing_doubled_and_dropped_events_are_told_apart(invoke: Invoke, filled: Path, ids: Ids) -> None:
    path = journal(filled, ids["sgd"])
    lines = path.read_bytes().splitlines(keepends=True)
    gap = {"from": 10, "to": 12, "dropped": 3, "reason": "the disk was full"}
    other = encode("m", 20, 5, 5, {"loss": 9.0})
    numbers = [json.loads(line)[1] for line in lines]
    kept = [line for line, seq in zip(lines, numbers, strict=True) if seq not in (5, 6, 10, 11, 12)]
    path.write_bytes(b"".join([*kept, encode("gap", max(numbers) + 1, 9, gap), kept[3], other]))
    found = {one["what"] + one["state"]: one for one in findings(invoke)}
    assert found["gapdamage"]["lost"] == [[10, 12]]
    assert "the disk was full" in found["gapdamage"]["text"]
    assert found["missingdamage"]["lost"] == [[5, 6]]
    assert "event 3 stands there twice, alike" in found["doublednote"]["text"]
    assert "event 20: two lines that differ" in found["doubleddamage"]["text"]
    assert len(found) == 4


def test_a_torn_line_that_was_written_again_is_a_note(invoke: Invoke, filled: Path, ids: Ids) -> None:
    path = journal(filled, ids["sgd"])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:8], lines[8][:15], b"\n", *lines[8:]]))
    (found,) = findings(invoke, code=0)
    assert (found["state"], found["what"], found["lines"]) == ("note", "torn", [9, 9])


def test_a_cut_file_is_named(invoke: Invoke, filled: Path, ids: Ids) -> None:
    path = journal(filled, ids["sgd"])
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    (found,) = findings(invoke)
    last = json.loads(data.splitlines()[-1])[1]
    assert (found["what"], found["lost"], found["open_end"]) == ("cut", [[last, last]], True)


ATTEMPT = """
import os, signal, sys, autotrack, autotrack.background
run = autotrack.init(project="p", id="abcdefghij")
for step in range(2000):
    run.log({"loss": 1 / (step + 1)}, step=step)
if sys.argv[1] == "die":
    autotrack.background.drain(60)  # no other thread is in the middle of a line
    os.kill(os.getpid(), signal.SIGKILL)
run.finish()
"""


def attempts(invoke: Invoke, store: Path) -> list[Path]:
    """The sealed journals of a run that was killed and then resumed to its end, in order."""
    for end in ("die", "finish"):
        env = {**os.environ, "AUTOTRACK_SILENT": "1"}
        subprocess.run([sys.executable, "-c", ATTEMPT, end], env=env, check=False)
    for _ in range(2):
        assert invoke("ls").exit_code == 0
    return sorted(store.glob("runs/p/abcdefghij/*.zst"), key=lambda path: int(path.name.split("-")[-2]))


def test_an_attempt_that_died_and_was_gone_on_with_is_a_note(invoke: Invoke, store: Path) -> None:
    died, _ = attempts(invoke, store)
    (found,) = findings(invoke, code=0)
    assert (found["state"], found["what"], found["file"]) == (
        "note",
        "no-finish",
        str(died.relative_to(store)),
    )
    assert "a later attempt has gone on" in found["text"]


def test_the_lost_end_of_the_last_attempt_is_found_behind_one_that_died(invoke: Invoke, store: Path) -> None:
    _, last = attempts(invoke, store)
    data = last.read_bytes()
    last.write_bytes(data[: frames(data)[-2].end])
    (found,) = [one for one in findings(invoke) if one["state"] == "damage"]
    assert (found["what"], found["file"]) == ("no-finish", str(last.relative_to(store)))
    assert found["open_end"] is True


def test_objects_are_held_against_their_names(invoke: Invoke, filled: Path, ids: Ids) -> None:
    objects = list(filled.glob("objects/*/*"))
    weights = next(path for path in objects if path.stat().st_size == 3000)
    weights.chmod(0o600)
    weights.write_bytes(b"v" * 3000)
    (found,) = findings(invoke)
    assert (found["what"], found["run"]) == ("object", ids["grid"])
    assert "'weights.txt'" in found["text"]
    weights.unlink()
    (found,) = findings(invoke, ids["grid"])
    assert (found["what"], found["file"]) == ("object-absent", str(weights.relative_to(filled)))


def test_left_over_marks_and_inputs_that_are_gone_are_notes(
    invoke: Invoke, filled: Path, ids: Ids, tmp_path: Path
) -> None:
    import autotrack

    data = tmp_path / "data.csv"
    data.write_text("1,2")
    with autotrack.init(project="digits") as run:
        run.log_input(data)
    data.unlink()
    for name in ("nosuchrun2", ids["sgd"]):
        (filled / "open" / name).write_text("{}")
    found = {one["what"] + str(one["run"]): one for one in findings(invoke, code=0)}
    assert found.keys() == {"marknosuchrun2", "mark" + ids["sgd"], "input" + run.id}
    assert str(data) in found["input" + run.id]["text"]


def test_a_running_run_is_not_called_cut(invoke: Invoke, store: Path) -> None:
    import autotrack
    from autotrack import background

    run = autotrack.init(project="p")
    run.log({"a": 1.0})
    background.drain(60)
    (path,) = run.dir.glob("*.jsonl")
    with open(path, "ab") as file:
        file.write(b'["m",77,1')
    assert findings(invoke, code=0) == []


def test_values_that_need_the_long_way_leave_no_hole(invoke: Invoke, store: Path) -> None:
    import autotrack

    with autotrack.init(project="p") as run:
        run.log({"big": 2**70})
        run.log({"\ud800": 1.0})
        run.log({"nan": float("nan"), "inf": float("inf")})
        with pytest.warns(autotrack.AutotrackWarning, match="must be text"):
            run.log({3: 1.0})
        run.log({"a": 1.0})
    assert findings(invoke, code=0) == []


def test_a_run_that_is_not_there_is_a_sentence(invoke: Invoke, filled: Path) -> None:
    for run in ("nosuchrun1", "", "../digits"):
        result = invoke("verify", run)
        assert result.exit_code == 1
        assert "error: No run's folder is called" in result.stderr
        assert result.stdout == ""


def test_hostile_names_do_not_reach_the_terminal(invoke: Invoke, filled: Path, ids: Ids) -> None:
    folder = journal(filled, ids["sgd"]).parent
    (folder / "x\x1b[31m\n-1-2-0.0.jsonl").write_bytes(b"")
    result = invoke("verify")
    assert "\x1b" not in result.stdout
    assert "x\\x1b[31m\\n-1-2-0.0.jsonl" in result.stdout
    assert findings(invoke)[0]["what"] == "empty"


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_terminal_gets_a_progress_bar_and_lines_that_fit(
    terminal: Invoke, filled: Path, ids: Ids, columns: int
) -> None:
    path = journal(filled, ids["sgd"])
    path.write_bytes(path.read_bytes()[:-20])
    at_once = "import autotrack.cli.progress as bar; bar.SECONDS = 0"
    shown = terminal("verify", columns=columns, before=at_once)
    assert shown.code == 1
    assert "Checking" in shown.output
    plain = terminal("verify", columns=columns, env={"NO_COLOR": "1"})
    lines = plain.output.replace("\r\n", "\n").split("\n")
    text = lines[next(place for place, line in enumerate(lines) if "Damaged or lost" in line) :]
    assert max(len(line) for line in text[1:]) <= columns
    assert "is cut off" in " ".join(text)


def test_thousands_of_damaged_lines_are_summed_up(invoke: Invoke, filled: Path, ids: Ids) -> None:
    path = journal(filled, ids["sgd"])
    lines = [encode("m", seq, seq, seq, {"a": 1.0}) for seq in range(100, 3_000)]
    spoiled = [line if seq % 2 else b"x" + line[1:] for seq, line in enumerate(lines)]
    path.write_bytes(path.read_bytes() + b"".join(spoiled))
    result = invoke("verify")
    assert "more; --all shows them" in result.stdout
    assert len(result.stdout.splitlines()) < 40
    assert len(invoke("verify", "--all").stdout.splitlines()) > 1_400
