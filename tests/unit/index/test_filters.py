"""Filters and orderings: what they find, and what is said about those that do not parse."""

import math
from typing import Any

import pytest

from autotrack.errors import AutotrackError, FilterError


@pytest.fixture(scope="module")
def runs(module_bench: Any) -> Any:
    bench = module_bench
    configs: list[dict[str, Any]] = [
        {"lr": 0.1, "opt": {"name": "adam"}, "amp": True, "layers": [1, 2]},
        {"lr": 0.001, "opt": {"name": "sgd"}, "amp": False, "seed": None},
        {"lr": "auto", "opt": {"name": "adamw"}, "a.b": 3, "limit": math.inf},
    ]
    for number, config in enumerate(configs):
        hand = bench.journal(
            f"run{number}", project=f"p{number % 2}", wall=(1_700_000_000 + number * 86400) * 10**9
        )
        hand.start(name=f"name {number}", tags=["best", "x"] if number == 0 else ["x"], framework="torch")
        hand.event("config", {"values": config, "source": "init"})
        hand.metrics(0, train__loss=float(number), acc=0.5).metrics(1, train__loss=number + 0.5)
        hand.finish("failed" if number == 1 else "finished", at=10 * (number + 1))
    bench.index.sync()
    return bench.index


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("config.lr < 0.01", "1"),
        ("config.lr >= 0.001", "01"),
        ("0.0005 < config.lr < 0.05", "1"),
        ("0.05 > config.lr", "1"),
        ("config.lr == 0.1", "0"),
        ("config.lr == 'auto'", "2"),
        ("config.lr != 0.1", "12"),
        ("not config.lr == 0.1", "12"),
        ("not config.lr < 0.01", "02"),
        ("config.lr in [0.1, 'auto']", "02"),
        ("config.lr not in (0.1, 'auto')", "1"),
        ("config.lr in []", ""),
        ("config.opt.name == 'adam'", "0"),
        ("config['opt.name'] == 'sgd' or config['opt']['name'] == 'adam'", "01"),
        ("'adam' in config.opt.name", "02"),
        ("config.opt.name < 'b'", "02"),
        ("config.amp", "0"),
        ("not config.amp", "12"),
        ("config.amp == True", "0"),
        ("config.amp == False", "1"),
        ("config.layers == [1, 2]", "0"),
        ("config['a.b'] == 3", "2"),
        ("config.limit > 1e300", "2"),
        ("config.missing == None", "012"),
        ("config.seed == None", "012"),
        ("config.lr is not None", "012"),
        ("config.missing > 1", ""),
        ("config.missing != 1", "012"),
        ("metrics['train/loss'].min < 1", "0"),
        ('metrics["train/loss"].last >= 1.5', "12"),
        ("metrics['train/loss'].max_step == 1", "012"),
        ("metrics['train/loss'].count == 2 and metrics.acc.count == 1", "012"),
        ("metrics.acc.last == 0.5", "012"),
        ("metrics.acc == summary.acc", "012"),
        ("summary['train/loss'] < 1", "0"),
        ("metrics['train/loss'].min < metrics['train/loss'].last", "012"),
        ("metrics['nope'].min < 1", ""),
        ('"best" in tags', "0"),
        ("'best' not in tags", "12"),
        ("tags", "012"),
        ('config.lr < 1 and metrics["train/loss"].min < 0.3 and "best" in tags', "0"),
        ("status == 'failed'", "1"),
        ("status in ['failed', 'died']", "1"),
        ("status != 'failed'", "02"),
        ("name == 'name 2'", "2"),
        ("'2' in name", "2"),
        ("project == 'p1'", "1"),
        ("group == None", "012"),
        ("framework == 'torch' and not (id == 'run0' or id == 'run1')", "2"),
        ("duration > 15", "12"),
        ("attempts == 1", "012"),
        ("archived", ""),
        ("not archived", "012"),
        ("True", "012"),
        ("False or False", ""),
        ("-1 < config.lr", "01"),
        ("config.lr < +0.01", "1"),
        ("created > '2023-11-15T12:00:00+00:00'", "12"),
        ("created > 1700000000 + 0", None),
        ("created < 1700086000", "0"),
        ("finished > '2000-01-01'", "012"),
        ("config.lr < 10**5", None),
        ("config.lr == 1" + "0" * 400, ""),
        ("  status == 'failed'  ", "1"),
    ],
)
def test_a_filter_finds_the_runs_that_fit(runs: Any, text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(FilterError):
            runs.runs(where=text)
        return
    found = "".join(sorted(record.id[-1] for record in runs.runs(where=text)))
    assert found == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("config.lr <", "does not parse"),
        ("lr < 0.1", "config.lr"),
        ("statsu == 'failed'", "Did you mean status"),
        ("status == 'fialed'", "It is one of: running, finished, failed"),
        ("status < 3", "Put it in quotes"),
        ("duration > 'long'", "is a number"),
        ("config < 3", "say which value of config"),
        ("metrics.min < 3 and metrics < 1", "say which metric"),
        ("metrics['loss'].minimum < 3", "It has: first, last, min"),
        ("metrics[loss].min < 3", "a name in quotes"),
        ("name.first == 'x'", "has no parts"),
        ("tags == 'best'", "'best' in tags"),
        ("3 in tags", "must be text"),
        ("1 < 2", "two constants"),
        ("config.lr", None),
        ("3", "cannot stand in a filter"),
        ("config.lr + 1 < 2", "nothing is calculated"),
        ("metrics.train/loss < 1", 'metrics["train/loss"]'),
        ("config.opt.name == adam", "Text stands in quotes: 'adam'"),
        ("status == finished", "put it in quotes: 'finished'"),
        ("config.lr < f(1)", "cannot stand here"),
        ("__import__('os').system('true')", "cannot stand in a filter"),
        ("config.lr.__class__()", "cannot stand in a filter"),
        ("(lambda: 1)()", "cannot stand in a filter"),
        ("[x for x in tags]", "cannot stand in a filter"),
        ("config.lr < (y := 3)", "cannot stand here"),
        ("config.lr < b'x'", "is not a constant"),
        ("config.lr < 3j", "is not a constant"),
        ("config.lr < None", "cannot be compared with <"),
        ("config.lr is 3", "`is` is for None"),
        ("config.lr in 3", "after `in` stands a list"),
        ("created > 'yesterday'", "Write '2026-01-31'"),
        ("created > True", "is a time"),
        ("duration == name", "one is a number"),
        ("'x' in duration", "holds no text"),
        ("config.lr == -'x'", "a sign stands before a number"),
        ("not " * 200 + "archived", "nested more than"),
        ("(" * 300 + "archived" + ")" * 300, "does not parse"),
        ("config." + "a." * 200 + "b == 1", "nested more than"),
        ("archived or " * 1000 + "archived", "10,000"),
        ("name == '\x00'", "does not parse"),
        ("a = 3", "does not parse"),
        ("archived; archived", "does not parse"),
    ],
)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_a_filter_that_cannot_be_is_refused_with_a_reason(runs: Any, text: str, message: str | None) -> None:
    if message is None:
        assert len(runs.runs(where=text)) == 3
        return
    with pytest.raises(FilterError) as caught:
        runs.runs(where=text)
    assert message in str(caught.value)
    assert isinstance(caught.value, AutotrackError)
    assert len(str(caught.value)) < 700


def test_values_in_filters_never_reach_the_sql_text(runs: Any) -> None:
    nasty = "x' OR '1'='1"
    assert len(runs.runs(where=f'name == "{nasty}"')) == 0
    assert len(runs.runs(where=f'config["{nasty}"] == 1')) == 0
    assert len(runs.runs(where=f'metrics["{nasty}; DROP TABLE runs"].min < 1')) == 0
    assert len(runs.runs(project=nasty)) == 0
    assert len(runs.runs()) == 3


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (None, "210"),
        ("created", "012"),
        ("-created", "210"),
        ('metrics["train/loss"].min', "012"),
        ("-metrics['train/loss'].last", "210"),
        ("config.lr", "102"),
        ("-config.lr", "012"),
        ("duration", "012"),
        ("-duration", "210"),
        ("status", "120"),
        (["project", "-name"], "201"),
        ("metrics.nope.min", "210"),
    ],
)
def test_an_ordering_puts_runs_without_a_value_last(runs: Any, order: Any, expected: str) -> None:
    order_by = order
    if order == "status":
        order_by = ["status", "-created"]
    assert "".join(record.id[-1] for record in runs.runs(order_by=order_by)) == expected


@pytest.mark.parametrize(
    "order", ["", "lr", "created +", "created, name", "-3", "tags()", "metrics['x'].mid"]
)
def test_an_ordering_that_cannot_be_is_refused(runs: Any, order: str) -> None:
    with pytest.raises(FilterError):
        runs.runs(order_by=order)


def test_a_long_filter_is_taken(runs: Any) -> None:
    text = " or ".join(f"config.k{number} == {number}" for number in range(300))
    assert len(runs.runs(where=text)) == 0


def test_a_limit_takes_the_first(runs: Any) -> None:
    assert [record.id for record in runs.runs(limit=2)] == ["run2", "run1"]
    with pytest.raises(ValueError, match="-1"):
        runs.runs(limit=-1)
