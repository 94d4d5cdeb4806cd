"""docs/cli.md is made from the commands themselves: `python tests/docs/test_cli_page.py > docs/cli.md` makes it anew."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"

HEAD = """# The command line

A run is named by its id or any unique beginning of it. Messages go to standard error, answers to standard output. Exit codes: 0 good,
1 a mistake or an unhealthy store, 2 wrong usage, 130 Ctrl-C. `autotrack --install-completion` sets up the shell's completion.
This page is made from the program: `python tests/docs/test_cli_page.py > docs/cli.md`.
"""


def command() -> Any:
    """The program, as Typer builds it."""
    from autotrack.cli.app import app

    return typer.main.get_command(app)


def cell(text: str | None) -> str:
    """Text for a cell of a table."""
    return re.sub(r"\s+", " ", text or "").strip().replace("|", "\\|")


def rows(parameters: list[Any]) -> list[str]:
    """One row an argument or option."""
    lines = []
    for parameter in parameters:
        if getattr(parameter, "hidden", False) or "completion" in (parameter.name or ""):
            continue
        if parameter.param_type_name == "argument":
            name = parameter.metavar or (parameter.name or "").upper()
            name = name + "..." if parameter.nargs == -1 and "..." not in name else name
        else:
            name = ", ".join([*parameter.opts, *parameter.secondary_opts])
            value = parameter.metavar or ("" if parameter.is_flag else (parameter.name or "").upper())
            name = f"{name} {value}".strip()
        lines.append(f"| `{cell(name)}` | {cell(parameter.help)} |")
    return ["| | |", "|---|---|", *lines, ""] if lines else []


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Each command with its name; behind a group its own."""
    for name, sub in group.commands.items():
        yield before + name, sub
        if hasattr(sub, "commands"):
            yield from commands(sub, f"{before}{name} ")


def page() -> str:
    """The whole page."""
    top = command()
    lines = [HEAD, "## autotrack", "", *rows(top.params)]
    for name, sub in commands(top):
        lines += [
            f"## autotrack {name}",
            "",
            inspect.cleandoc(sub.help or "").replace("\b\n", ""),
            "",
            *rows(sub.params),
        ]
    return "\n".join(lines).rstrip("\n") + "\n"


def test_the_page_is_what_the_program_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_command_of_the_design_is_there() -> None:
    wanted = {
        "run",
        "ls",
        "show",
        "tail",
        "compare",
        "diff",
        "export",
        "tag",
        "note",
        "rename",
        "archive",
        "rm",
        "doctor",
        "verify",
        "who",
    }
    assert wanted <= set(command().commands)


if __name__ == "__main__":
    print(page(), end="")
