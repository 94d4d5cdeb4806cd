"""What matters is seen first and whole, in a terminal of 80 columns too."""

import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import autotrack
from autotrack.cli.output import fitted
from autotrack.cli.records import interesting_metrics
from autotrack.cli.words import better, interest

Invoke = Callable[..., Any]
Ids = dict[str, str]
ANSI = re.compile(r"\x1b\[[0-9;]*m")
LONG = "resnet50-imagenet-bs256-lr0.1-cosine-warmup5-ema-long-name-experiment-0042"
RECORD = f"""
import autotrack, os, signal
try:
    with autotrack.init(project="p", name={LONG!r}, id="aaaaaaaaaa", config={{"none": None, "lr": 0.1}}) as run:
        for step in range(20):
            run.log({{"images_per_second": 1000.0, "train/loss": 1.5, "val/accuracy": 0.5, "epoch": 1}}, step=step)
        raise RuntimeError("CUDA out of memory")
except RuntimeError:
    pass
with autotrack.init(project="p", name="search", id="bbbbbbbbbb", config={{"lr": 0.2}}) as parent:
    for place, score in enumerate((0.25, 0.75, 0.5)):
        with autotrack.init(project="p", name=f"candidate {{place}}", parent=parent.id, config={{"C": 10**place}}) as child:
            child.log({{"mean_test_score": score, "rank_test_score": place + 1}})
died = autotrack.init(project="p", name="died", id="cccccccccc")
died.log({{"loss": 1.0}})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def glance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a failed run of a long name, a search and a run that died."""
    store = tmp_path_factory.mktemp("glance") / ".autotrack"
    code = f"import os; os.environ['AUTOTRACK_DIR'] = {str(store)!r}\n{RECORD}"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    return store


def test_name_id_and_status_stand_in_the_first_line(terminal: Invoke, glance: Path) -> None:
    for command in (["show", "aaaa"], ["tail", "--once", "aaaa"]):
        shown = terminal("--store", glance, *command, columns=70)
        first = ANSI.sub("", shown.lines[0])
        assert "aaaaaaaaaa  failed" in first
        assert first.startswith("resnet50")
        assert "…" in first


def test_the_metrics_that_tell_most_come_first_and_their_names_are_whole(
    terminal: Invoke, glance: Path
) -> None:
    lines = [ANSI.sub("", line) for line in terminal("--store", glance, "show", "aaaa").lines]
    at = next(place for place, line in enumerate(lines) if line.startswith("Metrics"))
    keys = [line.split()[0] for line in lines[at + 2 : at + 6]]
    assert keys == ["val/accuracy", "train/loss", "epoch", "images_per_second"]


def test_an_error_is_said_once(invoke: Invoke, glance: Path) -> None:
    shown = invoke("--store", glance, "show", "aaaa").stdout
    assert shown.count("RuntimeError: CUDA out of memory") == 1
    assert "Traceback" in shown


def test_a_run_that_died_was_last_seen(invoke: Invoke, glance: Path) -> None:
    shown = invoke("--store", glance, "show", "cccc").stdout
    assert "last seen" in shown
    assert "so far" not in shown


def test_children_show_what_tells_them_apart(terminal: Invoke, glance: Path) -> None:
    shown = terminal("--store", glance, "show", "bbbb", columns=120).output
    lines = [ANSI.sub("", line) for line in shown.splitlines()]
    rows = {
        line.split()[2]: line.split() for line in lines if line.startswith("  ") and " candidate " in line
    }
    assert [rows[place][6] for place in "012"] == ["0.25", "0.75", "0.5"]
    assert [rows[place][-1] for place in "012"] == ["1", "10", "100"]
    assert "\x1b[1;32m0.75" in shown


def test_the_environment_is_a_line_each_and_sections_with_all(invoke: Invoke, glance: Path) -> None:
    short, whole = (invoke("--store", glance, "show", "aaaa", *more).stdout for more in ([], ["--all"]))
    assert "\nEnvironment\n" in short
    assert re.search(r"\n  Python +\d", short)
    assert "\nPython\n" in whole


def test_bytes_of_the_machine_have_a_unit_and_samples_no_step(invoke: Invoke, store: Path) -> None:
    import autotrack

    run = autotrack.init(project="p")
    sample = {"memory": 2.5 * 2**30, "process.rss": 3.0 * 2**20, "net.sent": 2048.0, "memory_percent": 12.5}
    run.event("s", {f"system/{name}": value for name, value in sample.items()})
    run.finish()
    shown = invoke("show", "--all").stdout
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.startswith("  system/")}
    assert rows["system/memory"][:2] == ["2.5", "GiB"]
    assert rows["system/process.rss"][:2] == ["3.0", "MiB"]
    assert rows["system/net.sent"][:2] == ["2.0", "KiB/s"]
    assert rows["system/memory_percent"][0] == "12.5"
    assert {row[-1] for row in rows.values()} == {"-"}
    assert re.search(r"\n  memory_total +[\d.]+ GiB\n", shown)


def test_a_value_that_is_none_is_not_a_missing_one(invoke: Invoke, glance: Path) -> None:
    shown = invoke("--store", glance, "compare", "aaaa", "bbbb").stdout
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert rows["none"] == ["None", "-"]
    assert rows["lr"] == ["0.1", "0.2"]
    keys = list(rows)
    assert keys.index("lr") < keys.index("none")


def test_a_line_of_tail_never_cuts_a_number(terminal: Invoke, glance: Path) -> None:
    for columns in (52, 70, 84):
        shown = terminal(
            "--store", glance, "tail", "--once", "--plain", "--lines", 1, "aaaa", columns=columns
        )
        numbers = re.findall(r"=([^ ]+)", ANSI.sub("", shown.lines[0]))
        assert set(numbers) <= {"1000.0", "1.5", "0.5", "1.0"}, shown.lines[0]


def test_help_names_no_type_of_a_switch(terminal: Invoke, store: Path) -> None:
    for command in ([], ["run"]):
        shown = ANSI.sub("", terminal(*command, "--help", columns=100).output)
        assert "<bool>" not in shown
        assert "BOOLEAN" not in shown
    assert "autotrack run [OPTIONS] SCRIPT [ARGS]..." in shown


def test_metrics_are_sorted_by_how_much_they_tell() -> None:
    keys = [
        "auto/loss",
        "lr",
        "epoch",
        "train/loss_epoch",
        "loss",
        "eval_loss",
        "fit_time",
        "rank_test_score",
        "f1",
    ]
    assert sorted(keys, key=interest) == [
        "eval_loss",
        "f1",
        "loss",
        "train/loss_epoch",
        "epoch",
        "fit_time",
        "lr",
        "rank_test_score",
        "auto/loss",
    ]
    assert interesting_metrics([]) == []


@pytest.mark.parametrize(
    ("direction", "keys"),
    [
        (
            "min",
            (
                "loss eval_loss train/loss_epoch valLoss MSELoss logloss merror error_rate val_mae rmse perplexity wer "
                "fit_time step_time latency rank_test_score mean_squared_error"
            ),
        ),
        (
            "max",
            (
                "acc val_acc1 acc@5 top1_acc accuracy balanced_accuracy f1 eval_f1_macro F1Score roc_auc AUROC R2 r2_score mAP "
                "metrics/mAP50-95(B) bleu4 rougeL psnr mean_test_score neg_mean_squared_error mean_test_neg_log_loss "
                "episode_return auto/samples_per_second"
            ),
        ),
        (
            "",
            (
                "layer2/activation accumulated_steps interval mirror value conv_f1x1 grad_norm layer2/grad_norm/loss loss_weight "
                "std_test_score reward_std returned neg_samples lr epoch"
            ),
        ),
    ],
)
def test_words_of_a_name_say_which_value_is_better_not_its_letters(direction: str, keys: str) -> None:
    assert {key: better(key) for key in keys.split()} == dict.fromkeys(keys.split(), direction)


def test_a_layers_number_is_no_score() -> None:
    keys = ["interval", "layer0/size", "layer1/size", "layer2/size"]
    assert sorted(keys, key=interest) == keys


def test_a_long_decimal_loses_digits_and_never_its_end() -> None:
    assert fitted(0.014495975314865463, 12) == "0.0144959753"
    assert fitted(-1.2345678901234567e-05, 12) == "-1.23457e-05"
    assert fitted(0.1, 12) == "0.1"
    assert fitted(0.014495975314865463, 99) == "0.014495975314865463"
    assert fitted("0.014495975314865463", 12) == "0.014495975314865463"
    assert fitted(12345678901234, 12) == "12345678901234"


def test_compare_cuts_no_decimal_in_a_narrow_terminal(terminal: Invoke, store: Path) -> None:
    import autotrack

    ids = []
    for lr in (0.014495975314865463, 0.0027576664672584077, 0.1):
        with autotrack.init(project="p", config={"lr": lr}) as run:
            ids.append(run.id)
    shown = ANSI.sub("", terminal("compare", *ids, columns=64).output)
    (row,) = [line.split() for line in shown.splitlines() if line.strip().startswith("lr")]
    assert row == ["lr", "0.0144959753", "0.0027576665", "0.1"]


def rows_of(shown: str, section: str) -> dict[str, str]:
    """Names and values of a section; "" is the head."""
    found = next(one for one in shown.split("\n\n") if one.startswith(section))
    rows = [line.split(maxsplit=1) for line in found.splitlines()[1:]]
    return {row[0]: row[1] if len(row) > 1 else "" for row in rows}


def test_what_stands_by_itself_comes_first_and_no_long_group_hides_another(
    invoke: Invoke, store: Path
) -> None:
    framework = {"trainer": {f"option{number}": None if number < 3 else number for number in range(90)}}
    run = autotrack.init(config=framework)
    run.update_config({"model": {"class": "Net", "parameters": 10}, "lr": 0.1, "hidden": 16})
    run.finish()
    rows = rows_of(invoke("show", run.id).stdout, "Config")
    assert list(rows)[:5] == ["lr", "hidden", "model.class", "model.parameters", "trainer.option3"]
    assert rows["trainer.…"] == "54 more"
    assert rows["…"] == "54 more; --all shows them"
    everything = list(rows_of(invoke("show", run.id, "--all").stdout, "Config"))
    assert everything[4] == "trainer.option3"
    assert len(everything) == 94
    assert everything[-1] == "trainer.option2"


def test_groups_share_the_rows_that_a_long_row_of_single_settings_leaves(invoke: Invoke, store: Path) -> None:
    alone = {f"setting{number}": number for number in range(100)}
    groups = {name: {f"x{number}": number for number in range(30)} for name in ("one", "two")}
    run = autotrack.init(config=alone | groups)
    run.finish()
    names = list(rows_of(invoke("show", run.id).stdout, "Config"))
    shown = [name.partition(".")[0] for name in names if not name.endswith("…")]
    assert [shown.count(name) for name in ("one", "two")] == [10, 10]
    assert sum(name.startswith("setting") for name in shown) == 20


@pytest.mark.parametrize("place", ["stopped", "keras"])
def test_why_a_training_ended_stands_in_the_head(invoke: Invoke, store: Path, place: str) -> None:
    told = {"by": "early_stopping", "reason": "val_loss was no better\nthan 0.5"}
    run = autotrack.init(config={"stopped": "on Monday"} if place == "keras" else None)
    run.event("edit", {"framework": "keras"})
    run.update_config({"keras": {"stopped": told}} if place == "keras" else {"stopped": told})
    assert "stopped" not in rows_of(invoke("show", run.id).stdout, run.name)
    run.finish()
    assert (
        rows_of(invoke("show", run.id).stdout, run.name)["stopped"]
        == "early_stopping: val_loss was no better"
    )


def test_what_each_attempt_tells_again_is_shown_once(invoke: Invoke, store: Path) -> None:
    for why in ("the first", "the second"):
        run = autotrack.init(project="p", id="again")
        run.log_table("summary", [{"a": 1}])
        run.log_table("steps", [{"why": why}])
        run.event("capture", {"what": "parts", "status": "skipped", "why": why, "ms": 0.1, "facts": {}})
        run.finish()
    shown = invoke("show", "again").stdout
    names = [line.split()[0] for line in shown.partition("Artifacts\n")[2].splitlines()[1:4]]
    assert names == ["summary.json", "steps.json", "steps.json"]
    report = shown.partition("Capture report")[2]
    assert report.count("parts  ") == 1
    assert "the second" in report


def test_the_traceback_ends_with_its_last_line_of_code(invoke: Invoke, store: Path) -> None:
    for error in (subprocess.CalledProcessError(1, "make"), ValueError("two\nlines"), KeyError()):
        with suppress(type(error)), autotrack.init(project="p"):
            raise error
        shown = invoke("show").stdout.partition("\nError\n")[2]
        assert shown.startswith(f"  {type(error).__name__}")
        assert shown.partition("\n\n")[0].endswith("\n      raise error")


def test_the_state_of_a_checkpoint_that_rotation_took_is_that_of_the_docs(
    invoke: Invoke, store: Path
) -> None:
    run = autotrack.init(project="p")
    run.event("checkpoint", {"action": "saved", "path": "/x/1.ckpt", "id": "aaaa", "size": 1})
    run.event("checkpoint", {"action": "removed", "path": "/x/1.ckpt", "why": "rotation"})
    run.event("checkpoint", {"action": "saved", "path": "/x/2.ckpt", "id": "bbbb", "size": 1})
    run.finish()
    shown = invoke("show", run.id, "--all").stdout.partition("\nCheckpoints\n")[2]
    assert "  removed (rotation)  " in shown
    assert "  written last  " in shown
