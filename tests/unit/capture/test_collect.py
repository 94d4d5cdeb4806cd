"""Every run says what was captured; facts are gathered once a process, and each provider fails for itself."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import autotrack
from autotrack import background
from autotrack.capture.base import Capture
from autotrack.capture.collect import collect, providers
from autotrack.layout import Layout
from autotrack.run import Run

ALL = ["command", "python", "host", "hardware", "gpu", "git", "packages"]


def reports(run: Run) -> list[dict[str, Any]]:
    lines = [json.loads(line) for path in run.dir.glob("*.jsonl") for line in path.read_bytes().splitlines()]
    return [line[3] for line in lines if line[0] == "capture"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed repository that is the working folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a.txt").write_text("1")
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    return folder


def test_each_provider_reports_once_for_each_run(store: Path, project: Path) -> None:
    for _ in range(2):
        run = autotrack.init(project="p")
        background.drain(100)
        found = reports(run)
        assert [one["what"] for one in found if one["what"] in ALL] == ALL
        assert all(one["status"] in ("captured", "skipped") for one in found), found
        assert all(one["why"] for one in found if one["status"] == "skipped")
        run.finish()


def test_the_record_shows_what_was_captured(store: Path, project: Path) -> None:
    with autotrack.init(project="p") as run:
        run.log({"loss": 1.0})
    environment = autotrack.get_run(run.id).environment
    assert environment["git"]["dirty"] is False
    assert environment["git"]["root"] == str(project)
    assert environment["python"]["version"] == sys.version.split()[0]
    assert environment["hardware"]["cpu"]["logical"] == os.cpu_count()
    assert (
        Layout(store).objects / environment["packages"]["digest"][:2] / environment["packages"]["digest"][2:]
    ).is_file()


def test_a_later_run_of_the_process_asks_nothing_anew(
    store: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = autotrack.init(project="p")
    background.drain(100)
    asked = []
    for provider in providers(run.layout):
        monkeypatch.setattr(type(provider), "collect", lambda self: asked.append(self.name))
    collect(run)
    before, later = reports(run)[: len(ALL)], reports(run)[-len(ALL) :]
    assert asked == []
    assert [one["facts"] for one in later] == [one["facts"] for one in before]


def test_another_working_folder_is_looked_at_anew(
    store: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = autotrack.init(project="p")
    background.drain(100)
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")
    collect(run)
    folders = [one["facts"]["folder"] for one in reports(run) if one["what"] == "command"]
    assert folders == [str(project), str(project / "below")]


def test_a_package_list_that_was_removed_from_the_store_is_stored_again(store: Path, project: Path) -> None:
    run = autotrack.init(project="p")
    background.drain(100)
    digest = next(one["facts"]["digest"] for one in reports(run) if one["what"] == "packages")
    path = store / "objects" / digest[:2] / digest[2:]
    path.unlink()
    collect(run)
    assert path.is_file()


def test_a_provider_that_fails_is_reported_and_the_others_go_on(store: Path, project: Path) -> None:
    """Here the store cannot take the package list: a file lies where its objects belong."""
    store.mkdir(parents=True)
    (store / "objects").write_text("in the way")
    run = autotrack.init(project="p")
    background.drain(100)
    found = {one["what"]: one for one in reports(run)}
    assert found["packages"]["status"] == "failed"
    assert "Error: " in found["packages"]["why"]
    assert found["packages"]["facts"] == {}
    assert [found[what]["status"] for what in ALL if what not in ("gpu", "packages")] == ["captured"] * 5


def test_a_forked_process_that_opens_a_run_says_its_own_pid(store: Path, project: Path) -> None:
    autotrack.init(project="p").finish()
    source = """
import os, sys
import autotrack
autotrack.init(project="p").finish()
child = os.fork()
if child == 0:
    run = autotrack.init(project="p", id="child")
    run.finish()
    os._exit(0)
os.waitpid(child, 0)
print(child)
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    run = autotrack.get_run("child")
    assert run.environment["host"]["pid"] == int(done.stdout)


def test_providers_have_names_of_their_own(tmp_path: Path) -> None:
    found = providers(Layout(tmp_path))
    assert [one.name for one in found] == ALL
    assert all(isinstance(one, Capture) for one in found)


def test_a_short_script_has_the_whole_report_and_imports_nothing_heavy(store: Path, project: Path) -> None:
    source = """
import sys
import autotrack
run = autotrack.init(project="p", id="short")
run.log({"loss": 1.0})
run.finish()
heavy = {"numpy", "psutil", "sqlalchemy", "rich", "typer", "importlib.metadata", "logging", "pynvml", "shutil"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert done.stderr == ""
    assert [one["what"] for one in autotrack.get_run("short").capture_report][: len(ALL)] == ALL
