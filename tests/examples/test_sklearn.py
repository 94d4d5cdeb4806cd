"""The examples for scikit-learn, and the loop of one's own: what they print and what is recorded."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

Example = Callable[..., tuple[str, list[Any]]]


def test_digits_is_one_run_with_the_scripts_and_the_models_settings(example: Example) -> None:
    printed, (run,) = example("sklearn_digits.py", "--C", "0.5", "--max-iter", "300")
    assert printed.startswith("accuracy 0.9")
    assert (run.name, run.status) == ("sklearn_digits.py", "finished")
    flat = str(run.config)
    assert run.config["C"] == 0.5
    assert run.config["max_iter"] == 300
    assert "lbfgs" in flat
    assert any(key.startswith("auto/") for key in run.summary)
    assert f"accuracy {run.summary['score/X_test']:.4f}" in printed


def is_one_run(runs: list[Any], said: list[str]) -> None:
    (run,) = runs
    assert [word for word in said if word not in str(run.config)] == []


def has_one_root(runs: list[Any], name: list[str]) -> None:
    roots = [run for run in runs if run.parent is None]
    assert [run.name for run in roots] == name
    assert {run.parent for run in runs if run.parent is not None} <= {roots[0].id}


@pytest.mark.parametrize(
    ("name", "looks_right", "words"),
    [
        ("sklearn_digits.py", is_one_run, ["lbfgs"]),
        ("sklearn_pipeline.py", is_one_run, ["n_components", "0.5"]),
        ("sklearn_grid_search.py", has_one_root, ["sklearn_grid_search.py"]),
    ],
)
def test_the_result_is_the_same_without_autotrack_and_every_step_is_recorded(
    example: Example, name: str, looks_right: Callable[[list[Any], list[str]], None], words: list[str]
) -> None:
    plain, none = example(name, by="python")
    tracked, runs = example(name)
    assert plain == tracked
    assert none == []
    looks_right(runs, words)


def test_the_loop_of_ones_own_records_every_value(example: Example) -> None:
    printed, (run,) = example("plain_loop.py", by="python")
    assert run.id in printed
    noise = random.Random(7)
    expected = [math.exp(-0.1 * step) + 0.01 * noise.random() for step in range(100)]
    series = run.history("loss")["loss"]
    assert list(series.steps) == list(range(100))
    assert list(series.values) == expected
    assert (run.project, run.name, list(run.tags)) == ("examples", "plain loop", ["demo"])


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_examples_know_nothing_of_autotrack_unless_they_say_so(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    by_hand = path.stem == "plain_loop" or path.stem.endswith("_callback")
    assert ("import autotrack" in text or "from autotrack" in text) == by_hand
