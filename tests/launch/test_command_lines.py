"""What the script parsed from its command line is the run's config."""

from typing import Any

import pytest

ARGPARSE = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--layers", type=int, nargs="+", default=[8])
parser.add_argument("--fast", action="store_true")
parser.add_argument("--api-key", default=None)
parser.add_argument("data", nargs="?")
args = parser.parse_args()
print(args)
"""


def test_argparse_values_keep_their_types(work: Any) -> None:
    work.write("train.py", ARGPARSE)
    words = ["train.py", "--layers", "3", "4", "--fast", "set.csv"]
    assert work.launch(*words).stdout == work.plain(*words).stdout
    config = work.only_run().config
    assert config == {"lr": 0.1, "layers": [3, 4], "fast": True, "api_key": None, "data": "set.csv"}


def test_a_secret_on_the_command_line_is_not_written(work: Any) -> None:
    work.write("train.py", ARGPARSE)
    work.launch("train.py", "--api-key", "sk-verysecret12345")
    assert work.only_run().config["api_key"] == "[redacted]"
    written = b"".join(path.read_bytes() for path in work.store.rglob("*") if path.is_file())
    assert b"verysecret" not in written


@pytest.mark.parametrize(("words", "code"), [(["--lr", "abc"], 2), (["--nonsense"], 2), (["--help"], 0)])
def test_usage_errors_and_help_are_argparses_own(work: Any, words: list[str], code: int) -> None:
    work.write("train.py", ARGPARSE)
    plain, launched = work.plain("train.py", *words), work.launch("train.py", *words)
    assert (launched.stdout, launched.stderr, launched.returncode) == (plain.stdout, plain.stderr, code)
    assert work.only_run().config == {}


@pytest.mark.parametrize("dest", ["", ", dest='mode'"])
def test_a_subcommand_is_recorded_with_its_options(work: Any, dest: str) -> None:
    work.write(
        "train.py",
        "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--seed', type=int, default=1)\n"
        f"commands = parser.add_subparsers(required=True{dest or ', metavar=None'})\n".replace(
            ", metavar=None", ""
        )
        + "fit = commands.add_parser('fit')\nfit.add_argument('--epochs', type=int)\nprint(parser.parse_args().epochs)\n",
    )
    assert work.launch("train.py", "--seed", "4", "fit", "--epochs", "2").stdout == "2\n"
    key = "mode" if dest else "subcommand"
    assert work.only_run().config == {"seed": 4, "epochs": 2, key: "fit"}


def test_a_program_that_parses_in_two_goes_is_recorded_whole(work: Any) -> None:
    work.write(
        "train.py",
        "import argparse\nfirst = argparse.ArgumentParser(add_help=False)\nfirst.add_argument('--config')\n"
        "known, rest = first.parse_known_args()\nsecond = argparse.ArgumentParser(parents=[first])\n"
        "second.add_argument('--lr', type=float)\nsecond.parse_args()\n"
        "third = argparse.ArgumentParser()\nthird.add_argument('--late', default=1)\nthird.parse_args([])\n",
    )
    work.launch("train.py", "--config", "a.yaml", "--lr", "0.5")
    assert work.only_run().config == {"config": "a.yaml", "lr": 0.5}


def test_an_exception_in_a_users_type_function_keeps_its_message(work: Any) -> None:
    work.write(
        "train.py",
        "import argparse\ndef kind(text):\n    raise ValueError('bad ' + text)\n"
        "parser = argparse.ArgumentParser()\nparser.add_argument('--x', type=kind)\nparser.parse_args()\n",
    )
    plain, launched = work.plain("train.py", "--x", "1"), work.launch("train.py", "--x", "1")
    assert (launched.stderr, launched.returncode) == (plain.stderr, plain.returncode)


def test_parsers_of_installed_tools_are_left_alone(work: Any) -> None:
    work.write("test_nothing.py", "def test_nothing():\n    pass\n")
    done = work.launch("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_nothing.py")
    assert done.returncode == 0
    assert work.only_run().config == {}


def test_a_module_of_the_users_own_package_is_recorded(work: Any) -> None:
    work.write("mine/__init__.py", "")
    work.write("mine/options.py", ARGPARSE)
    work.write("mine/__main__.py", "from mine import options\n")
    work.launch("-m", "mine", "--lr", "2")
    assert work.only_run().config["lr"] == 2.0


CLICK = """
import click

@click.group()
@click.option("--seed", type=int, default=1)
def main(seed):
    pass

@main.command()
@click.option("--lr", type=float, default=0.1)
@click.option("--password", hide_input=True)
@click.argument("names", nargs=-1)
def fit(lr, password, names):
    print(lr, names)
    if lr > 1:
        raise ValueError("too much")

main()
"""


def test_click_parameters_of_the_command_and_its_groups_are_recorded(work: Any) -> None:
    work.write("train.py", CLICK)
    words = ["train.py", "--seed", "3", "fit", "--lr", "0.5", "--password", "hunter22", "a", "b"]
    plain, launched = work.plain(*words), work.launch(*words)
    assert (launched.stdout, launched.stderr, launched.returncode) == (plain.stdout, plain.stderr, 0)
    config = work.only_run().config
    assert config == {
        "seed": 3,
        "lr": 0.5,
        "password": "[redacted]",
        "names": ["a", "b"],
        "subcommand": "fit",
    }


@pytest.mark.parametrize("words", [["fit", "--lr", "x"], ["nothing"], ["fit", "--lr", "2"], ["--help"]])
def test_click_errors_are_clicks_own(work: Any, words: list[str]) -> None:
    work.write("train.py", CLICK)
    plain, launched = work.plain("train.py", *words), work.launch("train.py", *words)
    assert (launched.stdout, launched.stderr, launched.returncode) == (
        plain.stdout,
        plain.stderr,
        plain.returncode,
    )


def test_typer_parameters_are_recorded(work: Any) -> None:
    work.write(
        "train.py",
        "import typer\n\ndef main(data: str, lr: float = 0.1, fast: bool = False):\n    print(data, lr, fast)\n\ntyper.run(main)\n",
    )
    plain, launched = (
        work.plain("train.py", "set.csv", "--fast"),
        work.launch("train.py", "set.csv", "--fast"),
    )
    assert (launched.stdout, launched.stderr) == (plain.stdout, plain.stderr)
    assert work.only_run().config == {"data": "set.csv", "lr": 0.1, "fast": True}


def test_a_typer_app_with_commands_is_recorded(work: Any) -> None:
    work.write(
        "train.py",
        "import typer\napp = typer.Typer()\n\n@app.command()\ndef fit(lr: float = 0.1):\n    print(lr)\n\n"
        "@app.command()\ndef check():\n    pass\n\napp()\n",
    )
    assert work.launch("train.py", "fit", "--lr", "0.25").stdout == "0.25\n"
    assert work.only_run().config == {"lr": 0.25, "subcommand": "fit"}


def test_with_autolog_the_command_line_goes_into_the_run_that_is_opened_later(work: Any) -> None:
    work.write(
        "train.py",
        "import autotrack\nautotrack.autolog(project='p')\n"
        + ARGPARSE
        + "run = autotrack.init()\nrun.finish()\n",
    )
    done = work.plain("train.py", "--lr", "0.3")
    assert done.returncode == 0, done.stderr
    assert work.only_run().config["lr"] == 0.3


HF_ARGUMENTS = """
import sys
from dataclasses import dataclass, field
from transformers import HfArgumentParser, TrainingArguments

@dataclass
class Model:
    hidden: int = 16
    task_name: str = "x"
    layers: list[int] = field(default_factory=lambda: [8])
    token: str | None = None

@dataclass
class Training(TrainingArguments):
    warm: float = 0.5

parser = HfArgumentParser((Model, Training) if "--output_dir" in sys.argv else Model)
if sys.argv[-1].endswith(".json"):
    parsed = parser.parse_json_file(sys.argv[-1])
else:
    parsed = parser.parse_args_into_dataclasses()
print(parsed[0])
"""
OWN = {"hidden": 32, "task_name": "mnli", "layers": [8], "token": None}


def test_dataclasses_that_transformers_parses_are_recorded_with_all_fields(work: Any) -> None:
    work.write("train.py", HF_ARGUMENTS)
    words = ["train.py", "--hidden", "32", "--task_name", "mnli"]
    assert work.launch(*words).stdout == work.plain(*words).stdout
    assert work.only_run().config == OWN


def test_of_a_librarys_dataclass_what_differs_from_its_defaults_is_recorded(work: Any) -> None:
    work.write("train.py", HF_ARGUMENTS)
    words = [
        "--output_dir",
        "out",
        "--learning_rate",
        "0.1",
        "--hub_token",
        "verysecret",
        "--token",
        "verysecret",
    ]
    assert work.launch("train.py", "--hidden=32", "--task_name=mnli", *words).returncode == 0
    own = OWN | {"token": "[redacted]", "warm": 0.5}
    given = {"output_dir": "out", "learning_rate": 0.1, "hub_token": "[redacted]"}
    assert work.only_run().config == own | given
    written = b"".join(path.read_bytes() for path in work.store.rglob("*") if path.is_file())
    assert b"verysecret" not in written


def test_a_json_file_that_transformers_parses_is_recorded(work: Any) -> None:
    work.write("train.py", HF_ARGUMENTS)
    work.write("set.json", '{"hidden": 32, "task_name": "mnli"}')
    work.launch("train.py", "set.json")
    assert work.only_run().config == OWN
