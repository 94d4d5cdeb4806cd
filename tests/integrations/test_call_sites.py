"""How an argument is spelled where a function is called."""

import functools
import sys
from typing import Any

import pytest

from autotrack.integrations._call_sites import sites, spelled

ROWS, PARTS = [1], {"train": [1], "of": [[2]]}


class Data:
    rows = ROWS


def probe(X: Any, y: Any = None) -> str | None:
    return spelled(sites(sys._getframe(1)), 0, "X")


def through(samples: Any) -> str | None:
    return probe(samples)


def further(first: Any, *, data: Any = ROWS) -> str | None:
    return through(data)


class Model:
    def score(self, X: Any, y: Any = None) -> str | None:
        return probe(X, y)

    def both(self, test: Any) -> str | None:
        return self.score(test)


def test_a_name_is_itself() -> None:
    assert (probe(ROWS), probe(y=1, X=ROWS)) == ("ROWS", "ROWS")
    # fmt: off
    assert probe(
        ROWS,
        1,
    ) == "ROWS"
    # fmt: on


def test_parts_of_what_has_a_name_are_spelled_out() -> None:
    place, data = 0, Data()
    assert probe(data.rows) == "data.rows"
    assert probe(PARTS["train"]) == "PARTS['train']"
    assert probe(PARTS["of"][place]) == "PARTS['of'][place]"
    assert probe(ROWS[:-1]) == "ROWS[:-1]"


def test_what_is_long_is_called_by_the_name_that_it_begins_with() -> None:
    a_name_that_goes_on_and_on = Data
    assert (
        probe(a_name_that_goes_on_and_on.rows[0 : len(a_name_that_goes_on_and_on.rows)])
        == "a_name_that_goes_on_and_on…"
    )
    assert probe(PARTS["of"][0].__class__(value for value in PARTS["of"][0] if value)) == "PARTS…"
    assert probe(ROWS + ROWS) == "ROWS + ROWS"
    assert probe(PARTS.get("of", [])) == "PARTS.get('of', [])"


@pytest.mark.parametrize("how", ["starred", "constant", "long", "escaped"])
def test_what_has_no_name_is_none(how: str) -> None:
    found = {
        "starred": lambda: probe(*[ROWS]),
        "constant": lambda: probe([1, 2]),
        "long": lambda: probe([ROWS, ROWS, ROWS, ROWS, ROWS, ROWS, ROWS, ROWS]),
        "escaped": lambda: probe(PARTS["\x74rain"]),
    }
    assert found[how]() is None


def test_a_parameter_is_followed_to_where_it_was_given() -> None:
    assert through(ROWS) == "ROWS"
    assert further(1, data=ROWS) == "ROWS"
    assert Model().score(ROWS) == "ROWS"
    assert Model().both(PARTS["train"]) == "PARTS['train']"


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def around(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return around


@decorated
def timed(samples: Any) -> str | None:
    return probe(samples)


def test_a_decorator_between_them_is_passed_by() -> None:
    assert timed(ROWS) == "ROWS"
    assert timed(samples=ROWS) == "ROWS"


def test_a_parameter_that_was_not_given_by_name_is_called_by_its_own() -> None:
    assert further(1) == "data"
    assert list(map(through, [ROWS])) == ["samples"]
    alias = through
    assert alias(ROWS) == "samples"


def test_code_without_a_source_has_no_names() -> None:
    scope: dict[str, Any] = {"probe": probe, "ROWS": ROWS}
    exec("found = probe(ROWS)", scope)
    assert scope["found"] is None


def test_a_file_that_was_changed_meanwhile_gives_no_name(tmp_path: Any) -> None:
    path = tmp_path / "script.py"
    path.write_text("found = (probe(\n")
    scope: dict[str, Any] = {"probe": probe, "ROWS": ROWS}
    exec(compile("found = probe(ROWS)", str(path), "exec"), scope)
    assert scope["found"] is None
