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
    ("name", "words", "option"),
    [
        ("lightning_mlp.py", ["--epochs", "2"], {"epochs": 2}),
        ("transformers_tiny.py", ["--steps", "6"], {"steps": 6}),
        ("keras_mlp.py", ["--epochs", "2"], {"epochs": 2}),
    ],
)
def test_an_unmodified_script_is_recorded_and_prints_the_same(
    example: Example, name: str, words: list[str], option: dict[str, int]
) -> None:
    plain, none = example(name, *words, launched=False)
    tracked, runs = example(name, *words)
    assert plain.splitlines()[-1] == tracked.splitlines()[-1]
    assert without_timings(plain) == without_timings(tracked)
    assert none == []
    (run,) = [run for run in runs if run.parent is None]
    assert (run.name, run.status) == (name, "finished")
    assert option.items() <= run.config.items()
    losses = [key for key in run.summary if "loss" in key]
    assert losses, sorted(run.summary)


def test_lightnings_recorded_loss_is_the_one_that_the_script_prints(example: Example) -> None:
    printed, runs = example("lightning_mlp.py")
    assert f"{runs[0].summary['val/loss']:.4f}" in printed


def test_transformers_recorded_loss_is_the_one_that_the_script_prints(example: Example) -> None:
    printed, runs = example("transformers_tiny.py")
    assert any(
        f"{run.summary[key]:.4f}" in printed
        for run in runs
        for key in run.summary
        if "eval" in key and "loss" in key
    )


def test_keras_recorded_loss_is_the_one_that_the_script_prints(example: Example) -> None:
    printed, runs = example("keras_mlp.py")
    assert any(
        f"{value:.4f}" in printed for key, value in runs[0].summary.items() if "val" in key and "loss" in key
    )


@pytest.mark.parametrize("name", ["lightning_callback.py", "transformers_callback.py", "keras_callback.py"])
@pytest.mark.parametrize("launched", [False, True], ids=["by hand alone", "and the launcher"])
def test_autotrack_by_hand_records_once(example: Example, name: str, launched: bool) -> None:
    _, runs = example(name, launched=launched)
    (run,) = runs
    assert run.status == "finished"
    losses = [key for key in run.summary if "loss" in key]
    assert losses
    if not launched:
        assert (run.project, run.name) == ("examples", "by hand")
