"""What is shipped: a wheel with everything in it, that works in an environment of its own, and an editable install that does too."""

import email
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

INTEGRATIONS = {"argparse", "click", "keras", "lightning", "sklearn", "transformers"}

LOAD_ALL = """
import importlib.metadata, json
groups = {}
for group in ("autotrack.integrations", "autotrack.callbacks"):
    groups[group] = {}
    for entry in importlib.metadata.entry_points(group=group):
        groups[group][entry.name] = entry.value
        if entry.name not in ("lightning", "keras", "transformers") or group == "autotrack.integrations":
            entry.load()
print(json.dumps(groups))
"""

TRAINING = """
import argparse, pickle, sys
import autotrack
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
args = parser.parse_args()
autotrack.log({"loss": args.lr})
print(autotrack.active_run().name, autotrack.__file__)
"""

CONSUMER = """
import autotrack
from autotrack.integrations import sklearn

run = autotrack.init(project="p", config={"lr": 0.1})
reveal_type(run)
run.log({"loss": 0.5}, step=1)
autotrack.autolog(project="p", tags=["a"])
name: str = run.name
with autotrack.init() as other:
    other.log_artifact("x")
for record in autotrack.runs(project="p"):
    print(record.id, record.summary["loss"])
"""

NO_OTHER_TYPES = """
[mypy]
[mypy-numpy.*,sqlalchemy.*,pandas.*,polars.*,pyarrow.*,sklearn.*,torch.*,rich.*,typer.*,psutil.*]
follow_imports = skip
"""
"""Reading the types of large libraries takes mypy twenty seconds, and says nothing of ours."""


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as file:
        return {name for name in file.namelist() if not name.endswith("/")}


def test_every_module_is_in_the_wheel(wheel: Path, tree: Path) -> None:
    shipped = names(wheel)
    core = {path.relative_to(tree).as_posix() for path in (tree / "autotrack").rglob("*.py")}
    integrations = {f"autotrack/integrations/{path.name}" for path in (tree / "integrations").glob("*.py")}
    assert {f"autotrack/integrations/{name}.py" for name in INTEGRATIONS} <= integrations
    wanted = {name for name in core if not name.startswith("autotrack/integrations/")} | integrations
    assert wanted | {"autotrack/py.typed", "autotrack.pth"} <= shipped
    assert {name for name in shipped if name.endswith(".py")} == wanted


def test_nothing_else_stands_at_the_top_of_the_wheel(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in names(wheel)}
    (info,) = {name for name in tops if name.endswith(".dist-info")}
    assert tops == {"autotrack", "autotrack.pth", info}


def test_a_module_that_is_gone_is_not_shipped_from_an_earlier_build(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "source"
    shutil.copytree(tree, copy, symlinks=True)
    stale = copy / "build" / "lib" / "autotrack" / "gone.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--wheel",
        "--outdir",
        str(tmp_path / "dist"),
        str(copy),
    ]
    subprocess.run(command, capture_output=True, check=True)
    (built,) = (tmp_path / "dist").glob("*.whl")
    assert "autotrack/gone.py" not in names(built)
    assert "autotrack/__init__.py" in names(built)


def test_the_metadata_says_what_is_true(wheel: Path, tree: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        (name,) = [name for name in file.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(file.read(name))
    from autotrack.version import VERSION

    assert (metadata["Name"], metadata["Version"], metadata["License-Expression"]) == (
        "autotrack-ml",
        VERSION,
        "Apache-2.0",
    )
    requirements = metadata.get_all("Requires-Dist") or []
    assert not [line for line in requirements if line.lower().startswith("autotrack")]
    tested = (tree / "tox.ini").read_text(encoding="utf-8")
    versions = [
        line.rpartition(" ")[2] for line in metadata.get_all("Classifier") or [] if "Python :: 3." in line
    ]
    assert versions
    assert all(f"py{version.replace('.', '')}" in tested for version in versions)
    assert metadata["Requires-Python"] == f">={min(versions, key=lambda v: int(v.split('.')[1]))}"


def test_the_packages_in_pyproject_are_all_there_are(tree: Path) -> None:
    with open(tree / "pyproject.toml", "rb") as file:
        listed = set(tomllib.load(file)["tool"]["setuptools"]["packages"])
    found = {
        ".".join(path.parent.relative_to(tree).parts) for path in (tree / "autotrack").rglob("__init__.py")
    }
    assert listed == found | {"autotrack.integrations"}


def launch(environment: Any, folder: Path) -> tuple[Any, dict[str, Any]]:
    (folder / "train.py").write_text(TRAINING, encoding="utf-8")
    store = {"AUTOTRACK_DIR": str(folder / "store")}
    done = environment.run(environment.autotrack, "run", "train.py", "--lr", "0.5", cwd=folder, **store)
    assert (done.returncode, done.stderr) == (0, "")
    listed = environment.run(environment.autotrack, "ls", "--json", cwd=folder, **store)
    assert listed.returncode == 0, listed.stderr
    (run,) = json.loads(listed.stdout)
    return done, run


def check_use(environment: Any, folder: Path) -> str:
    """The checks that hold for a wheel and for an editable install; returns what the script printed."""
    done = environment.run(environment.python, "-I", "-c", LOAD_ALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    groups = json.loads(done.stdout)
    assert set(groups["autotrack.integrations"]) >= INTEGRATIONS
    assert set(groups["autotrack.callbacks"]) >= {"keras", "lightning", "sklearn", "transformers"}
    done, run = launch(environment, folder)
    assert run["name"] == "train.py"
    assert run["status"] == "finished"
    alone = environment.run(environment.python, "-c", "import integrations", cwd=folder)
    assert alone.returncode != 0
    return str(done.stdout)


def test_the_wheel_works_in_an_environment_of_its_own(from_wheel: Any, tmp_path: Path) -> None:
    printed = check_use(from_wheel, tmp_path)
    assert str(from_wheel.site / "autotrack" / "__init__.py") in printed


def test_an_editable_install_works_the_same(editable: Any, tree: Path, tmp_path: Path) -> None:
    printed = check_use(editable, tmp_path)
    assert str(editable.site / "autotrack") not in printed
    (record,) = editable.site.glob("autotrack_ml-*.dist-info/RECORD")
    rows = [
        line
        for line in record.read_text(encoding="utf-8").splitlines()
        if line.startswith("autotrack.pth,sha256=")
    ]
    assert len(rows) == 1


def test_types_reach_somebody_elses_code(from_wheel: Any, tmp_path: Path) -> None:
    (tmp_path / "consumer.py").write_text(CONSUMER, encoding="utf-8")
    (tmp_path / "mypy.ini").write_text(NO_OTHER_TYPES, encoding="utf-8")
    command = ["-m", "mypy", "--strict", "--python-executable", str(from_wheel.python), "consumer.py"]
    done = from_wheel.run(sys.executable, *command, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'Revealed type is "autotrack.run.Run"' in done.stdout


@pytest.mark.parametrize("name", ["integrations", "tests", "examples", "setup"])
def test_no_other_name_can_be_imported(from_wheel: Any, tmp_path: Path, name: str) -> None:
    done = from_wheel.run(from_wheel.python, "-c", f"import {name}; print({name}.__file__)", cwd=tmp_path)
    assert str(from_wheel.site) not in done.stdout


def test_uninstalling_removes_the_pth(new_environment: Any, wheel: Path) -> None:
    new_environment.pip("install", "--quiet", "--no-deps", str(wheel))
    assert (new_environment.site / "autotrack.pth").is_file()
    new_environment.pip("uninstall", "--quiet", "--yes", "autotrack-ml")
    assert [path.name for path in new_environment.site.iterdir() if "autotrack" in path.name] == []
