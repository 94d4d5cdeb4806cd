"""The config of a run: what the user gave stands, beside it what a framework tells of the training."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autotrack
from autotrack.run import Run
from autotrack.session import add_config
from autotrack.values import shortest

FACTS = {"model": {"class": "Net"}, "lr": 0.1, "epochs": 3}
GIVEN = {"model": "resnet18", "lr": 0.2, "epochs": 3}
BOTH = GIVEN | {"lightning": {"model": {"class": "Net"}, "lr": 0.1}}


def read(run: Run) -> dict[str, Any]:
    """The config as a reader of the journals has it, which is that of the live run."""
    found = autotrack.get_run(run.id).config
    assert found == run.config
    return found


def test_what_the_user_gave_is_never_replaced_by_what_a_framework_tells(store: Path) -> None:
    run = autotrack.init(project="p", config=GIVEN)
    run.update_config(FACTS, source="lightning")
    assert read(run) == BOTH
    run.update_config({"model": {"parameters": 7}, "stopped": {"by": "data"}}, source="lightning")
    assert run.config["lightning"]["model"] == {"class": "Net", "parameters": 7}
    assert read(run)["stopped"] == {"by": "data"}


@pytest.mark.parametrize("how", ["update_config", "item", "update", "command line"])
def test_it_stands_also_where_it_is_given_after_the_framework_has_told(store: Path, how: str) -> None:
    run = autotrack.init(project="p")
    run.update_config(FACTS, source="lightning")
    if how == "update_config":
        run.update_config(GIVEN)
    elif how == "update":
        run.config.update(GIVEN)
    elif how == "command line":
        add_config(GIVEN, "argparse")
    else:
        for key, value in GIVEN.items():
            run.config[key] = value
    assert read(run) == BOTH


def test_a_value_that_both_have_is_not_told_twice(store: Path) -> None:
    run = autotrack.init(project="p", config={"lr": 0.1})
    run.update_config({"lr": 0.2}, source="lightning")
    assert read(run) == {"lr": 0.1, "lightning": {"lr": 0.2}}
    run.update_config({"lr": 0.1}, source="lightning")
    assert read(run) == {"lr": 0.1}


def test_a_framework_whose_name_is_taken_has_one_with_an_underscore(store: Path) -> None:
    run = autotrack.init(project="p", config={"lightning": "2.6", "model": "resnet18"})
    run.update_config({"model": {"class": "Net"}}, source="lightning")
    assert read(run) == {"lightning": "2.6", "model": "resnet18", "lightning_": {"model": {"class": "Net"}}}
    other = autotrack.init(project="p", config={"model": "resnet18"})
    other.update_config({"model": "resnet50", "lightning": {"model": {"class": "Net"}}}, source="lightning")
    assert read(other)["lightning"] == {"model": {"class": "Net"}, "model_": "resnet50"}
    assert read(other)["model"] == "resnet18"


def test_a_child_has_its_own(store: Path) -> None:
    with autotrack.init(project="p", config=GIVEN) as run:
        child = run.child("trial", {"lr": 0.3})
        child.update_config(FACTS, source="lightning")
        assert read(child) == {"lr": 0.3, "model": {"class": "Net"}, "epochs": 3, "lightning": {"lr": 0.1}}


def test_a_path_is_recorded_as_its_text(store: Path) -> None:
    run = autotrack.init(project="p", config={"data": store / "x", "more": [Path("a/b")], "raw": Path("c")})
    assert read(run) == {"data": str(store / "x"), "more": ["a/b"], "raw": "c"}


class Sampler:
    """An object whose `repr` holds its address."""


def test_an_object_is_recorded_without_its_address(store: Path) -> None:
    part = partial(sorted, key=lambda pair: pair[0])
    run = autotrack.init(project="p", config={"sampler": Sampler(), "many": [Sampler()], "part": part})
    found = read(run)
    assert (found["sampler"], found["many"]) == ("Sampler", ["Sampler"])
    assert found["part"].startswith(
        "functools.partial(<built-in function sorted>, key=<function test_an_object"
    )
    assert "0x" not in found["part"]


def test_a_number_of_single_precision_is_recorded_as_its_shortest_decimal(store: Path) -> None:
    singles = [
        np.float32(0.01),
        np.array(0.3, "float32"),
        np.float32(2**-20),
        np.float32("inf"),
        np.float32(7),
    ]
    run = autotrack.init(project="p", config={"singles": singles, "double": 0.009999999776482582})
    assert read(run) == {
        "singles": [0.01, 0.3, 9.536743e-07, float("inf"), 7.0],
        "double": 0.009999999776482582,
    }
    assert [one.id for one in autotrack.runs(where="config.double > 0.00999")] == [run.id]


@pytest.mark.parametrize("value", [0.01, 1e-45, 3.4e38, 1 / 3, 0.0, -2.5e-7, 16777217.0])
def test_the_shortest_decimal_is_the_same_number_in_single_precision(value: float) -> None:
    single = np.float32(value)
    assert shortest(float(single)) == float(str(single))


def test_what_was_given_once_stands_when_the_run_goes_on_in_another_process(store: Path) -> None:
    with autotrack.init(project="p", id="mine", config=GIVEN) as run:
        run.update_config(FACTS | {"stopped": {"by": "error"}}, source="lightning")
    with autotrack.init(id="mine") as run:
        run.update_config(FACTS | {"lr": 0.05, "stopped": {"by": "data"}}, source="lightning")
    found = autotrack.get_run("mine")
    assert found.config == GIVEN | {
        "lightning": {"model": {"class": "Net"}, "lr": 0.05},
        "stopped": {"by": "data"},
    }
    assert [(one.key, one.before, one.after) for one in found.changes if one.what == "config"] == [
        ("lightning.lr", 0.1, 0.05)
    ]
