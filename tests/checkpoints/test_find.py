"""A checkpoint is named in any of the ways, and who names none is told what there is."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import autotrack
from autotrack import checkpoints
from autotrack.cli.app import app
from autotrack.errors import AutotrackError, CheckpointNotFound

Train = Callable[..., str]
SCORES = (0.5, 0.25, 0.75)


def step(spec: str) -> int | None:
    found = checkpoints.find(spec)
    return found.step


def test_a_checkpoint_of_a_run_is_named_by_which_one_it_is(train: Train) -> None:
    run = train(*SCORES)
    assert step(run) == step(f"{run}:best") == step(f"{run}:val_loss") == step(f"{run[:6]}:best") == 20
    assert step(f"{run}:last") == 30
    assert step(f"{run}:step=10") == 10
    one = checkpoints.list(run)[0]
    assert step(one.id or "") == step(f"{run}:{one.id}") == 10


def test_without_a_best_one_the_last_is_meant(store: Path, save: Callable[..., Path]) -> None:
    with autotrack.init(project="p") as run:
        run.log_checkpoint(save(1, "a.pt"), step=1)
        run.log_checkpoint(save(2, "b.pt"), step=2)
        run.log_checkpoint(save(3, "c.pt"), step=2)
    assert step(run.id) == 2
    with pytest.raises(CheckpointNotFound, match=r"'best'.*the last steps: 1, 2\."):
        checkpoints.find(f"{run.id}:best")


def test_a_checkpoint_is_known_with_the_metrics_at_its_time(
    store: Path, save: Callable[..., Path], tmp_path: Path
) -> None:
    with autotrack.init(project="p") as run:
        run.log_checkpoint(save(0, "0.pt"))
        for step in range(4):
            run.log({"loss": 1 / (step + 1), "lr": 0.5, "auto/step_time": 0.1}, step=10 * step)
            run.log_checkpoint(save(step, f"{step + 1}.pt"), metrics={"f1": step})
            run.log({"epoch_loss": step}, step=10 * step)  # told behind its save, and of the same step
            run.log({"later": step}, step=10 * step + 1)
    assert [one.step for one in checkpoints.list(run.id)] == [None, 0, 10, 20, 30]
    assert checkpoints.find(f"{run.id}:{checkpoints.list(run.id)[0].id}").metrics == {}
    expected = {"loss": 0.5, "lr": 0.5, "epoch_loss": 1.0, "later": 0.0, "f1": 1.0}
    assert checkpoints.find(f"{run.id}:step=10").metrics == expected
    assert checkpoints.register("named", f"{run.id}:step=10").metrics == expected
    assert (
        checkpoints.promote("named", to="production", why="the best").body["after_metrics"].items()
        >= expected.items()
    )
    checkpoints.export("named", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "## Metrics (when it was saved)" in card
    assert "| loss | 0.5 |" in card
    shown = CliRunner().invoke(app, ["checkpoint", "show", f"{run.id}:step=10"])
    assert "epoch_loss" in shown.output


def test_a_checkpoint_is_named_by_its_model(train: Train) -> None:
    run = train(*SCORES)
    checkpoints.register("detector", f"{run}:step=10")
    checkpoints.register("detector", f"{run}:step=20")
    checkpoints.alias("detector", "production", "v1")
    assert [step(one) for one in ("detector", "detector@v1", "detector@production", "detector@latest")] == [
        20, 10, 10, 20,
    ]  # fmt: skip
    assert checkpoints.find("detector@v1").digest == checkpoints.list(run)[0].digest


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("zzzzzzzzzz", "MODEL@ALIAS"),
        ("zzzzzzzzzz:best", "zzzzzzzzzz"),
        ("RUN:accuracy", "scores of: val_loss; the last steps: 10, 20, 30"),
        ("RUN:step=11", "10, 20, 30"),
        ("RUN:step=ten", "10, 20, 30"),
        ("nodel@v1", "There is: detector"),
        ("detector@v2", "It has: v1"),
        ("detector@\x1b[31m", "It has: v1"),
        ("@v1", "There is: detector"),
        ("../registry", "MODEL@ALIAS"),
        ("", ""),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(train: Train, spec: str, says: str) -> None:
    run = train(*SCORES)
    checkpoints.register("detector", f"{run}:best")
    with pytest.raises(AutotrackError) as caught:
        checkpoints.find(spec.replace("RUN", run))
    assert isinstance(caught.value, LookupError)
    assert says in str(caught.value)


def test_a_run_without_a_checkpoint_is_told_so(store: Path) -> None:
    with autotrack.init(project="p") as run:
        pass
    with pytest.raises(CheckpointNotFound, match="no checkpoint"):
        checkpoints.find(run.id)


def test_all_are_listed_or_those_of_a_run_or_a_project(train: Train, save: Callable[..., Path]) -> None:
    first, second = train(0.5, name="a"), train(0.5, 0.4, name="b")
    with autotrack.init(project="q") as other:
        other.log_checkpoint(save(9, "q.pt"))
    assert [one.run for one in checkpoints.list()] == [first, second, second, other.id]
    assert {one.run for one in checkpoints.list(project="p")} == {first, second}
    assert [one.step for one in checkpoints.list(run=second)] == [10, 20]
