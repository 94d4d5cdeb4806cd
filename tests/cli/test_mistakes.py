"""A user's mistake is one clear sentence and an exit code, never a traceback."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Invoke = Callable[..., Any]
Ids = dict[str, str]


def refused(result: Any, *words: str, code: int = 1) -> None:
    """The command, run in this process, ended by itself with a sentence that has these words."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code
    assert result.stdout == ""
    assert all(word in result.stderr for word in words), result.stderr


def refuse(done: Any, *words: str, code: int = 1) -> None:
    """The command failed with a sentence that has these words."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr


def test_an_unknown_run_names_itself_and_what_to_do(process: Invoke, filled: Path) -> None:
    refuse(process("show", "nosuchrun1"), "nosuchrun1", "autotrack ls")


def test_an_ambiguous_prefix_lists_the_candidates(invoke: Invoke, store: Path) -> None:
    import autotrack

    for name in ("abcdefgh22", "abcdefgh33"):
        autotrack.init(project="p", id=name).finish()
    refused(invoke("show", "abcdefgh"), "abcdefgh22", "abcdefgh33")
    done = invoke("show", "abcdefgh2")
    assert done.exit_code == 0
    assert "abcdefgh22" in done.stdout


@pytest.mark.parametrize(
    "text",
    [
        "config.lr <",
        "().__class__.__mro__",
        "__import__('os')",
        "lr === 1",
        "nonsense > 1",
        "(" * 500,
        "a" * 20000,
        "",
    ],
)
def test_a_filter_that_does_not_parse_is_explained(invoke: Invoke, filled: Path, text: str) -> None:
    refused(invoke("ls", "--where", text), "error:", code=2)


def test_sql_in_names_is_only_text(answer: Invoke, filled: Path) -> None:
    for text in ('name == "x\' OR 1=1 --"', "name == 'x; DROP TABLE runs'", "name == '%'"):
        assert answer("ls", "--where", text) == []
    assert answer("ls", "--project", "' OR 1=1 --") == []


@pytest.mark.parametrize(
    "run", ["..", ".", "../../etc/passwd", "", " ", "a/b", "x" * 100000, "%00", "ａｂｃ"]
)
def test_hostile_run_ids_are_only_unknown(invoke: Invoke, filled: Path, run: str) -> None:
    before = sorted(filled.glob("runs/*/*"))
    refused(invoke("rm", "--yes", "--", run), "error:")
    assert sorted(filled.glob("runs/*/*")) == before


def test_wrong_usage_is_2(process: Invoke, invoke: Invoke, filled: Path, ids: Ids) -> None:
    refuse(process("nosuchcommand"), "nosuchcommand", code=2)
    refused(invoke("ls", "--nosuchoption"), "--nosuchoption", code=2)
    refused(invoke("ls", "--limit", "many"), code=2)
    refused(invoke("compare", ids["sgd"]), code=2)
    refused(invoke("compare", ids["sgd"], ids["adam"], "--stat", "median"), "median", code=2)
    refused(invoke("export", "--format", "xlsx"), "xlsx", code=2)
    refused(invoke("export", "--output", "runs.xlsx"), "runs.xlsx", code=2)


def test_an_export_to_a_folder_says_which_file_it_could_be(
    invoke: Invoke, filled: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    for more in ([], ["--force"]):
        refused(invoke("export", "--output", tmp_path / "out", "--format", "json", *more), "out/runs.json")


def test_help_names_no_types_of_python(invoke: Invoke) -> None:
    for command in ("show", "diff", "compare", "tail", "export", "tag", "note", "rm", "verify", "ls"):
        text = invoke(command, "--help").stdout
        assert "<str>" not in text, command
        assert "list[" not in text, command
        assert "<bool>" not in text, command


def test_a_missing_store_says_where_it_was_looked_for(invoke: Invoke, store: Path, tmp_path: Path) -> None:
    refused(invoke("ls"), str(store), "--store")
    refused(invoke("--store", tmp_path / "nowhere", "show"), str(tmp_path / "nowhere"))


def test_a_store_that_is_a_file(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refused(invoke("--store", tmp_path / "file", "ls"), "not a folder")
    refused(invoke("--store", tmp_path / "file" / "below", "ls"), "error:")


def test_an_empty_store_has_no_runs_yet(invoke: Invoke, store: Path) -> None:
    (store / "runs").mkdir(parents=True)
    done = invoke("ls")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "autotrack run" in done.stderr
    refused(invoke("show"), "no runs yet")


def test_the_store_may_be_named_by_the_folder_that_holds_it(process: Invoke, filled: Path, ids: Ids) -> None:
    env = {"AUTOTRACK_DIR": ""}
    assert ids["sgd"] in process("--store", filled.parent, "ls", env=env).stdout
    assert ids["sgd"] in process("ls", cwd=filled.parent, env=env).stdout


OBEDIENT = (
    "import ctypes, os, sys\n"
    "if os.geteuid() == 0:\n"  # root may write everywhere: give that up (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH)
    "    prctl = ctypes.CDLL(None).prctl\n"
    "    assert [prctl(24, capability, 0, 0, 0) for capability in (1, 2)] == [0, 0]\n"
    "os.execv(sys.executable, [sys.executable, '-m', 'autotrack', *sys.argv[1:]])\n"
)


def test_a_read_only_store_is_read_and_refuses_changes_with_a_sentence(filled: Path, ids: Ids) -> None:
    def obedient(*args: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", OBEDIENT, *args]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    folders = [filled, *(path for path in filled.rglob("*") if path.is_dir())]
    for path in [*filled.rglob("*"), filled]:
        path.chmod(0o444 if path.is_file() else 0o555)
    try:
        shown = obedient("show", ids["sgd"])
        assert shown.returncode == 0, shown.stderr
        assert "mlp-sgd" in shown.stdout
        refuse(obedient("tag", ids["sgd"], "x"), "not recorded")
        removed = obedient("rm", ids["sgd"], "--yes")
        assert removed.returncode == 1
        assert "Traceback" not in removed.stderr
        health = obedient("doctor")
        assert health.returncode == 1
        assert "writable" in health.stdout
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_a_run_of_a_later_format_is_named_and_the_others_are_shown(
    invoke: Invoke, filled: Path, ids: Ids
) -> None:
    make_later(filled, ids["sgd"])
    done = invoke("ls")
    assert done.exit_code == 0
    assert ids["adam"] in done.stdout
    assert "1 journal cannot be read; autotrack doctor" in done.stderr
    refused(invoke("show", ids["sgd"]), ids["sgd"], "is there and cannot be read", "99")
    health = invoke("doctor")
    assert health.exit_code == 1
    assert re.search(r"later formats.*" + ids["sgd"], health.stdout)


def make_later(store: Path, run: str) -> None:
    """Rewrite the first line of a run's journal as one of format 99."""
    import zlib

    import orjson
    import zstandard

    (path,) = (store / "runs" / "digits" / run).glob("*.jsonl*")
    data = path.read_bytes()
    if path.name.endswith(".zst"):
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        path.unlink()
        path = path.with_name(path.name.removesuffix(".zst"))
    first, rest = data.split(b"\n", 1)
    row = orjson.loads(first)[:-1]
    row[3]["format"] = 99
    head = orjson.dumps(row)[:-1] + b","
    path.write_bytes(head + str(zlib.crc32(head)).encode() + b"]\n" + rest)
    (store / "index.db").unlink(missing_ok=True)


def test_a_target_folder_that_is_missing_is_named(invoke: Invoke, filled: Path, tmp_path: Path) -> None:
    refused(invoke("export", "--output", tmp_path / "no" / "x.csv"), str(tmp_path / "no"))
    refused(invoke("export", "--output", tmp_path, "--format", "csv", "--force"), str(tmp_path))


def test_a_full_disk_while_printing_is_a_sentence(filled: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "autotrack", "ls"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
