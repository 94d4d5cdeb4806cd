"""The versions of a framework are the same in its integration, in the extras, in the documentation and in tox."""

import re
import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from autotrack.callback import adapters
from autotrack.integration import discover

ROOT = Path(__file__).resolve().parents[2]
SUPPORTS = {
    (name, distribution): SpecifierSet(specifier)
    for name, integration in discover().items()
    for distribution, specifier in integration.supports.items()
}
CASES = [pytest.param(name, distribution, id=distribution) for name, distribution in sorted(SUPPORTS)]


def requirements() -> list[Requirement]:
    """All that pyproject.toml and tox.ini's other environments ask for, whatever the extra."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    install = tox()["frameworks"]["install"]
    return [
        *(Requirement(line) for lines in extras.values() for line in lines),
        *(Requirement(word) for word in re.findall(r'"([^"]+)"', install)),
    ]


def tox() -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini", encoding="utf-8")
    return parser


def lower(specifiers: SpecifierSet) -> Version:
    (bound,) = [Version(one.version) for one in specifiers if one.operator == ">="]
    return bound


@pytest.mark.parametrize(("name", "distribution"), CASES)
def test_a_range_has_two_ends(name: str, distribution: str) -> None:
    assert sorted(one.operator for one in SUPPORTS[name, distribution]) == ["<", ">="]


@pytest.mark.parametrize(("name", "distribution"), CASES)
def test_what_pip_is_asked_for_is_what_is_supported(name: str, distribution: str) -> None:
    # typer is what our own command line needs: capped for the sake of a user's script it could not be installed beside a new one.
    found = [one.specifier for one in requirements() if one.name == distribution]
    assert found or distribution == "typer"
    assert set(found) <= {SUPPORTS[name, distribution]}


def test_typers_range_begins_where_our_own_need_of_it_does() -> None:
    with open(ROOT / "pyproject.toml", "rb") as file:
        (needed,) = [
            one
            for one in map(Requirement, tomllib.load(file)["project"]["dependencies"])
            if one.name == "typer"
        ]
    assert lower(needed.specifier) == lower(SUPPORTS["click", "typer"])


@pytest.mark.parametrize(("name", "distribution"), CASES)
def test_the_documentation_names_the_range(name: str, distribution: str) -> None:
    page = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{name}` \| ([^|]*) \|", page, flags=re.MULTILINE)
    (documented,) = re.findall(rf"(?<![\w-]){distribution} ([<>=\d.,]+)", row)
    assert SpecifierSet(documented) == SUPPORTS[name, distribution]


@pytest.mark.parametrize(("name", "distribution"), CASES)
def test_the_lower_end_is_what_the_oldest_environment_installs(name: str, distribution: str) -> None:
    pinned = {
        one.name: one.specifier
        for one in map(Requirement, tox()["testenv:py311-oldest"]["deps"].strip().splitlines())
    }
    assert pinned[distribution] == SpecifierSet(f"=={lower(SUPPORTS[name, distribution])}")


def test_an_autotrack_made_by_hand_serves_the_same_versions_as_autolog() -> None:
    found = discover()
    assert {name: dict(adapter.watch.supports) for name, adapter in adapters().items()} == {
        name: dict(found[name].supports) for name in adapters()
    }
