"""tag, note, rename, archive and rm: what they change is read back by the next command."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Invoke = Callable[..., Any]
Ids = dict[str, str]


def test_tags_are_added_and_removed(invoke: Invoke, answer: Invoke, filled: Path, ids: Ids) -> None:
    assert "tags: baseline, best, v2" in invoke("tag", ids["sgd"], "best", "v2").stdout
    assert invoke("tag", ids["sgd"], "baseline", "v2", "--remove").exit_code == 0
    assert answer("show", ids["sgd"])["tags"] == ["best"]


def test_notes_are_written_appended_read_from_input_and_removed(
    invoke: Invoke, answer: Invoke, filled: Path, ids: Ids
) -> None:
    run = ids["sgd"]
    invoke("note", run, "one")
    invoke("note", run, "two", "--append")
    assert answer("show", run)["notes"] == "one\ntwo"
    invoke("note", run, "-", stdin="from\ninput\n")
    assert answer("show", run)["notes"] == "from\ninput"
    invoke("note", run, "")
    assert answer("show", run)["notes"] == ""


def test_rename_and_archive_with_undo(invoke: Invoke, answer: Invoke, filled: Path, ids: Ids) -> None:
    assert invoke("rename", ids["sgd"], "the good one").exit_code == 0
    assert answer("show", ids["sgd"])["name"] == "the good one"
    assert invoke("rename", ids["sgd"], "  ").exit_code == 2
    assert invoke("archive", ids["sgd"], ids["adam"]).exit_code == 0
    assert {run["id"] for run in answer("ls")}.isdisjoint({ids["sgd"], ids["adam"]})
    assert {run["id"] for run in answer("ls", "--archived")} == {ids["sgd"], ids["adam"]}
    assert len(answer("ls", "--all")) == 7
    invoke("archive", "--undo", ids["sgd"])
    assert ids["sgd"] in {run["id"] for run in answer("ls")}


def test_a_child_in_its_parents_journal_is_edited_alone(
    invoke: Invoke, answer: Invoke, filled: Path, ids: Ids
) -> None:
    invoke("rename", ids["C1"], "candidate")
    assert answer("show", ids["C1"])["name"] == "candidate"
    assert answer("show", ids["grid"])["name"] == "grid"


def test_rm_removes_the_folder_and_says_what_it_frees(
    invoke: Invoke, answer: Invoke, filled: Path, ids: Ids
) -> None:
    folder = filled / "runs" / "digits" / ids["sgd"]
    assert folder.is_dir()
    result = invoke("rm", ids["sgd"], "--yes")
    assert result.exit_code == 0
    assert "freed" in result.stdout
    assert not folder.exists()
    assert ids["sgd"] not in {run["id"] for run in answer("ls", "--all")}


def test_rm_without_yes_removes_nothing_where_nobody_can_be_asked(
    invoke: Invoke, filled: Path, ids: Ids
) -> None:
    result = invoke("rm", ids["sgd"])
    assert result.exit_code == 1
    assert "--yes" in result.stderr
    assert (filled / "runs" / "digits" / ids["sgd"]).is_dir()


def test_rm_asks_in_a_terminal(terminal: Callable[..., Any], filled: Path, ids: Ids) -> None:
    folder = filled / "runs" / "digits" / ids["sgd"]
    refused = terminal("rm", ids["sgd"], typed=b"n\n")
    assert refused.code == 1
    assert folder.is_dir()
    agreed = terminal("rm", ids["sgd"], typed=b"y\n")
    assert agreed.code == 0
    assert not folder.exists()


def test_rm_names_the_run_that_holds_a_child(invoke: Invoke, filled: Path, ids: Ids) -> None:
    folders = sorted(path.name for path in (filled / "runs" / "digits").iterdir())
    result = invoke("rm", ids["C1"], "--yes")
    if ids["C1"] in folders:
        assert result.exit_code == 0
    else:
        assert result.exit_code == 1
        assert ids["grid"] in result.stderr


def test_rm_with_an_unknown_run_among_others_removes_nothing(invoke: Invoke, filled: Path, ids: Ids) -> None:
    assert invoke("rm", ids["sgd"], "zzzzzzzz", "--yes").exit_code == 1
    assert (filled / "runs" / "digits" / ids["sgd"]).is_dir()


def test_a_running_run_is_removed_only_by_force(invoke: Invoke, store: Path) -> None:
    script = "import autotrack, time; r = autotrack.init(project='p'); r.log({'a': 1}); print(r.id, flush=True); time.sleep(60)"
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ.copy()
    )
    try:
        assert child.stdout is not None
        run = child.stdout.readline().strip()
        refused = invoke("rm", run, "--yes")
        assert refused.exit_code == 1
        assert "running" in refused.stderr
        assert (store / "runs" / "p" / run).is_dir()
        assert invoke("rm", run, "--yes", "--force").exit_code == 0
        assert not (store / "runs" / "p" / run).exists()
        assert not (store / "open" / run).exists()
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
