"""The examples for Lightning, transformers and Keras: unmodified under the launcher, and with `AutoTrack()` by hand."""

import re
from collections.abc import Callable
from typing import Any

import pytest

Example = Callable[..., tuple[str, list[Any]]]


def without_timings(text: str) -> str:
    return re.sub(
        r"'(\w+_runtime|\w+_per_second)': '?[\d.]+'?", r"'\1'", text
    )  # transformers 4 prints no quotes


@pytest.mark.parametrize(
    ("name", "words", "option", "printed"),
    [
        ("lightning_mlp.py", ["--epochs", "2"], {"epochs": 2}, r"val/loss$"),
        ("transformers_tiny.py", ["--steps", "6"], {"steps": 6}, r"^eval.*loss"),
        ("keras_mlp.py", ["--epochs", "2"], {"epochs": 2}, r"^val.*loss"),
    ],
)
def test_an_unmodified_script_prints_the_same_and_its_record_has_the_loss_that_it_prints(
    example: Example, name: str, words: list[str], option: dict[str, int], printed: str
) -> None:
    plain, none = example(name, *words, by="warm")
    tracked, runs = example(name, *words)
    assert plain.splitlines()[-1] == tracked.splitlines()[-1]
    assert without_timings(plain) == without_timings(tracked)
    assert none == []
    (run,) = [run for run in runs if run.parent is None]
    assert (run.name, run.status) == (name, "finished")
    assert option.items() <= run.config.items()
    losses = [value for run in runs for key, value in run.summary.items() if re.search(printed, key)]
    assert any(f"{value:.4f}" in tracked for value in losses)


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("lightning_callback.py", "warm"),
        ("transformers_callback.py", "warm"),
        ("keras_callback.py", "warm"),
        ("lightning_callback.py", "launcher"),
    ],
)
def test_autotrack_by_hand_records_once(example: Example, name: str, by: str) -> None:
    _, runs = example(name, by=by)
    (run,) = runs
    assert run.status == "finished"
    losses = [key for key in run.summary if "loss" in key]
    assert losses
    assert (run.project, run.name) == ("examples", "by hand")
