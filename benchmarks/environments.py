"""A virtual environment for each tracker, from the versions in peers.toml, kept in a cache folder outside of the checkout."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SECONDS = 1800  # for one installation


def peers(file: str = "peers.toml") -> dict[str, dict[str, Any]]:
    """The table of what is measured, by name."""
    return tomllib.loads((HERE / file).read_text())


def default_folder() -> Path:
    """Where environments are kept when nobody says where."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "autotrack-benchmarks"


def python(folder: Path, name: str) -> Path:
    """The interpreter of one environment."""
    return folder / name / "bin" / "python"


def make(folder: Path, name: str, wanted: dict[str, Any]) -> str:
    """Make the environment unless it is there already; what went wrong, or nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = _checkout(Path(scratch)) if wanted.get("checkout") else None
        recipe = json.dumps(
            [wanted.get("first"), wanted["requirements"], platform.python_version(), copy and _digest(copy)]
        )
        made = folder / name / "made-from.json"
        if made.is_file() and made.read_text() == recipe:
            return ""
        print(f"making the environment of {name} …", file=sys.stderr, flush=True)
        commands = [] if python(folder, name).exists() else [[sys.executable, "-m", "venv", folder / name]]
        pip = [python(folder, name), "-m", "pip", "install", "-q"]
        packages = [wanted.get("first") or [], wanted["requirements"], [copy] if copy else []]
        commands += [[*pip, *words] for words in packages if words]
        for command in commands:
            if problem := _ran(command):
                return problem
        made.write_text(recipe)
    return ""


def versions(folder: Path, name: str) -> dict[str, str]:
    """What is installed in an environment, by distribution."""
    text = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    done = subprocess.run([python(folder, name), "-c", text], capture_output=True, text=True, check=True)
    found = dict(word.split("==", 1) for word in done.stdout.split())
    return dict(sorted(found.items()))


def _ran(command: list[Any]) -> str:
    try:
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not installed after {SECONDS} s"
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()
    return f"not installed: {lines[0] if lines else 'pip said nothing'}"[:300]


def _checkout(scratch: Path) -> Path:
    """A copy of the working tree, so that building leaves nothing in it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if name.startswith(("tests/", "benchmarks/", "docs/")) or not os.path.lexists(ROOT / name):
            continue
        target = scratch / "checkout" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
    return scratch / "checkout"


def _digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            found.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
