"""doctor: says what is there, and fails when something is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Invoke = Callable[..., Any]
Ids = dict[str, str]


def checks(process: Invoke, *args: str, **more: Any) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit code, and state and text of each check by its name."""
    done = process(*args, "doctor", "--json", **more)
    answer = json.loads(done.stdout)
    assert answer["healthy"] == (done.returncode == 0)
    return done.returncode, {check["name"]: (check["state"], check["text"]) for check in answer["checks"]}


def test_a_healthy_store(process: Invoke, filled: Path) -> None:
    code, found = checks(process)
    assert code == 0, found
    assert found["place"] == ("ok", str(filled))
    assert found["runs"][1] == "7 (6 finished, 1 failed)"
    assert found["damaged lines"] == ("ok", "none")
    assert found["file system"][1]
    assert "scikit-learn" in found["sklearn"][1]
    assert found["autotrack.pth"][0] == "ok"


def test_no_store_yet_is_no_fault_but_a_named_one_that_is_missing_is(process: Invoke, tmp_path: Path) -> None:
    code, found = checks(process, env={"AUTOTRACK_DIR": ""}, cwd=tmp_path)
    assert (code, found["place"][0]) == (0, "note")
    code, found = checks(process, "--store", str(tmp_path / "nowhere"))
    assert (code, found["place"][0]) == (1, "wrong")


def test_damaged_lines_are_counted_and_named(process: Invoke, filled: Path, ids: Ids) -> None:
    import zstandard

    (path,) = (filled / "runs" / "digits" / ids["sgd"]).glob("*.jsonl*")
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        path.unlink()
        path = path.with_name(path.name.removesuffix(".zst"))
    lines = data.split(b"\n")
    lines[5] = lines[5][:-4] + b"xxxx"
    path.write_bytes(b"\n".join(lines))
    (filled / "index.db").unlink(missing_ok=True)
    _, found = checks(process)
    assert found["damaged lines"][0] == "note"
    assert f"{ids['sgd']} (1 line)" in found["damaged lines"][1]


def test_a_file_that_is_no_journal_is_named(process: Invoke, filled: Path, ids: Ids) -> None:
    (filled / "runs" / "digits" / ids["sgd"] / "notes.jsonl").write_text("hello")
    _, found = checks(process)
    assert "notes.jsonl" in found["unreadable files"][1]


def test_a_marker_without_a_run_is_found(process: Invoke, filled: Path) -> None:
    (filled / "open" / "gonegonego").write_text('{"project": "digits"}')
    code, found = checks(process)
    if "gonegonego" in [path.name for path in (filled / "open").iterdir()]:
        assert code == 1
        assert "gonegonego" in found["open markers"][1]
    else:
        assert found["open markers"] == ("ok", "none")


def test_a_fallback_store_with_runs_is_named(process: Invoke, filled: Path, tmp_path: Path) -> None:
    (tmp_path / "fallback" / "runs" / "p" / "aaaaaaaaaa").mkdir(parents=True)
    _, found = checks(process, env={"AUTOTRACK_FALLBACK": str(tmp_path / "fallback")})
    assert found["fallback store"][0] == "note"
    assert str(tmp_path / "fallback") in found["fallback store"][1]


def test_ls_names_the_fallback_store_too(process: Invoke, filled: Path, tmp_path: Path) -> None:
    (tmp_path / "fallback" / "runs" / "p" / "aaaaaaaaaa").mkdir(parents=True)
    done = process("ls", env={"AUTOTRACK_FALLBACK": str(tmp_path / "fallback")})
    assert done.returncode == 0
    assert f"--store {tmp_path / 'fallback'}" in done.stderr


def test_an_integration_that_is_switched_off_is_said(process: Invoke, filled: Path) -> None:
    _, found = checks(process, env={"AUTOTRACK_DISABLE_INTEGRATIONS": "sklearn"})
    assert found["sklearn"][0] == "note"
