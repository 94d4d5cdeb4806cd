"""What a result is worth nothing without: commit, versions, machine."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "autotrack-ml",
    "orjson",
    "numpy",
    "SQLAlchemy",
    "scikit-learn",
    "torch",
    "lightning",
    "transformers",
    "keras",
)


def stamp() -> dict[str, Any]:
    """Commit (marked when the tree differs from it), versions, and the machine's cores and load."""
    commit = git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    return {
        "commit": commit,
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := installed(name))},
        "machine": {
            "system": platform.system(),
            "kernel": platform.release(),
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
        },
    }


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
