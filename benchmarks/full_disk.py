"""Run inside a mount namespace of its own: a small file system that is full for a while, and a tracker that records on it.

`python full_disk.py OPTIONS`. What was seen is written beside the folder of the rescued files, as JSON.
"""

import json
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def main() -> None:
    options = json.loads(sys.argv[1])
    folder, rescued = Path(options["folder"]), Path(options["rescued"])
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=True)
    worker(options, disk, folder / "warm.json", "run", {"name": "warm", "steps": 10}).wait(60)
    progress = folder / "progress"
    result = folder / "result.json"
    words = {key: options[key] for key in ("steps", "per_second")}
    process = worker(options, disk, result, "enduring", words | {"name": "main", "progress": str(progress)})
    found = watched(process, options, disk, progress)
    if result.is_file():
        found |= json.loads(result.read_text())
    found["raised"] = found.pop("errors")
    time.sleep(2)  # for daemons that still write
    shutil.copytree(disk, rescued, symlinks=True)
    rescued.with_suffix(".json").write_text(json.dumps(found))


def worker(
    options: Any, disk: Path, result: Path, workload: str, words: dict[str, Any]
) -> "subprocess.Popen[bytes]":
    command = [
        options["python"],
        "-W",
        "ignore",
        str(HERE / "worker.py"),
        options["tracker"],
        workload,
        str(disk),
    ]
    return subprocess.Popen([*command, str(result), json.dumps(words)], cwd=options["folder"])


def watched(process: "subprocess.Popen[bytes]", options: Any, disk: Path, progress: Path) -> dict[str, Any]:
    """Fill the disk after some steps, free it later, and wait for the end; a step that never comes is a hang."""
    end = time.monotonic() + 60
    while (
        seen(progress)["steps"] < options["full_after"] and process.poll() is None and time.monotonic() < end
    ):
        time.sleep(0.01)
    filler = disk / "filler"
    full_until = time.monotonic() + options["full_for"]
    while time.monotonic() < full_until:
        fill(filler)
        time.sleep(0.005)
    filler.unlink()
    freed = time.monotonic()
    limit = freed + options["steps"] / options["per_second"] + options["patience"]
    before, moved = seen(progress)["steps"], freed
    while process.poll() is None and time.monotonic() < limit:
        if (now := seen(progress)["steps"]) != before:
            before, moved = now, time.monotonic()
        if time.monotonic() - moved > options["patience"]:
            break
        time.sleep(0.05)
    if process.poll() is None:
        process.kill()
        process.wait()
        return seen(progress) | {"hung_s": round(time.monotonic() - moved)}
    return seen(progress) | {"hung_s": 0}


def seen(progress: Path) -> dict[str, Any]:
    """Steps done, errors raised, the longest call."""
    data = progress.read_bytes() if progress.is_file() else b""
    steps, errors, longest = struct.unpack_from("<qqd", data) if len(data) >= 24 else (0, 0, 0.0)
    return {"steps": steps, "errors": errors, "longest_ms": longest * 1000}


def fill(filler: Path) -> None:
    """Take what is free, to the last byte."""
    file = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for piece in (1 << 20, 4096, 1):
            try:
                while os.write(file, b"\0" * piece) == piece:
                    pass
            except OSError:
                continue
    finally:
        os.close(file)


if __name__ == "__main__":
    main()
