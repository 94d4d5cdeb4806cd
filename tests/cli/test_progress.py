"""The progress bar: on a terminal's standard error, for long work, and gone at the end."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Invoke = Callable[..., Any]
AT_ONCE = "import autotrack.cli.progress as bar; bar.SECONDS = 0"
SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"
MANY = (
    "import autotrack\n"
    "for number in range(200):\n"
    "    run = autotrack.init(project='many', name=f'run {number}')\n"
    "    run.log({'loss': 1 / (number + 1)})\n"
    "    run.finish()\n"
)
SLOW = (
    "import sys, time\n"
    "from autotrack.cli.progress import progress\n"
    "with progress('Counting sheep', size=True) as tell:\n"
    "    for done in range(1, int(sys.argv[1])):\n"
    "        time.sleep(0.02)\n"
    "        tell(done * 1024, 102400)\n"
    "print('counted')\n"
    "sys.exit()\n"
)


@pytest.mark.parametrize(
    ("command", "what"),
    [(["ls"], "Reading runs"), (["export", "--history"], "Exporting")],
    ids=["ls", "export"],
)
def test_reading_many_runs_shows_how_far_it_is(
    terminal: Invoke, filled: Path, tmp_path: Path, command: list[str], what: str
) -> None:
    with open(tmp_path / "answer", "wb") as into:
        shown = terminal(*command, before=AT_ONCE, into=into)
    assert shown.code == 0
    assert what in shown.output
    assert (" of 7" if command == ["ls"] else " of 5") in shown.output
    assert shown.output.rindex(SHOW_CURSOR) > shown.output.rindex(HIDE_CURSOR)
    assert b"Reading" not in (tmp_path / "answer").read_bytes()


def test_short_work_shows_no_bar(terminal: Invoke) -> None:
    shown = terminal(10, before=SLOW)
    assert shown.output == "counted\r\n"


def test_long_work_shows_a_bar_that_is_wiped_away(terminal: Invoke) -> None:
    shown = terminal(80, before=SLOW)
    assert "Counting sheep" in shown.output
    assert "/100.0 KiB" in shown.output
    assert shown.output.endswith("\x1b[2Kcounted\r\n")


@pytest.mark.parametrize(
    ("command", "env"),
    [
        (["ls", "--json"], {}),
        (["show", "--json"], {}),
        (["verify", "--json"], {}),
        (["ls"], {"NO_COLOR": "1"}),
        (["ls"], {"TERM": "dumb"}),
    ],
    ids=["ls --json", "show --json", "verify --json", "NO_COLOR", "dumb"],
)
def test_no_bar_for_json_and_for_terminals_without_colours(
    terminal: Invoke, filled: Path, command: list[str], env: dict[str, str]
) -> None:
    shown = terminal(*command, before=AT_ONCE, env=env)
    assert shown.code == 0
    assert "Reading runs" not in shown.output
    assert HIDE_CURSOR not in shown.output


def test_no_bar_where_the_answer_goes_into_a_pipe(terminal: Invoke, filled: Path) -> None:
    read, write = os.pipe()
    shown = terminal("ls", before=AT_ONCE, into=write)
    os.close(write)
    with open(read, "rb") as pipe:
        assert b"mlp-adam" in pipe.read()
    assert "Reading runs" not in shown.output


def test_ctrl_c_while_reading_many_runs_leaves_the_terminal_clean(terminal: Invoke, store: Path) -> None:
    subprocess.run([sys.executable, "-c", MANY], check=True, env={**os.environ, "AUTOTRACK_SILENT": "1"})
    shown = terminal("ls", before=AT_ONCE, interrupt_at=b"Reading runs")
    assert shown.code == 130
    assert "Traceback" not in shown.output
    assert shown.output.rindex(SHOW_CURSOR) > shown.output.rindex(HIDE_CURSOR)
    assert shown.output.endswith(("\x1b[2K", "\x1b[2K\r\n"))
    again = terminal("ls", "--limit", "0")
    assert again.code == 0
    assert sum("run " in line for line in again.lines) == 200
