"""What is said of a git repository equals what git says, and nothing in the repository changes."""

import os
import shutil
import subprocess

import pytest

from autotrack.capture import gitfiles
from autotrack.capture.base import Skip
from autotrack.capture.git import Git, clean_remote
from autotrack.capture.gitfiles import parse_config

QUIET = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@b",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@b",
}


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR"):
        monkeypatch.delenv(name, raising=False)


def git(folder, *words):
    settings = {**os.environ, **QUIET}
    return subprocess.run(
        ["git", *words], cwd=folder, env=settings, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repo(tmp_path, monkeypatch):
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "a.py").write_text("a = 1\n")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.py").write_text("b = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    git(folder, "remote", "add", "origin", "https://me:hunter2@example.com/o/r.git?private_token=abc")
    monkeypatch.chdir(folder)
    return folder


def contents(folder):
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            place = os.path.join(path, name)
            with open(place, "rb") as file:
                found[place] = (os.stat(place).st_mtime_ns, file.read())
    return found


def test_a_clean_checkout(repo):
    facts = Git().collect()
    assert facts == {
        "root": str(repo),
        "commit": git(repo, "rev-parse", "HEAD"),
        "branch": "main",
        "remote": "https://example.com/o/r.git",
        "changed": 0,
        "dirty": False,
    }


def test_from_a_folder_below_and_with_packed_references(repo, monkeypatch):
    git(repo, "pack-refs", "--all")
    monkeypatch.chdir(repo / "sub")
    facts = Git().collect()
    assert (facts["commit"], facts["root"]) == (git(repo, "rev-parse", "HEAD"), str(repo))


def test_changed_staged_renamed_and_deleted_files_are_counted_but_untracked_ones_are_not(repo):
    (repo / "new.py").write_text("n")
    assert Git().collect()["dirty"] is False
    (repo / "a.py").write_text("a = 2\n")
    assert Git().collect()["changed"] == 1
    git(repo, "mv", "sub/b.py", "sub/c.py")
    assert Git().collect()["changed"] == 2
    (repo / "a.py").unlink()
    assert Git().collect() | {"dirty": True, "changed": 2} == Git().collect()


def test_a_touched_but_equal_file_is_no_change_and_the_index_is_not_refreshed(repo):
    os.utime(repo / "a.py", (1, 1))
    before = contents(repo)
    assert Git().collect()["dirty"] is False
    assert contents(repo) == before


def test_a_detached_head_has_no_branch(repo):
    git(repo, "checkout", "-q", "--detach")
    facts = Git().collect()
    assert (facts["branch"], facts["commit"]) == (None, git(repo, "rev-parse", "HEAD"))


def test_worktrees_and_submodules(repo, tmp_path, monkeypatch):
    tree = tmp_path / "tree"
    git(repo, "worktree", "add", "-q", "-b", "side/one", str(tree))
    (tree / "t.py").write_text("t")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "second")
    monkeypatch.chdir(tree)
    facts = Git().collect()
    assert (facts["branch"], facts["root"], facts["dirty"]) == ("side/one", str(tree), False)
    assert facts["commit"] == git(tree, "rev-parse", "HEAD") != git(repo, "rev-parse", "HEAD")
    assert facts["remote"] == "https://example.com/o/r.git"
    git(repo, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tree), "module")
    monkeypatch.chdir(repo / "module")
    facts = Git().collect()
    assert facts["root"] == str(repo / "module")
    assert facts["commit"] == git(tree, "rev-parse", "HEAD")


def test_the_remote_of_the_branch_comes_before_origin(repo):
    git(repo, "remote", "add", "up", "git@github.com:o/r.git")
    git(repo, "config", "branch.main.remote", "up")
    assert Git().collect()["remote"] == "git@github.com:o/r.git"


def test_git_dir_of_the_environment_counts(repo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_DIR", "repo/.git")
    monkeypatch.setenv("GIT_WORK_TREE", "repo")
    facts = Git().collect()
    assert (facts["commit"], facts["dirty"]) == (git(tmp_path, "rev-parse", "HEAD"), False)
    monkeypatch.setenv("GIT_DIR", "nowhere")
    with pytest.raises(Skip, match="nowhere"):
        Git().collect()


def test_what_is_skipped_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Skip, match="not in a git repository"):
        Git().collect()
    git(tmp_path, "init", "-q", "-b", "main")
    with pytest.raises(Skip, match="main has no commit yet"):
        Git().collect()


def test_without_git_the_commit_is_known_and_the_rest_is_not(repo, tmp_path, monkeypatch):
    commit = git(repo, "rev-parse", "HEAD")
    monkeypatch.setenv("PATH", str(tmp_path))
    capture = Git()
    facts = capture.collect()
    assert (facts["commit"], facts["dirty"], facts["changed"]) == (commit, None, None)
    assert "git is not installed" in capture.note


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("#!/bin/sh\nsleep 60\n", "took longer"),
        (
            "#!/bin/sh\necho \"fatal: detected dubious ownership in repository at '/x'\" >&2; exit 128\n",
            "dubious",
        ),
        ("#!/bin/sh\necho 'fatal: index file corrupt' >&2; exit 128\n", "index file corrupt"),
    ],
)
def test_a_git_that_hangs_or_refuses_costs_only_the_dirty_flag(repo, tmp_path, script, why, monkeypatch):
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "git").write_text(script)
    (fake / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")
    monkeypatch.setattr("autotrack.capture.git.TIMEOUT_SECONDS", 0.3)
    capture = Git()
    facts = capture.collect()
    assert facts["dirty"] is None
    assert len(facts["commit"]) == 40
    assert why in capture.note


def test_many_changed_files_do_not_block(repo):
    for i in range(3000):
        (repo / f"a-rather-long-name-of-a-file-{i:06d}.py").write_text("x")
    git(repo, "add", ".")
    assert Git().collect()["changed"] == 3000


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("https://TOKEN@github.com/o/r.git", "https://github.com/o/r.git"),
        ("https://TOKEN:x-oauth-basic@github.com/o/r.git", "https://github.com/o/r.git"),
        ("https://user:pa/ss@git.example/o/r", "https://git.example/o/r"),
        ("https://h/r.git?private_token=abc#x", "https://h/r.git"),
        ("ssh://git@h:22/o/r.git", "ssh://git@h:22/o/r.git"),
        ("ssh://git:pw@h/o/r.git", "ssh://h/o/r.git"),
        ("git@github.com:o/r.git", "git@github.com:o/r.git"),
        ("me:token@h:o/r.git", "h:o/r.git"),
        ("/srv/git/r.git", "/srv/git/r.git"),
    ],
)
def test_remotes_lose_what_opens_them(address, kept):
    assert clean_remote(address) == kept


def test_configuration_with_quotes_comments_and_odd_names():
    text = (
        '[core]\n\tbare = false ; no\n[Remote "a]b\\"c"] url = "x # y" # z\n'
        "[remote.old]\nurl = one \\\n two\n[alias]\n\tflag\n"
    )
    assert parse_config(text) == {
        ("core", "", "bare"): "false",
        ("remote", 'a]b"c', "url"): "x # y",
        ("remote", "old", "url"): "one  two",
        ("alias", "", "flag"): "true",
    }


def test_a_repository_stored_in_an_unknown_way_is_skipped(repo):
    shutil.rmtree(repo / ".git" / "refs")
    (repo / ".git" / "refs" / "heads").mkdir(parents=True)
    (repo / ".git" / "reftable").mkdir()
    (repo / ".git" / "HEAD").write_text("ref: refs/heads/.invalid\n")
    assert gitfiles.find(str(repo)) is not None
    with pytest.raises(Skip, match="reftable"):
        Git().collect()
