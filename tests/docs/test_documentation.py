"""The documentation says what is there, and what it shows works."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import autotrack
from autotrack.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


def fenced(text: str, language: str | None = None) -> list[str]:
    """The fenced blocks of a page, those of one language only if given."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [body for name, body in blocks if language is None or name == language]


def sources() -> Iterator[Path]:
    found = (ROOT / "autotrack").rglob("*.py")
    yield from (path for path in found if "integrations" not in path.relative_to(ROOT).parts)
    yield from (ROOT / "integrations").glob("*.py")


def section(heading: str) -> str:
    _, _, rest = README.partition(f"\n## {heading}\n")
    return rest.partition("\n## ")[0]


@pytest.mark.parametrize("heading", ["Run it", "Test it"])
def test_the_first_block_of_the_two_commands_is_one_pasteable_line(heading: str) -> None:
    (line,) = fenced(section(heading))[0].strip().splitlines()
    assert line.startswith("python3 -m venv ")
    assert "sudo" not in line


def test_continuous_integration_calls_the_readmes_command() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (function,) = re.findall(r"^readme_command\(\).*$", ci, flags=re.MULTILINE)
    assert "command=\"$(readme_command 'Test it')\"" in ci
    assert 'bash -euo pipefail -c "$command"' in ci
    script = f"{function}\nreadme_command 'Test it'"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.stdout == fenced(section("Test it"))[0]


def test_nobody_is_told_to_install_the_other_project_of_our_name() -> None:
    pattern = re.compile(
        r"(pip|pipx|uv|uvx|poetry|conda)\s+(install|add|tool install)[^\n`|]*?[\s'\"]autotrack(?![-\w/.])"
    )
    files = [*PAGES, *sources(), ROOT / "tox.ini", ROOT / "pyproject.toml", ROOT / ".ci" / "run"]
    for path in files:
        assert not pattern.search(path.read_text(encoding="utf-8")), path
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    wanted = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
    ]
    assert not [line for line in wanted if re.match(r"autotrack\b", line)]


def variables() -> set[str]:
    """Every AUTOTRACK_… that the code reads or sets."""
    found = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                if name in {"setting", "flag", "number_setting"}:
                    found.add(f"AUTOTRACK_{node.args[0].value}")
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and re.fullmatch(r"AUTOTRACK_[A-Z_]+", node.value)
            ):
                found.add(node.value)
    return found


def test_every_environment_variable_is_documented_and_no_other() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(AUTOTRACK_[A-Z_]+)` \|", page, flags=re.MULTILINE))
    assert documented == variables() - {"AUTOTRACK_"}


def test_every_integration_has_a_row() -> None:
    page = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
    table = page.partition("\n| name |")[2].partition("\n\n")[0]
    rows = set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE))
    with open(ROOT / "pyproject.toml", "rb") as file:
        groups = tomllib.load(file)["project"]["entry-points"]
    assert rows == set(groups["autotrack.integrations"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in link:
            assert (page.parent / link).exists(), link
    for path in re.findall(r"`((?:docs|examples|integrations|tests)/[\w/.-]+\.\w+)`", text):
        assert (ROOT / path).exists() or "<" in path, path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_documentation_compiles(page: Path) -> None:
    for block in fenced(page.read_text(encoding="utf-8"), "python"):
        compile(block, str(page), "exec")


SEARCH_NEEDS = """
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
X, y = load_digits(return_X_y=True)
"""


def test_the_readmes_loop_and_its_reading_back_work(tmp_path: Path) -> None:
    blocks = fenced(README, "python")
    (loop,) = [block for block in blocks if "run.log(" in block]
    (reading,) = [block for block in blocks if "autotrack.runs(" in block]
    (sklearn,) = [block for block in blocks if "autotrack.autolog()" in block]
    (search,) = [block for block in blocks if "GridSearchCV" in block]
    for number, block in enumerate([sklearn + SEARCH_NEEDS + search, loop, reading]):
        script = tmp_path / f"block{number}.py"
        script.write_text(block, encoding="utf-8")
        env = {key: value for key, value in os.environ.items() if not key.startswith("AUTOTRACK_")}
        done = subprocess.run(
            [sys.executable, "-W", "error::UserWarning", str(script)],
            cwd=tmp_path,
            env=env | {"AUTOTRACK_DIR": str(tmp_path / "store")},
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_the_commands_of_reading_back_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTRACK_DIR", str(tmp_path / "store"))
    ids = []
    for lr in (0.1, 0.2):
        with autotrack.init(project="demo", config={"lr": lr}) as run:
            run.log({"loss": 1})
        ids.append(run.id)
    (block,) = [block for block in fenced(section("Reading back")) if block.startswith("autotrack ")]
    for line in block.splitlines():
        words = line.split()[1:]
        if words == ["tail"]:
            words += ["--once", ids[0]]
        words = [
            ids[words[:position].count("RUN")] if word == "RUN" else word
            for position, word in enumerate(words)
        ]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (line, done.output)
    command = Path(sys.executable).with_name("autotrack")
    listed = subprocess.run([command, "ls"], cwd=tmp_path, text=True, capture_output=True, check=True)
    assert all(run in listed.stdout for run in ids)


def test_the_readmes_checkpoints_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTRACK_DIR", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "model.pt"
    model.write_bytes(os.urandom(1000))
    with autotrack.init(project="demo") as run:
        run.log_checkpoint(model, score=0.5, monitor="loss", mode="min")
    python, commands = fenced(section("Checkpoints"))
    names: dict[str, Path] = {}
    exec(compile(python, "README.md", "exec"), names)
    assert names["path"] == model
    for line in commands.splitlines():
        words = [word.replace("RUN", run.id) for word in line.split()[1:]]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (line, done.output)


def test_the_run_it_line_works_in_a_fresh_checkout(tmp_path: Path) -> None:
    checkout = tmp_path / "autotrack"
    ignore = shutil.ignore_patterns(
        ".git", ".tox", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".autotrack"
    )
    shutil.copytree(ROOT, checkout, symlinks=True, ignore=ignore)
    line = fenced(section("Run it"))[0].strip()
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("AUTOTRACK_", "PYTHON", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        ["bash", "-c", line], cwd=checkout, env=env, text=True, capture_output=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "accuracy 0.9" in done.stdout
    assert "sklearn_digits.py" in done.stdout
    assert "Traceback" not in done.stderr
    assert (checkout / ".autotrack" / "runs").is_dir()
