"""Runs as the code that is being tracked sees them, read back from the journals' lines."""

import dataclasses
import json
import math
import threading
import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import autotrack
from autotrack import AutotrackWarning
from autotrack.journal.format import Event, decode


def events(run: autotrack.Run, kind: str | None = None) -> list[Event]:
    """All events in the run's folder, in the order of the files and their sequence numbers; damaged lines fail the test."""
    found = []
    while run.waiting():  # a slow disk: the lines are written by the helper thread
        time.sleep(0.01)
    for path in sorted(Path(run.dir).glob("*.jsonl")):
        decoded = [decode(line) for line in path.read_bytes().splitlines()]
        assert None not in decoded
        found += sorted((event for event in decoded if event is not None), key=lambda event: event.seq)
    return [event for event in found if kind is None or event.kind == kind]


def points(run: autotrack.Run) -> list[tuple[int | None, dict[str, float]]]:
    return [(event.step, event.body) for event in events(run, "m")]


def test_values_are_in_the_file_when_log_returns(store: Path) -> None:
    run = autotrack.init(project="p", name="first")
    run.log({"loss": 0.5, "epoch": 1}, step=3)
    assert points(run) == [(3, {"loss": 0.5, "epoch": 1})]
    assert run.dir.parent.parent == store / "runs"


def test_every_line_stands_alone_and_ends_with_its_crc(store: Path) -> None:
    run = autotrack.init(project="p")
    run.log({"loss": 0.25})
    run.finish()
    for path in run.dir.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            fields = json.loads(line)
            assert isinstance(fields[0], str)
            assert isinstance(fields[-1], int)


def test_without_a_step_the_next_number_is_taken(store: Path) -> None:
    run = autotrack.init(project="p")
    run.log({"a": 1})
    run.log({"a": 2})
    run.log({"a": 3}, step=10)
    run.log({"a": 4})
    run.log({"a": 5}, step=2)
    run.log({"a": 6})
    assert [step for step, _ in points(run)] == [0, 1, 10, 11, 2, 3]


def test_numbers_of_every_kind_are_kept(store: Path) -> None:
    run = autotrack.init(project="p")
    run.log(
        {
            "float": 1e300,
            "int": -7,
            "bool": True,
            "f32": np.float32(0.5),
            "i64": np.int64(2**40),
            "0-d": np.array(3.5),
        }
    )
    run.log(
        {
            "decimal": Decimal("0.125"),
            "fraction": Fraction(1, 4),
            "big": 2**100,
            "nan": math.nan,
            "-inf": -math.inf,
        }
    )
    (_, first), (_, second) = points(run)
    assert first == {"float": 1e300, "int": -7, "bool": 1, "f32": 0.5, "i64": 2**40, "0-d": 3.5}
    assert math.isnan(second.pop("nan"))
    assert second == {"decimal": 0.125, "fraction": 0.25, "big": 2**100, "-inf": -math.inf}


def test_keys_may_hold_any_character(store: Path) -> None:
    run = autotrack.init(project="p")
    keys = ["null", 'a"b', "a\nb", "ключ", "🔥", "__proto__", "", "a" * 10_000, "\x00\x1b[31m"]
    run.log(dict.fromkeys(keys, 1.0))
    run.log({"\ud800 lone": 2.0})
    (_, first), (_, second) = points(run)
    assert list(first) == keys
    assert second == {"\\ud800 lone": 2.0}


class Broken:
    """Raises wherever it is touched."""

    def __float__(self) -> float:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value",
    ["0.5", None, [1, 2], np.zeros((2, 2)), np.zeros(1), {"a": 1}, b"1", 1j, object(), Broken(), print],
)
def test_what_is_no_number_is_refused_with_its_name_and_the_rest_is_kept(store: Path, value: object) -> None:
    run = autotrack.init(project="p")
    with pytest.warns(AutotrackWarning, match="'bad'"):
        run.log({"good": 1.0, "bad": value})
    run.log({"good": 2.0})
    assert points(run) == [(0, {"good": 1.0}), (1, {"good": 2.0})]
    assert [event.body["slug"] for event in events(run, "warning")] == ["metric-value"]


def test_a_name_that_is_no_text_is_refused(store: Path) -> None:
    run = autotrack.init(project="p")
    with pytest.warns(AutotrackWarning, match="3"):
        run.log({3: 1.0, "good": 1.0})
    assert points(run) == [(0, {"good": 1.0})]


def test_what_is_no_mapping_is_refused(store: Path) -> None:
    run = autotrack.init(project="p")
    with pytest.warns(AutotrackWarning, match="list"):
        run.log([("a", 1)])
    assert points(run) == []


@pytest.mark.parametrize("step", ["x", 1.5, math.nan, 2**70, None.__class__])
def test_a_step_that_is_no_integer_becomes_the_next_number(store: Path, step: object) -> None:
    run = autotrack.init(project="p")
    run.log({"a": 1}, step=4)
    with pytest.warns(AutotrackWarning, match="step"):
        run.log({"a": 2}, step=step)
    assert points(run) == [(4, {"a": 1}), (5, {"a": 2})]


def test_integral_steps_of_other_types_are_taken(store: Path) -> None:
    run = autotrack.init(project="p")
    run.log({"a": 1}, step=np.int64(7))
    run.log({"a": 1}, step=8.0)
    assert [step for step, _ in points(run)] == [7, 8]


def test_values_logged_after_the_end_are_refused(store: Path) -> None:
    run = autotrack.init(project="p")
    run.finish()
    with pytest.warns(AutotrackWarning, match="has ended"):
        run.log({"a": 1})
    assert points(run) == []


def test_config_is_kept_nested_and_secrets_are_not(store: Path) -> None:
    @dataclasses.dataclass
    class Optimizer:
        lr: float = 0.1
        betas: tuple[float, float] = (0.9, 0.999)

    run = autotrack.init(
        project="p",
        config={"opt": Optimizer(), "hub_token": "hf_abcdefghijklmnopqrstuvwxyz012345", "n": np.int64(3)},
    )
    (event,) = events(run, "config")
    assert event.body == {
        "values": {"opt": {"lr": 0.1, "betas": [0.9, 0.999]}, "hub_token": "[redacted]", "n": 3},
        "source": "init",
    }
    assert b"hf_abc" not in b"".join(path.read_bytes() for path in run.dir.iterdir())


def test_a_change_of_the_config_is_recorded(store: Path) -> None:
    run = autotrack.init(project="p", config={"lr": 0.1})
    run.config["lr"] = 0.2
    run.config.update(depth=3)
    run.update_config({"opt": {"name": "sgd"}})
    run.update_config({"opt": {"momentum": 0.9}})
    assert run.config == {"lr": 0.2, "depth": 3, "opt": {"name": "sgd", "momentum": 0.9}}
    assert [event.body["values"] for event in events(run, "config")][1:3] == [{"lr": 0.2}, {"depth": 3}]


def test_cycles_functions_and_great_size_do_not_break_the_config(store: Path) -> None:
    cycle: dict[str, object] = {"name": "x"}
    cycle["self"] = cycle
    deep: dict[str, object] = {}
    for _ in range(100):
        deep = {"d": deep}
    huge = {"text": "x" * 100_000_000, "list": list(range(1_000_000)), "bytes": b"0" * 10_000_000}
    run = autotrack.init(
        project="p", config={"cycle": cycle, "f": math.sin, "deep": deep, "huge": huge, "broken": Broken()}
    )
    (event,) = events(run, "config")
    values = event.body["values"]
    assert values["cycle"] == {"name": "x", "self": "<cycle: dict>"}
    assert values["f"] == "math.sin"
    assert values["huge"]["text"].endswith("99980000 more characters>")
    assert values["huge"]["bytes"] == "<bytes: 10000000 bytes>"
    assert "its repr failed" in values["broken"]
    assert sum(path.stat().st_size for path in run.dir.iterdir()) < 1_000_000
    run.log({"still": 1.0})
    assert points(run) == [(0, {"still": 1.0})]


def test_several_runs_are_open_at_once_and_the_innermost_is_active(store: Path) -> None:
    outer = autotrack.init(project="p", name="outer")
    with autotrack.init(project="p", name="inner") as inner:
        autotrack.log({"a": 1})
        assert autotrack.active_run() is inner
    assert autotrack.active_run() is outer
    autotrack.log({"a": 2})
    assert points(inner) == [(0, {"a": 1})]
    assert points(outer) == [(0, {"a": 2})]


def test_threads_lose_no_point_and_share_no_step(store: Path) -> None:
    run = autotrack.init(project="p")

    def work(name: str) -> None:
        for place in range(1000):
            run.log({name: place})

    threads = [threading.Thread(target=work, args=(f"t{place}",)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = points(run)
    assert sorted(step for step, _ in found if step is not None) == list(range(8000))
    for place in range(8):
        series = [values[f"t{place}"] for _, values in found if f"t{place}" in values]
        assert sorted(series) == list(range(1000))


def test_a_child_lies_in_its_parents_journal(store: Path) -> None:
    run = autotrack.init(project="p")
    child = run.child("fold", {"k": 1})
    child.log({"score": 0.5})
    child.finish()
    assert child.parent == run.id
    assert child.dir == run.dir
    assert [event.kind for event in events(run) if event.child == child.id] == [
        "start",
        "config",
        "m",
        "finish",
    ]


def test_a_child_is_in_its_parents_project_unless_it_asks_for_another(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTRACK_PROJECT", "elsewhere")
    with autotrack.init(project="hpo") as study:
        for parent in (study, study.id):
            with autotrack.init(parent=parent) as child:
                assert (child.parent, child.project) == (study.id, "hpo")
        with autotrack.init(project="own", parent=study) as other:
            assert other.project == "own"
    for parent in (study.id, autotrack.get_run(study.id)):
        with autotrack.init(parent=parent) as late:
            assert (late.parent, late.project) == (study.id, "hpo")
    with autotrack.init(parent="notthere") as unknown:
        assert unknown.project == "elsewhere"


def test_a_failed_block_is_a_failed_run_with_its_exception(store: Path) -> None:
    with pytest.raises(ZeroDivisionError), autotrack.init(project="p") as run:
        run.log({"a": 1 / 0})
    (event,) = events(run, "finish")
    assert event.body["status"] == "failed"
    assert event.body["error"]["type"] == "ZeroDivisionError"
    assert "1 / 0" in event.body["error"]["traceback"]
    assert run.status == "failed"
    assert run.error == "ZeroDivisionError: division by zero"


def test_a_block_that_ends_with_a_pruned_trial_has_not_failed(store: Path) -> None:
    class TrialPruned(Exception):
        """As optuna's."""

    with pytest.raises(TrialPruned), autotrack.init(project="p") as run, run.child("fold") as fold:
        raise type("Hopeless", (TrialPruned,), {})
    assert [event.body["status"] for event in events(run, "finish")] == ["finished", "finished"]
    assert (run.status, run.error, fold.status) == ("finished", None, "finished")


def test_an_interrupted_block_is_an_interrupted_run(store: Path) -> None:
    with pytest.raises(KeyboardInterrupt), autotrack.init(project="p") as run:
        raise KeyboardInterrupt
    assert events(run, "finish")[0].body["status"] == "interrupted"


def test_an_id_that_exists_is_continued(store: Path) -> None:
    first = autotrack.init(project="p", id="mine")
    first.log({"a": 1})
    first.finish()
    second = autotrack.init(project="other", id="mine")
    second.log({"a": 2})
    second.finish()
    assert second.dir == first.dir
    assert second.project == "p"
    assert [event.body["resumed"] for event in events(second, "start")] == [False, True]


def test_resume_must_with_an_unknown_id_says_so_and_goes_on(store: Path) -> None:
    with pytest.warns(AutotrackWarning, match="no run nothere"):
        run = autotrack.init(project="p", id="nothere", resume="must")
    run.log({"a": 1})
    assert points(run) == [(0, {"a": 1})]


def test_resume_never_begins_another_run(store: Path) -> None:
    first = autotrack.init(project="p", id="mine")
    first.finish()
    with pytest.warns(AutotrackWarning, match="never"):
        second = autotrack.init(project="p", id="mine", resume="never")
    assert second.id != "mine"


def test_a_disabled_run_takes_everything_and_writes_nothing(store: Path) -> None:
    run = autotrack.init(project="p", mode="disabled", config={"a": 1})
    run.log({"a": 1})
    run.log_table("t", {"a": [1]})
    run.child("c").log({"b": 2})
    run.finish()
    assert not store.exists()


def test_log_without_a_run_says_what_to_do(store: Path) -> None:
    with pytest.warns(AutotrackWarning, match=r"autotrack.init\(\)"):
        autotrack.log({"a": 1})


def test_files_are_private_and_the_store_ignores_itself_in_git(store: Path) -> None:
    run = autotrack.init(project="p")
    run.log_table("t", [[1, 2]])
    run.finish()
    for path in [store, *store.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
    assert (store / ".gitignore").read_text().endswith("*\n")


def test_a_project_of_any_name_has_a_folder_of_its_own(store: Path) -> None:
    for project in ("../../up", "a/b", ".", "..", "CON", "ü", "a b"):
        run = autotrack.init(project=project)
        run.finish()
        assert run.dir.parent.parent == store / "runs"
        assert run.dir.is_dir()
