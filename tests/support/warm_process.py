"""Python processes that begin with the frameworks loaded: forked off one that has imported them, and nothing of ours.

Importing them takes ten seconds of CPU. What a test says of imports, of their order, or of how an interpreter starts or is launched
needs a process of its own (`python_process`).
"""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_MAIN = """
import atexit, gc, json, os, sys
import keras, lightning.pytorch, pytorch_lightning, transformers
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments
assert not [name for name in sys.modules if name.partition(".")[0] == "autotrack"]
gc.collect()
gc.freeze()
while line := sys.stdin.readline():
    _task = json.loads(line)
    if (_pid := os.fork()) == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(_pid, 0)[1]), flush=True)
else:
    sys.exit()
for _number, _path in enumerate((os.devnull, _task["out"], _task["errors"])):
    os.dup2(os.open(_path, os.O_RDWR), _number)
os.environ.clear()
os.environ.update(_task["environment"])
os.chdir(_task["folder"])
sys.argv = _task["argv"]
sys.path[:0] = _task["path"]
_code = 0
def _leave():  # the very last: taking the frameworks apart takes seconds
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_code)
atexit.register(_leave)
try:
    exec(compile(_task["code"], _task["argv"][0], "exec"))
except SystemExit as error:
    _code = error.code if isinstance(error.code, int) else int(error.code is not None)
    raise
except BaseException:
    _code = 1
    raise
"""
_process: "list[subprocess.Popen[str]]" = []


def warm(
    code: str,
    *words: str,
    folder: Path | None = None,
    path: str | None = None,
    only: dict[str, str] | None = None,
    **settings: str,
) -> "subprocess.CompletedProcess[str]":
    """Run code to its end: with these arguments, in this folder, with a folder to import from, and more environment variables.

    `only`: the whole environment.
    """
    if not _process:
        _process.append(_start())
    process = _process[0]
    assert process.stdin is not None
    assert process.stdout is not None
    with tempfile.TemporaryDirectory() as place:
        out, errors = Path(place) / "out", Path(place) / "errors"
        out.touch()
        errors.touch()
        task = {
            "code": code,
            "argv": ["-c", *words],
            "path": [] if path is None else [path],
            "folder": os.fspath(folder or Path.cwd()),
            "environment": {**(os.environ if only is None else only), **settings},
            "out": str(out),
            "errors": str(errors),
        }
        process.stdin.write(json.dumps(task) + "\n")
        process.stdin.flush()
        returned = process.stdout.readline()
        assert returned, "the process with the frameworks has ended"
        return subprocess.CompletedProcess(task["argv"], int(returned), out.read_text(), errors.read_text())


def told(code: str, *words: str, folder: Path | None = None, path: str | None = None, **settings: str) -> str:
    """What code prints that must end well."""
    done = warm(code, *words, folder=folder, path=path, **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def _start() -> "subprocess.Popen[str]":
    known = {key: value for key, value in os.environ.items() if not key.startswith("AUTOTRACK_")}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _MAIN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=known | {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"},
        text=True,
    )
    atexit.register(_end, process)
    return process


def _end(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(60)
