"""On a terminal and in a pipe: widths, colours, control characters, closed pipes, Ctrl-C, completion."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotrack.cli.output import text_width

Invoke = Callable[..., Any]
Ids = dict[str, str]
ANSI = re.compile(r"\x1b\[[0-9;]*m")
READING = [["ls"], ["ls", "--all"], ["show"], ["doctor"], ["tail", "--once"], ["compare"]]


def words(command: list[str], ids: Ids) -> list[str]:
    """The command line with the runs that the command needs."""
    more = {"show": [ids["hostile"]], "tail": [ids["hostile"]], "compare": [ids["hostile"], ids["sgd"]]}
    return [*command, *more.get(command[0], [])]


def unsafe(text: str) -> set[str]:
    """What a terminal could act on, colours and line ends left out."""
    plain = ANSI.sub("", text).replace("\r\n", "\n")
    bad = {chr(code) for code in [*range(32), *range(127, 160)]} | set(
        "\u202a\u202b\u202d\u202e\u2066\u2067\u200b\ufeff"
    )
    return (set(plain) & bad) - {"\n"}


@pytest.mark.parametrize("columns", [60, 100])
@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_every_line_fits_and_nothing_acts_on_the_terminal(
    terminal: Invoke, filled: Path, ids: Ids, command: list[str], columns: int
) -> None:
    shown = terminal(*words(command, ids), columns=columns)
    assert shown.code == 0, shown.output
    assert not unsafe(shown.output)
    assert "owned\x07" not in shown.output
    widths = [text_width(ANSI.sub("", line)) for line in shown.lines]
    assert max(widths) <= columns


def test_colours_are_there_in_a_terminal_and_go_with_no_color(terminal: Invoke, filled: Path) -> None:
    assert "\x1b[" in terminal("ls").output
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        shown = terminal("ls", env=env)
        assert "\x1b" not in shown.output
        assert "finished" in shown.output


@pytest.mark.parametrize(
    "command", [*READING, ["export"], ["ls", "--json"], ["show", "--json"]], ids=" ".join
)
def test_a_pipe_gets_no_escape_and_nothing_cut(
    process: Invoke, filled: Path, ids: Ids, command: list[str]
) -> None:
    done = process(*words(command, ids), env={"FORCE_COLOR": "1", "COLUMNS": "40"})
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout or command == ["export"]
    if command[0] in ("ls", "show"):
        assert "…" not in done.stdout
        assert ids["hostile"] in done.stdout


def test_markup_and_emoji_codes_in_names_are_not_interpreted(
    terminal: Invoke, filled: Path, ids: Ids
) -> None:
    shown = ANSI.sub("", terminal("show", ids["hostile"], columns=120).output)
    assert "[red]not markup[/red] \\u202egnp.exe :smile:\\nnext\\x9b2J" in shown


def test_csv_in_a_terminal_is_cleaned_and_in_a_file_it_is_not(
    terminal: Invoke, filled: Path, tmp_path: Path
) -> None:
    shown = terminal("export", "--project", "other")
    assert not unsafe(shown.output)
    target = tmp_path / "x.csv"
    assert terminal("export", "--project", "other", "--output", target).code == 0
    assert "\u202e" in target.read_text(encoding="utf-8")


def test_messages_on_the_terminal_are_cleaned(terminal: Invoke, filled: Path) -> None:
    for command in (
        ["show", "\x1b[31mx"],
        ["ls", "--where", "\x1b]0;x\x07"],
        ["ls", "--columns", "id,\x1b[2J"],
    ):
        assert not unsafe(terminal(*command).output)


def test_an_ascii_terminal_gets_ascii(terminal: Invoke, filled: Path, ids: Ids) -> None:
    env = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "NO_COLOR": "1"}
    shown = terminal("show", ids["sgd"], env=env)
    assert shown.code == 0
    assert shown.output.isascii()
    assert "#" in shown.output
    assert terminal("show", ids["hostile"], env=env).code == 0


def test_a_closed_pipe_is_silent(filled: Path) -> None:
    for command in ("ls", "export --history", "show --json", "doctor"):
        line = f"{sys.executable} -m autotrack {command} | head -c 1 > /dev/null; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
        assert done.stderr == ""
        assert done.stdout.strip() == "0"


def test_standard_output_that_is_closed_is_no_traceback(filled: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m autotrack ls >&-"], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr


RUNNING = (
    "import autotrack, sys, time\n"
    "run = autotrack.init(project='live', name='slow')\n"
    "print(run.id, flush=True)\n"
    "for step in range(int(sys.argv[1])):\n"
    "    run.log({'loss': 1 / (step + 1), 'val/acc': step}, step=step)\n"
    "    time.sleep(0.1)\n"
    "run.finish()\n"
)


def start_run(steps: int) -> tuple[subprocess.Popen[str], str]:
    """A process that records a run for about `steps` tenths of a second, and the run's id."""
    child = subprocess.Popen([sys.executable, "-c", RUNNING, str(steps)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    return child, child.stdout.readline().strip()


def test_tail_follows_a_running_run_to_its_end_without_losing_a_point(process: Invoke, store: Path) -> None:
    child, run = start_run(30)
    done = process("tail", "--json", "--lines", "100", "--interval", "0.1")
    child.communicate()
    import json

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [line["step"] for line in lines] == list(range(30))
    assert lines[3]["values"] == {"loss": 0.25, "val/acc": 3}
    assert f"{run} slow: finished" in done.stderr


def test_tail_chooses_keys_and_earlier_lines(process: Invoke, filled: Path, ids: Ids) -> None:
    done = process("tail", ids["sgd"], "--lines", "3", "--key", "val/*")
    assert [re.findall(r"step (\d+)", line) for line in done.stdout.splitlines()] == [["17"], ["18"], ["19"]]
    assert "train/loss" not in done.stdout


def test_tail_of_a_child_shows_only_the_child(process: Invoke, filled: Path, ids: Ids) -> None:
    done = process("tail", ids["C10"], "--once")
    assert [line.split("  ")[-1] for line in done.stdout.splitlines()] == ["score=0.5"]


def test_tail_in_a_terminal_is_a_live_table_that_ends_with_the_run(terminal: Invoke, store: Path) -> None:
    child, run = start_run(40)
    shown = terminal("tail", run, "--interval", "0.1")
    child.communicate()
    assert shown.code == 0
    assert "running" in shown.output
    assert "finished" in shown.output[shown.output.rindex("running") :]


def test_tail_once_leaves_while_the_run_goes_on(process: Invoke, store: Path) -> None:
    child, run = start_run(600)
    try:
        time.sleep(0.5)
        begin = time.monotonic()
        done = process("tail", run, "--once")
        assert time.monotonic() - begin < 20
        assert done.returncode == 0
        assert re.search(r"step \d+  loss=", done.stdout)
        assert child.poll() is None
    finally:
        child.kill()
        child.communicate()


def test_ctrl_c_is_130_and_silent(store: Path) -> None:
    child, run = start_run(600)
    try:
        tail = subprocess.Popen(
            [sys.executable, "-m", "autotrack", "tail", run],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert tail.stdout is not None
        tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        _, errors = tail.communicate(timeout=20)
        assert tail.returncode == 130
        assert "Traceback" not in errors
    finally:
        child.kill()
        child.communicate()


def complete(line: str, store: Path) -> list[str]:
    """What bash would offer for a command line."""
    env = {
        **os.environ,
        "_AUTOTRACK_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    program = Path(sys.executable).with_name("autotrack")
    done = subprocess.run([program], env=env, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


def test_the_shell_completes_commands_runs_and_projects(filled: Path, ids: Ids) -> None:
    assert {"show", "ls"} <= set(complete("autotrack ", filled))
    assert complete(f"autotrack show {ids['sgd'][:6]}", filled) == [ids["sgd"]]
    assert set(complete("autotrack rm ", filled)) >= {ids["adam"], ids["C1"]}
    assert complete("autotrack ls --project di", filled) == ["digits"]
    assert complete(f"autotrack --store {filled.parent} ls --project o", filled) == ["other"]


def test_completion_is_silent_without_a_store(store: Path) -> None:
    assert complete("autotrack show a", store) == []
    assert complete("autotrack ls --project a", store) == []


def test_completion_can_be_installed(store: Path, tmp_path: Path) -> None:
    # Typer looks which shell it was started from.
    line = f"{sys.executable} -m autotrack --install-completion; exit $?"
    env = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", line], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "_AUTOTRACK_COMPLETE=complete_bash" in written


def test_version_and_help(process: Invoke) -> None:
    from autotrack.version import VERSION

    assert process("--version").stdout == f"autotrack {VERSION}\n"
    shown = process("--help")
    assert shown.returncode == 0
    assert "compare" in shown.stdout


def test_the_version_loads_no_command(store: Path) -> None:
    code = "import sys; sys.argv = ['autotrack', '--version']\nfrom autotrack.cli.main import main; main()\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"typer", "rich", "sqlalchemy", "numpy"} & set(done.stdout.split())


def test_reading_through_a_pipe_loads_no_rich_and_no_framework(filled: Path) -> None:
    code = (
        "import sys; sys.argv = ['autotrack', 'ls']\n"
        "from autotrack.cli.main import main\n"
        "try: main()\nexcept SystemExit: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"rich.console", "torch", "sklearn", "pandas", "pyarrow"} & set(done.stdout.split())
