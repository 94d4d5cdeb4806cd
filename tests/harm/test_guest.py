"""A guest in somebody else's process: what recording a run must leave as it was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = [
    "numpy", "pandas", "psutil", "sqlalchemy", "zstandard", "rich", "typer", "logging", "torch", "sklearn",
    "lightning", "pytorch_lightning", "transformers", "keras", "jax", "tensorflow",
]  # fmt: skip


def run(code: str, folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    "use",
    [
        "pass",
        "autotrack.autolog(); autotrack.AutoTrack()",
        "run = autotrack.init(project='p'); run.log({'a': 1.0})",
    ],
)
def test_using_autotrack_imports_nothing_heavy_on_the_callers_thread(
    store: Path, tmp_path: Path, use: str
) -> None:
    code = f"import autotrack, sys; {use}; import json; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(run(code, tmp_path)))
    assert loaded.isdisjoint(HEAVY)


STATE = """
import builtins, gc, json, locale, os, random, signal, sys, threading, warnings
import numpy as np
import logging
random.seed(1); np.random.seed(2)

def state():
    return {
        "random": hash(random.getstate()),
        "numpy": np.random.get_state()[1].tobytes().hex(),
        "handlers": repr(logging.root.handlers) + str(logging.root.level),
        "filters": repr(warnings.filters),
        "signals": repr([signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM)]),
        "hooks": repr([sys.excepthook, sys.displayhook, threading.excepthook, sys.unraisablehook, sys.exit, sys.meta_path]),
        "path": list(sys.path),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "gc": [gc.get_threshold(), gc.isenabled()],
        "locale": locale.setlocale(locale.LC_ALL),
        "umask": (lambda mask: (os.umask(mask), mask))(os.umask(0o022))[1],
        "threads": sorted(thread.name for thread in threading.enumerate() if thread.name != "autotrack"),
        "switch": sys.getswitchinterval(),
        "floats": np.geterr(),
    }

before = state()
import autotrack
autotrack.autolog()
with autotrack.init(project="p", config={"lr": 0.1}) as run:
    for step in range(100):
        run.log({"loss": 1.0}, step=step)
    run.log_table("t", {"a": [1]})
autotrack.autolog(disable=True)
after = state()
print(json.dumps([key for key in before if before[key] != after[key]]))
"""


def test_the_process_is_as_it_was_after_a_run(store: Path, tmp_path: Path) -> None:
    assert json.loads(run(STATE, tmp_path)) == []


def test_only_the_store_is_added_and_git_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUTOTRACK_DIR", raising=False)
    monkeypatch.setenv("AUTOTRACK_SILENT", "1")  # it lies in a temporary folder, which earns a warning
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    (tmp_path / "train.py").write_text("x = 1\n")
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    (tmp_path / "train.py").write_text("x = 2\n")
    (tmp_path / "sub").mkdir()
    before = listing(tmp_path)
    run("import autotrack; autotrack.init().log({'a': 1.0})", tmp_path / "sub")
    after = listing(tmp_path)
    assert {path for path in after if not path.startswith(".autotrack")} == set(before)
    assert {path: after[path] for path in before} == before
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ".autotrack" not in status.stdout


def listing(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file below a folder: size, time of change, content. Folders are not compared: git itself touches none here."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            stat = path.stat()
            found[str(path.relative_to(folder))] = (stat.st_size, stat.st_mtime_ns, path.read_bytes())
    return found


def test_warnings_that_are_errors_stop_no_training(store: Path, tmp_path: Path) -> None:
    code = "import autotrack; run = autotrack.init(project='p'); run.log({'bad': 'text'}); print('on')"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "on\n")
    assert "'bad'" in done.stderr
    assert "Traceback" not in done.stderr


CLOCKS = """
import sys, time
import autotrack

def record():
    with autotrack.init(project='p') as run:
        for step in range(100):
            run.log({'a': 1.0})
        sleep(2.5)  # the helper thread syncs meanwhile

sleep = time.sleep
record()
asked = set()

def counted(real):
    def clock(*words):
        asked.add(sys._getframe(1).f_globals['__name__'])
        return real(*words)
    return clock

for name in ('time', 'time_ns', 'monotonic', 'monotonic_ns', 'perf_counter', 'perf_counter_ns', 'sleep'):
    setattr(time, name, counted(getattr(time, name)))
record()
time.time()
print(*sorted(asked))
"""


def test_a_clock_that_the_program_puts_in_place_of_its_own_is_not_asked_by_us(
    store: Path, tmp_path: Path
) -> None:
    asked = run(CLOCKS, tmp_path).split()
    assert "__main__" in asked
    assert [name for name in asked if name.startswith("autotrack")] == []
