"""Reads commit, branch and remote from a repository's own files: nothing is started, locked or written.

Understood: worktrees, submodules (`.git` files), packed refs, detached heads, `GIT_DIR`. The formats are those of
gitrepository-layout(5) and git-config(1). Not understood: reftable storage, includes of other configuration files.
"""

from __future__ import annotations

import os
from typing import NamedTuple

_HEX = frozenset("0123456789abcdef")


class Repository(NamedTuple):
    """A repository's places: `root` of the work tree (None: bare), `folder` of this work tree, `common` of all."""

    root: str | None
    folder: str
    common: str


class Head(NamedTuple):
    """What is checked out: `commit` is None before the first one, `branch` None when detached."""

    commit: str | None
    branch: str | None


class Unreadable(Exception):
    """The repository's files are not of a form that is understood here."""


def find(start: str) -> Repository | None:
    """The repository that `start` lies in (GIT_DIR, else the nearest `.git` upwards), or None."""
    given = os.environ.get("GIT_DIR")
    if given:
        chosen = os.path.abspath(os.path.join(start, given))
        if not _is_repository(chosen):
            return None
        tree = os.environ.get("GIT_WORK_TREE")
        return Repository(os.path.abspath(os.path.join(start, tree or "")), chosen, _common(chosen))
    here = os.path.abspath(start)
    while True:
        folder = _git_folder(os.path.join(here, ".git"))
        if folder is not None:
            return Repository(here, folder, _common(folder))
        if _is_repository(here) and os.path.isfile(os.path.join(here, "config")):
            return Repository(None, here, _common(here))
        above = os.path.dirname(here)
        if above == here:
            return None
        here = above


def head(repository: Repository) -> Head:
    """The commit and the branch; Unreadable where they are stored in a way that is not understood."""
    text = _text(os.path.join(repository.folder, "HEAD"))
    if text is None:
        raise Unreadable(f"{repository.folder}/HEAD cannot be read")
    name = text.strip()
    branch = None
    for _ in range(10):
        if not name.startswith("ref:"):
            break
        ref = name[4:].strip()
        if ref == "refs/heads/.invalid" or os.path.isdir(os.path.join(repository.common, "reftable")):
            raise Unreadable("its references are stored as a reftable")
        branch = branch or ref.removeprefix("refs/heads/")
        found = _reference(repository, ref)
        if found is None:
            return Head(None, branch)
        name = found
    if not _is_commit(name):
        raise Unreadable(f"HEAD holds {name[:80]!r}")
    return Head(name, branch)


def remote(repository: Repository, branch: str | None) -> str | None:
    """The address of the branch's remote, else of `origin`, else of the first one, as configured."""
    text = _text(os.path.join(repository.common, "config"))
    if text is None:
        return None
    values = parse_config(text)
    urls = {k[1]: v for k, v in values.items() if k[0] == "remote" and k[2] == "url"}
    wanted = values.get(("branch", branch, "remote")) if branch else None
    for name in (wanted, "origin"):
        if name is not None and name in urls:
            return urls[name]
    return next(iter(urls.values()), None)


def parse_config(text: str) -> dict[tuple[str, str, str], str]:
    """Configuration text as {(section, subsection or "", name): last value}; sections and names in lower case."""
    values: dict[tuple[str, str, str], str] = {}
    section, subsection = "", ""
    for line in text.replace("\\\r\n", "").replace("\\\n", "").splitlines():
        line = line.strip()
        if line.startswith("["):
            title, line = _title(line)
            section, subsection = title
        if not line or line[0] in "#;":
            continue
        name, equals, value = line.partition("=")
        values[section, subsection, name.strip().lower()] = _value(value) if equals else "true"
    return values


def _title(line: str) -> tuple[tuple[str, str], str]:
    """`[section "sub"] rest` as ((section, sub), rest); a `]` may stand inside the quotes."""
    inside, i, name = False, 1, ""
    while i < len(line) and (inside or line[i] != "]"):
        if line[i] == "\\" and inside:
            i += 1
            name += line[i : i + 1]
        elif line[i] == '"':
            inside = not inside
            name += "\0" if inside else ""
        else:
            name += line[i]
        i += 1
    section, quoted, subsection = name.partition("\0")
    if not quoted:
        section, _, subsection = section.partition(".")
    return (section.strip().lower(), subsection), line[i + 1 :].strip()


def _value(text: str) -> str:
    kept, inside, i = "", False, 0
    text = text.strip()
    while i < len(text):
        char = text[i]
        if char == "\\":
            i += 1
            kept += {"n": "\n", "t": "\t", "b": "\b"}.get(text[i : i + 1], text[i : i + 1])
        elif char == '"':
            inside = not inside
        elif char in "#;" and not inside:
            return kept.rstrip()
        else:
            kept += char
        i += 1
    return kept


def _git_folder(path: str) -> str | None:
    """The repository's folder that a `.git` folder is, or that a `.git` file (worktree, submodule) names."""
    if os.path.isdir(path):
        return path if _is_repository(path) else None
    text = _text(path)
    if text is None or not text.startswith("gitdir:"):
        return None
    folder = os.path.normpath(os.path.join(os.path.dirname(path), text[len("gitdir:") :].strip()))
    return folder if _is_repository(folder) else None


def _is_repository(folder: str) -> bool:
    return os.path.lexists(os.path.join(folder, "HEAD")) and (
        os.path.isdir(os.path.join(folder, "objects")) or os.path.isfile(os.path.join(folder, "commondir"))
    )


def _common(folder: str) -> str:
    given = os.environ.get("GIT_COMMON_DIR")
    if given:
        return os.path.abspath(given)
    text = _text(os.path.join(folder, "commondir"))
    return folder if text is None else os.path.normpath(os.path.join(folder, text.strip()))


def _reference(repository: Repository, ref: str) -> str | None:
    for folder in (repository.folder, repository.common):
        text = _text(os.path.join(folder, ref))
        if text:
            return text.strip()
    packed = _text(os.path.join(repository.common, "packed-refs"))
    ending = " " + ref
    for line in (packed or "").splitlines():
        if line.endswith(ending) and line[0] not in "#^":
            return line[: -len(ending)]
    return None


def _is_commit(text: str) -> bool:
    return len(text) in (40, 64) and _HEX.issuperset(text)


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None
