"""What autotrack adds to a process: its import, a whole short process that records ten steps, and the launcher.

Each command runs in turns with bare Python; prints one JSON object with the medians of the differences (milliseconds, MiB).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 15
SHORT = """
import autotrack
run = autotrack.init(project="benchmark", config={"lr": 0.1})
for step in range(10):
    run.log({"loss": 1 / (step + 1)}, step=step)
"""
MEMORY = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        folder = Path(name)
        git_repository(folder)
        (folder / "short.py").write_text(SHORT)
        (folder / "bare.py").write_text("pass\n")
        os.environ["AUTOTRACK_DIR"] = str(folder / "store")
        bare = [sys.executable, "bare.py"]
        commands = {
            "import": [sys.executable, "-c", "import autotrack"],
            "short_process": [sys.executable, "short.py"],
            "launcher": [sys.executable, "-m", "autotrack", "run", "bare.py"],
        }
        times: dict[str, list[float]] = {name: [] for name in ["bare", *commands]}
        for _ in range(ROUNDS):
            times["bare"].append(timed(bare, folder))
            for key, command in commands.items():
                times[key].append(timed(command, folder))
        base = statistics.median(times.pop("bare"))
        result = {"bare_ms": round(base, 1)}
        result |= {f"{key}_ms": round(statistics.median(values) - base, 1) for key, values in times.items()}
        result["import_mib"] = round(memory("import autotrack; ", folder) - memory("", folder), 1)
        print(json.dumps(result))


def git_repository(folder: Path) -> None:
    identity = ["-c", "user.name=b", "-c", "user.email=b@example.org"]
    for words in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *words], cwd=folder, check=True)


def timed(command: list[str], folder: Path) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1000


def memory(before: str, folder: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", before + MEMORY], cwd=folder, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


if __name__ == "__main__":
    main()
