"""`autotrack ls` over thousands of runs: filters, orders, groups and columns against the same in plain Python."""

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from autotrack.cli.app import app
from autotrack.cli.columns import ordering
from autotrack.index import Index, open_index

Predicate = Callable[["Known"], bool]


class Known(NamedTuple):
    """What was recorded of a run."""

    id: str
    config: dict[str, Any]
    rows: list[dict[str, float]]
    status: str
    tags: list[str]
    group: str

    def values(self, key: str) -> list[float]:
        """What was logged of a key."""
        return [row[key] for row in self.rows if key in row]

    def last(self, key: str) -> float | None:
        return self.values(key)[-1] if self.values(key) else None

    def least(self, key: str) -> float:
        """The smallest number; NaN, which fits no comparison, without any."""
        return min(filter(math.isfinite, self.values(key)), default=math.nan)

    def most(self, key: str) -> float:
        return max(filter(math.isfinite, self.values(key)), default=math.nan)

    def number(self, key: str) -> float:
        """A config value that is a number; NaN for others."""
        value = self.config.get(key)
        return value if isinstance(value, int | float) else math.nan


def known_runs(much: Any, count: int) -> list[Known]:
    """Runs of known content, newest first; some lack a config value, a metric or their end, some have NaN or infinities."""
    rng = random.Random(7)
    runs = []
    for number in range(count):
        config: dict[str, Any] = {
            "lr": 10 ** rng.uniform(-5, -1),
            "depth": rng.randrange(1, 9),
            "amp": rng.random() < 0.3,
            "mixed": rng.choice([1, 2.5, 7, "five", "ten", None, [1, 2]]),
            "optimizer": {"name": rng.choice(["adam", "sgd", "lion"])},
        }
        if number % 3 == 0:
            config["only"] = rng.randrange(50)
            config["note"] = rng.choice(["it's", 'größe "x"', "", "%_'; --"])
        rows: list[dict[str, float]] = [{"train/loss": rng.random()} for _ in range(3)]
        if number % 10 == 3:
            rows[rng.randrange(3)]["train/loss"] = rng.choice([math.nan, math.inf, -math.inf])
        if number % 40 == 5:
            rows = [{"train/loss": math.nan}, {"train/loss": math.nan}]
        if number % 4 == 0:
            rows[-1]["special"] = float(rng.randrange(5))
        tags = [f"t{number % 7}", "best"] if number % 20 == 0 else [f"t{number % 7}"]
        status = rng.choice(["finished", "finished", "failed", "interrupted", "died"])
        group = f"g{number % 5}"
        run = much.known(number, config, rows, status, tags=tags, group=group)
        runs.append(Known(run, config, rows, status, tags, group))
    return runs[::-1]


@dataclass(frozen=True)
class Listing:
    """A store, its index, and what is known of its runs, newest first."""

    root: Path
    index: Index
    runs: list[Known]

    def ask(self, *options: str) -> str:
        """What `autotrack ls` prints."""
        done = CliRunner().invoke(app, ["--store", str(self.root), "ls", *options])
        assert done.exit_code == 0, done.output
        return str(done.stdout)

    def ls(self, *options: str) -> list[dict[str, Any]]:
        return list(json.loads(self.ask("--json", *options)))


@pytest.fixture(scope="module", params=[1000, pytest.param(10_000, marks=pytest.mark.proof)])
def listing(request: pytest.FixtureRequest, module_much: Any) -> Iterator[Listing]:
    runs = known_runs(module_much, request.param)
    with open_index(module_much.root) as index:
        index.sync(seal_seconds=0)
        yield Listing(module_much.root, index, runs)


FILTERS: dict[str, Predicate] = {
    "config.lr < 0.001": lambda run: run.number("lr") < 0.001,
    "0.001 <= config.lr < 0.01 and config.depth != 4": lambda run: (
        0.001 <= run.number("lr") < 0.01 and run.number("depth") != 4
    ),
    "config.optimizer.name == 'adam'": lambda run: run.config["optimizer"]["name"] == "adam",
    "config['optimizer.name'] in ['sgd', 'lion']": lambda run: (
        run.config["optimizer"]["name"] in ("sgd", "lion")
    ),
    "'d' in config.optimizer.name": lambda run: "d" in run.config["optimizer"]["name"],
    "config.amp": lambda run: run.config["amp"],
    "config.amp == False and not config.depth > 3": lambda run: (
        not run.config["amp"] and run.config["depth"] <= 3
    ),
    "config.mixed > 2": lambda run: run.number("mixed") > 2,
    "config.mixed == 'five'": lambda run: run.config["mixed"] == "five",
    "config.mixed == [1, 2]": lambda run: run.config["mixed"] == [1, 2],
    "config.only > 40": lambda run: run.number("only") > 40,
    "config.only != 7": lambda run: run.number("only") != 7,
    "config.only is None": lambda run: "only" not in run.config,
    'config.note == "it\'s"': lambda run: run.config.get("note") == "it's",
    "config.note == 'größe \"x\"' or config.note == ''": lambda run: (
        run.config.get("note") in ('größe "x"', "")
    ),
    "'%_' in config.note": lambda run: "%_" in run.config.get("note", ""),
    "metrics['train/loss'].min < 0.05": lambda run: run.least("train/loss") < 0.05,
    'metrics["train/loss"].max >= 0.9': lambda run: run.most("train/loss") >= 0.9,
    "metrics['train/loss'].last < 0.5": lambda run: (run.last("train/loss") or 0) < 0.5,
    "metrics['train/loss'].nonfinite > 0": lambda run: not all(map(math.isfinite, run.values("train/loss"))),
    "summary['special'] == 2": lambda run: run.last("special") == 2,
    "metrics.special.count is None": lambda run: not run.values("special"),
    "config.only < metrics['special'].last": lambda run: run.number("only") < (run.last("special") or 0),
    "'best' in tags and 't0' not in tags": lambda run: "best" in run.tags and "t0" not in run.tags,
    "status == 'failed'": lambda run: run.status == "failed",
    "status in ['died', 'interrupted'] and group != 'g1'": lambda run: (
        run.status in ("died", "interrupted") and run.group != "g1"
    ),
}


def test_filters(listing: Listing) -> None:
    for text, fits in FILTERS.items():
        wanted = [run.id for run in listing.runs if fits(run)]
        assert 0 < len(wanted) < len(listing.runs), text
        assert [run.id for run in listing.index.runs(where=text)] == wanted, text
        assert listing.index.count(where=text) == len(wanted)


ORDERS: dict[str, Callable[[Known], Any]] = {
    "id": lambda run: run.id,
    "status": lambda run: run.status,
    "group": lambda run: run.group,
    "config.lr": lambda run: run.config["lr"],
    "config.only": lambda run: run.config.get("only"),
    "config.note": lambda run: run.config.get("note"),
    "config.optimizer.name": lambda run: run.config["optimizer"]["name"],
    "train/loss": lambda run: run.last("train/loss"),
    "train/loss.min": lambda run: run.least("train/loss"),
    "metrics['special'].max": lambda run: run.last("special"),
}


@pytest.mark.parametrize("order", ORDERS)
def test_orders(listing: Listing, order: str) -> None:
    """Missing values and NaN stand at the end, whichever way it goes; equal ones newest first."""

    def has(run: Known) -> bool:
        value = ORDERS[order](run)
        return value is not None and value == value

    last = [run.id for run in listing.runs if not has(run)]
    for sign, down in (("", False), ("-", True)):
        first = sorted(filter(has, listing.runs), key=ORDERS[order], reverse=down)
        found = listing.index.runs(order_by=ordering(listing.index, sign + order)[1])
        assert [run.id for run in found] == [run.id for run in first] + last


def test_numbers_come_before_text_in_an_order(listing: Listing) -> None:
    found = [run["config.mixed"] for run in listing.ls("--sort", "config.mixed", "--columns", "config.mixed")]
    kinds = ["number" if isinstance(one, int | float) else type(one).__name__ for one in found]
    numbers = [one for one in found if isinstance(one, int | float)]
    assert numbers == sorted(numbers)
    assert kinds == sorted(kinds, key=["number", "list", "str", "NoneType"].index)


def test_a_group_an_order_a_filter_and_a_limit_together(listing: Listing) -> None:
    fits = [run for run in listing.runs if run.group == "g3" and run.config["depth"] > 2]
    fits.sort(key=lambda run: run.config.get("only", -1), reverse=True)
    words = ("--group", "g3", "--where", "config.depth > 2", "--sort", "-config.only", "--columns", "id")
    assert [run["id"] for run in listing.ls(*words)] == [run.id for run in fits]
    assert [run["id"] for run in listing.ls(*words, "--limit", "20")] == [run.id for run in fits[:20]]


def test_columns(listing: Listing) -> None:
    names = (
        "id,config.lr,config.only,config.optimizer.name,train/loss,train/loss.min,special,tags,status,group"
    )
    assert listing.ls("--columns", names) == [
        {
            "id": run.id,
            "config.lr": run.config["lr"],
            "config.only": run.config.get("only"),
            "config.optimizer.name": run.config["optimizer"]["name"],
            "train/loss": spelled(run.last("train/loss")),
            "train/loss.min": spelled(run.least("train/loss")),
            "special": run.last("special"),
            "tags": run.tags,
            "status": run.status,
            "group": run.group,
        }
        for run in listing.runs
    ]


def spelled(value: float | None) -> Any:
    return str(value) if value is not None and not math.isfinite(value) else value


def test_a_table(listing: Listing) -> None:
    shown = listing.ask("--limit", "0", "--columns", "id,config.only,special,status,tags")
    header, *lines = [line.split(maxsplit=4) for line in shown.splitlines()]
    assert header == ["id", "config.only", "special", "status", "tags"]
    assert lines == [
        [
            run.id,
            str(run.config.get("only", "-")),
            "-" if run.last("special") is None else f"{run.last('special'):.1f}",
            run.status,
            ", ".join(run.tags),
        ]
        for run in listing.runs
    ]
