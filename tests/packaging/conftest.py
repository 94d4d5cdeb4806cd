"""A copy of the source tree, its wheel, and environments that it is installed into; made once for all tests here."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".tox",
    ".venv*",
    "build",
    "dist",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
    ".autotrack",
    "lightning_logs",
)


def clean() -> dict[str, str]:
    """The variables, without ours and without PYTHONPATH: pip takes what was once built in a folder named there for installed."""
    return {
        key: value for key, value in os.environ.items() if not key.startswith(("AUTOTRACK_", "PYTHONPATH"))
    }


class Environment:
    """A fresh virtual environment; the dependencies come from the environment that runs the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.python = folder / "bin" / "python"
        self.autotrack = folder / "bin" / "autotrack"
        self.site = next((folder / "lib").glob("python*")) / "site-packages"
        (self.site / "zz_dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")

    def pip(self, *words: str) -> None:
        """pip of the tests' environment, working on this one."""
        command = [sys.executable, "-m", "pip", "--python", str(self.python), *words]
        done = subprocess.run(command, env=clean(), text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, *command: str | Path, cwd: Path, **env: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in `cwd`, without any variable of ours but those given."""
        return subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env=clean() | env,
            text=True,
            capture_output=True,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, without what was built in it."""
    copy = tmp_path_factory.mktemp("tree") / "source"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=LEFT_OUT)
    return copy


@pytest.fixture(scope="session")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a source distribution of the copy, as an index would be given it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def from_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel."""
    environment = Environment(tmp_path_factory.mktemp("wheel") / "venv")
    environment.pip("install", "--quiet", "--no-deps", str(wheel))
    return environment


@pytest.fixture(scope="session", params=["lenient", "strict"])
def editable(
    request: pytest.FixtureRequest, tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    """An environment with an editable install of the copy."""
    environment = Environment(tmp_path_factory.mktemp("editable") / "venv")
    mode = ["--config-settings", "editable_mode=strict"] if request.param == "strict" else []
    environment.pip("install", "--quiet", "--no-deps", "--no-build-isolation", *mode, "--editable", str(tree))
    return environment


@pytest.fixture
def new_environment(tmp_path: Path) -> Environment:
    """An environment without autotrack."""
    return Environment(tmp_path / "venv")
