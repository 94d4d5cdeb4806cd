"""The command line, the script, the Python and the host, in real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import run_kernel

from autotrack.capture.command import Host, Python, started_as

PRINT = """
import json
from autotrack.capture.command import Command
command = Command()
print(json.dumps(command.collect() | {"note": command.note}))
"""


def answer(folder: Path, *words: str, **more: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False, **more
    )
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "a folder"
    (place / "pack").mkdir(parents=True)
    (place / "train.py").write_text(PRINT)
    (place / "pack" / "__init__.py").write_text("")
    (place / "pack" / "__main__.py").write_text(PRINT)
    (place / "pack" / "part.py").write_text(PRINT)
    return place


def test_a_script_is_named_by_its_absolute_path_and_secrets_are_not_written(folder: Path) -> None:
    facts = answer(
        folder, "-u", "-X", "dev", "-Wignore", "train.py", "--lr", "0.1", "--api-key", "abc123", "it's"
    )
    assert facts["script"] == str(folder / "train.py")
    assert facts["folder"] == str(folder)
    assert facts["argv"][1:] == [
        *("-u", "-X", "dev", "-Wignore", "train.py", "--lr", "0.1", "--api-key", "[redacted]", "it's"),
    ]
    assert facts["command"].endswith("""train.py --lr 0.1 --api-key '[redacted]' 'it'"'"'s'""")
    assert "abc123" not in json.dumps(facts)
    assert facts["note"] is None


@pytest.mark.parametrize(("name", "file"), [("pack", "__main__.py"), ("pack.part", "part.py")])
def test_a_module_is_named_and_so_is_its_file(folder: Path, name: str, file: str) -> None:
    facts = answer(folder, "-Bm", name, "-c", "x")
    assert facts["module"] == name
    assert facts["script"] == str(folder / "pack" / file)


def test_a_script_that_changes_the_folder_keeps_its_path(folder: Path) -> None:
    (folder / "moves.py").write_text("import os\nos.chdir('/')\n" + PRINT)
    facts = answer(folder, "moves.py")
    assert (facts["script"], facts["folder"]) == (str(folder / "moves.py"), "/")


def test_a_folder_that_is_gone_and_a_name_that_is_no_utf8_can_be_recorded(folder: Path) -> None:
    source = PRINT.replace("command = ", "import os\nos.rmdir(os.getcwd())\ncommand = ")
    (folder / "away").mkdir()
    (folder / "gone.py").write_text(source)
    facts = answer(folder / "away", str(folder / "gone.py"), os.fsdecode(b"caf\xe9"))
    assert facts["folder"] is None
    assert facts["script"] == str(folder / "gone.py")


def test_code_of_c_and_of_the_standard_input_has_no_script_and_says_why(folder: Path) -> None:
    facts = answer(folder, "-c", PRINT, "--token", "abcdefgh12")
    assert "script" not in facts
    assert facts["note"] == "script: the code was given with -c"
    assert facts["argv"][-1] == "[redacted]"
    typed = answer(folder, "-", input=PRINT)
    assert typed["note"] == "script: the code was typed in or came from the standard input"


def test_a_notebook_has_no_script_and_says_why(folder: Path) -> None:
    printed: list[str] = []
    with run_kernel(cwd=str(folder), env=os.environ | {"JPY_SESSION_NAME": "/home/a/fit.ipynb"}) as kernel:
        kernel.execute_interactive(
            PRINT, timeout=60, output_hook=lambda message: printed.append(message["content"].get("text", ""))
        )
    facts = json.loads("".join(printed))
    assert facts["note"] == "script: a notebook's cells are no script"
    assert facts["notebook"] == "/home/a/fit.ipynb"


def test_a_script_that_imports_a_kernels_package_is_still_a_script(folder: Path) -> None:
    (folder / "train.py").write_text("import ipykernel.kernelapp\n" + PRINT)
    assert answer(folder, "train.py")["script"] == str(folder / "train.py")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a.py", "-m", "b"], ("script", "a.py")),
        (["-um", "pack", "x"], ("-m", "pack")),
        (["-mpack"], ("-m", "pack")),
        (["-W", "error", "-X", "dev", "a.py"], ("script", "a.py")),
        (["--check-hash-based-pycs", "never", "a.py"], ("script", "a.py")),
        (["-OO", "-Ec", "print(1)"], ("-c", "print(1)")),
        (["-"], ("-", "")),
        ([], ("-", "")),
    ],
)
def test_pythons_own_words_are_understood(words: list[str], expected: tuple[str, str]) -> None:
    assert started_as(["python", *words]) == expected


def test_a_long_word_is_cut(folder: Path) -> None:
    facts = answer(folder, "train.py", "x" * 50_000)
    assert len(facts["argv"][-1]) < 11_000


def test_the_python_is_this_one() -> None:
    facts = Python().collect()
    assert facts["version"] == sys.version.split()[0]
    assert (facts["executable"], facts["prefix"], facts["implementation"]) == (
        sys.executable,
        sys.prefix,
        "cpython",
    )
    assert (facts.get("virtualenv") == sys.prefix) == (sys.prefix != sys.base_prefix)


def host(**variables: str) -> dict[str, Any]:
    source = "import json\nfrom autotrack.capture.command import Host\nprint(json.dumps(Host().collect()))"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "HF_", "TORCH"))}
    done = subprocess.run(
        [sys.executable, "-c", source], env=kept | variables, capture_output=True, text=True, check=True
    )
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def test_only_the_listed_variables_are_kept_and_their_secrets_are_not() -> None:
    facts = host(
        CUDA_VISIBLE_DEVICES="1",
        PYTHONHASHSEED="7",
        TORCH_LOGS="+dynamo",
        HF_HOME="/data/hf",
        HF_TOKEN="hf_abcdefghijklmnop",
        MY_PRIVATE="diary",
        SLURM_JWT="eyJhbGciOiJIUzI1NiJ9.e30.x",
    )
    assert {"CUDA_VISIBLE_DEVICES": "1", "TORCH_LOGS": "+dynamo", "HF_HOME": "/data/hf"}.items() <= facts[
        "variables"
    ].items()
    assert facts["variables"]["HF_TOKEN"] == facts["variables"]["SLURM_JWT"] == "[redacted]"
    assert "diary" not in json.dumps(facts)


def test_torchrun_and_slurm_give_the_place_among_the_ranks() -> None:
    torchrun = host(
        TORCHELASTIC_RUN_ID="none", RANK="3", WORLD_SIZE="8", LOCAL_RANK="1", LOCAL_WORLD_SIZE="4"
    )
    assert torchrun["ranks"] == {
        "launcher": "torchrun",
        "rank": 3,
        "world_size": 8,
        "local_rank": 1,
        "local_world_size": 4,
        "job": "none",
    }
    slurm = host(SLURM_JOB_ID="77", SLURM_PROCID="2", SLURM_NTASKS="16", SLURM_LOCALID="0", SLURM_NNODES="2")
    assert slurm["ranks"] == {
        "launcher": "slurm",
        "rank": 2,
        "world_size": 16,
        "local_rank": 0,
        "nodes": 2,
        "job": 77,
    }


def test_the_host_is_named() -> None:
    facts = Host().collect()
    assert (facts["name"], facts["pid"]) == (os.uname().nodename, os.getpid())
    assert facts["platform"] == f"{os.uname().sysname} {os.uname().release} {os.uname().machine}"
    assert facts["user"]


def test_the_scripts_own_repository_is_described_from_wherever_it_is_started(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "state.py").write_text(
        "from autotrack.capture.git import Git\nprint(Git().collect()['root'])\n"
    )
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)
    done = subprocess.run(
        [sys.executable, "../a folder/state.py"],
        cwd=_made(tmp_path / "else"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(folder)


def _made(place: Path) -> Path:
    place.mkdir()
    return place
