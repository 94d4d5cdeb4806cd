"""ls: columns, orderings, filters and what is said where nothing fits, on a recorded store."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotrack.cli.columns import Meaning, meanings, names

Invoke = Callable[..., Any]
Ids = dict[str, str]


def test_ls_filters_sorts_limits_and_chooses_columns(
    invoke: Invoke, answer: Invoke, filled: Path, ids: Ids
) -> None:
    def names(*args: str) -> list[str]:
        return [run["name"] for run in answer("ls", *args)]

    assert names("--project", "digits", "--where", "config.lr < 0.3") == ["mlp-adam"]
    assert names("--where", '"baseline" in tags') == ["mlp-sgd"]
    assert names("--where", "config.lr > 0", "--sort", "config.lr") == ["mlp-adam", "mlp-sgd"]
    assert names("--where", "config.lr > 0", "--sort", "-val/accuracy.max") == ["mlp-adam", "mlp-sgd"]
    assert names("--project", "digits", "--sort", "val/accuracy")[:2] == ["mlp-sgd", "mlp-adam"]
    assert names("--limit", "2") == ["grid", ids_name(answer, ids)]
    assert len(names()) == 5
    assert len(names("--all")) == 7
    result = invoke("ls", "--limit", "1", "--columns", "id,config.lr,train/loss.min,duration")
    assert result.stdout.splitlines()[0].split() == ["id", "config.lr", "train/loss.min", "duration"]
    assert "--limit 0" in result.stderr


def ids_name(answer: Invoke, ids: Ids) -> str:
    return str(answer("show", ids["hostile"])["name"])


def test_ls_json_can_hold_only_some_columns(answer: Invoke, filled: Path) -> None:
    runs = answer(
        "ls", "--where", "config.lr == 0.5", "--columns", "name,config.optimizer.name,train/loss.last_step"
    )
    assert runs == [{"name": "mlp-sgd", "config.optimizer.name": "sgd", "train/loss.last_step": 19}]


@pytest.mark.parametrize(
    "column",
    ["metrics.train/loss.min", "metrics['train/loss'].min", 'metrics["train/loss"].min', "train/loss.min"],
)
def test_a_column_is_named_as_in_a_filter(answer: Invoke, filled: Path, ids: Ids, column: str) -> None:
    (run,) = answer("ls", "--where", "config.lr == 0.5", "--columns", f"id,{column}")
    assert run == {"id": ids["sgd"], column: pytest.approx(2.718281828**-9.5)}


@pytest.mark.parametrize(
    "column", ["summary.val/accuracy", "metrics.val/accuracy.last", "-metrics.val/accuracy.max"]
)
def test_an_ordering_is_named_like_a_column(answer: Invoke, filled: Path, ids: Ids, column: str) -> None:
    found = [run["id"] for run in answer("ls", "--where", "config.lr > 0", "--sort", column)]
    best_last = [ids["sgd"], ids["adam"]]
    assert found == (best_last[::-1] if column.startswith("-") else best_last)


def test_names_are_split_outside_of_quotes() -> None:
    assert names("""id, config.lr,metrics["a,b"].min,summary['c]'],,tags""") == [
        "id",
        "config.lr",
        'metrics["a,b"].min',
        "summary['c]']",
        "tags",
    ]
    assert meanings("metrics['x.min']") == [Meaning("metrics", "x.min", "last")]
    assert meanings("x.min")[-1] == Meaning("metrics", "x", "min")
    assert meanings("config['a.b'].min") == []


@pytest.mark.parametrize(
    ("option", "name", "near"),
    [
        ("--columns", "id,config.optimizr.name", "config.optimizer.name"),
        ("--columns", "lr", "config.lr"),
        ("--columns", "statsu", "status"),
        ("--columns", "loss", "train/loss"),
        ("--sort", "-metrics.val/acuracy.max", "val/accuracy"),
        ("--sort", "creatd", "created"),
        ("--sort", "tags", "created"),
        ("--columns", "qqq", "config.KEY"),
        ("--columns", "\x1b[2J", "config.KEY"),
    ],
)
def test_an_unknown_column_names_what_is_near(
    invoke: Invoke, filled: Path, option: str, name: str, near: str
) -> None:
    for more in ([], ["--json"]):
        result = invoke("ls", option, name, *more)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert near in result.stderr
        assert "\x1b" not in result.stderr


def test_a_column_that_only_other_runs_have_is_no_mistake(invoke: Invoke, filled: Path) -> None:
    result = invoke("ls", "--project", "other", "--columns", "id,config.lr")
    assert result.exit_code == 0
    assert "No run here has: config.lr." in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--project", "digit"], "Near to it: digits."),
        (["--project", "qqq"], "There are: "),
        (["--group", "nigt"], "Near to it: night."),
        (["--where", "config.lrr < 1"], "Near to it: config.lr"),
        (["--where", "metrics['val/acc'].min > 1 and config.lr > 0"], "Near to it: val/accuracy."),
        (["--where", "config.lr > 7"], "No run matches."),
        (["--where", "metrics.score.last > 0.2"], "1 archived or child run would; --all"),
        (["--archived"], "No run matches."),
    ],
)
def test_an_empty_answer_says_why(invoke: Invoke, filled: Path, words: list[str], said: str) -> None:
    table, json = invoke("ls", *words), invoke("ls", *words, "--json")
    assert (table.exit_code, table.stdout) == (0, "")
    assert (json.exit_code, json.stdout) == (0, "[]\n")
    assert said in table.stderr
    assert said in json.stderr


def test_a_group_is_chosen_like_a_project(answer: Invoke, filled: Path, ids: Ids) -> None:
    assert [run["id"] for run in answer("ls", "--group", "night")] == [ids["adam"]]


def test_archived_runs_can_be_filtered(invoke: Invoke, answer: Invoke, filled: Path, ids: Ids) -> None:
    invoke("archive", ids["sgd"], ids["adam"])
    assert [run["id"] for run in answer("ls", "--archived", "--where", "config.lr > 0.3 # large")] == [
        ids["sgd"]
    ]
    broken = invoke("ls", "--archived", "--where", "config.lr >")
    assert broken.exit_code == 2
    assert "'config.lr >'" in broken.stderr


def test_more_runs_than_are_shown_are_counted(invoke: Invoke, filled: Path) -> None:
    assert "2 of 5 runs; --limit 0 shows all." in invoke("ls", "--limit", "2").stderr
    assert "shows all" not in invoke("ls", "--limit", "5").stderr


def test_a_metric_called_like_a_field_is_a_metric(invoke: Invoke, store: Path) -> None:
    import autotrack

    run = autotrack.init(project="p", name="n")
    run.log({"duration": 7.25})
    run.finish()
    header, row = invoke("ls").stdout.splitlines()
    assert header.split().count("duration") == 2
    assert row.endswith("7.25")


@pytest.mark.parametrize(
    ("sort", "title", "values"),
    [
        ("config.lr", "config.lr", ["0.25", "0.5"]),
        ("-metrics['val/accuracy'].max", "val/accuracy.max", ["0.75", "0.5"]),
        ("-val/accuracy", "val/accuracy", ["0.75", "0.5"]),
        ("group", "group", ["night", "-"]),
    ],
)
def test_what_runs_are_sorted_by_is_shown(
    invoke: Invoke, terminal: Invoke, filled: Path, sort: str, title: str, values: list[str]
) -> None:
    words = ("ls", "--where", "config.lr > 0", "--sort", sort)
    header, *rows = (re.split(r"  +", line) for line in invoke(*words).stdout.splitlines())
    assert header.count(title) == 1
    assert [row[header.index(title)] for row in rows] == values
    assert title in terminal(*words, columns=50, env={"NO_COLOR": "1"}).output
