"""`init()` in a launched script: the first one has the launcher's run, the later ones are what they are in plain Python."""

from typing import Any

import pytest

LOOP = """
import autotrack
from sklearn.linear_model import Ridge
autotrack.autolog()
for place in range(3):
    with autotrack.init(name=f"trial {place}", config={"place": place}, tags=[f"t{place}"]):
        Ridge().fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])
"""

STUDY = """
import os, autotrack
with autotrack.init(project="study", name="study", group="g", notes="n") as study:
    for place in range(2):
        with autotrack.init(name=f"trial {place}", group=f"g{place}", notes=f"n{place}", parent=study) as trial:
            with autotrack.init(project="folds", name=f"fold {place}", parent=trial) as fold:
                fold.log({"accuracy": place})
autotrack.init(name="far", dir=os.environ["FAR"], project="far").finish()
"""


def told(runs: list[Any]) -> dict[str, Any]:
    """What the runs of a study say of themselves, by name."""
    names = {run.id: run.name for run in runs}
    return {
        run.name: (
            run.project,
            run.group,
            run.notes,
            names.get(run.parent),
            list(run.summary.items()),
            run.status,
        )
        for run in runs
    }


def test_the_first_training_in_each_is_recorded_in_it(work: Any) -> None:
    work.write("loop.py", LOOP)
    assert work.launch("loop.py").returncode == 0
    runs = work.runs()
    assert [(run.name, run.config["place"], run.tags) for run in runs] == [
        (f"trial {place}", place, [f"t{place}"]) for place in range(3)
    ]
    assert all("auto/fit_time" in run.metrics and run.config["estimator"] for run in runs)
    assert [run.parent for run in runs] == [None, runs[0].id, runs[0].id]


@pytest.mark.parametrize("inner", ["", "autotrack.init(name='second', tags=['a']).log({'x': 1})\n"])
def test_the_launched_run_goes_on_behind_them(work: Any, inner: str) -> None:
    text = f"import autotrack\nfirst = autotrack.init(name='first')\n{inner}first.log({{'end': 2}})\nprint(first.status)\n"
    work.write("train.py", text)
    assert work.launch("train.py").stdout == "running\n"
    assert work.runs()[0].summary["end"] == 2
    assert {run.status for run in work.runs()} == {"finished"}


def test_parent_project_group_notes_and_store_are_those_that_were_asked_for(work: Any) -> None:
    work.write("study.py", STUDY)
    far = work.store.parent / "far"
    work.launch("study.py", env={"FAR": str(far)})
    launched = told(work.runs())
    work.store = work.store.parent / "other"
    work.plain("study.py", env={"AUTOTRACK_DIR": str(work.store), "FAR": str(far)})
    assert launched == told(work.runs())
    assert launched["trial 1"] == ("study", "g1", "n1", "study", [], "finished")
    assert launched["fold 1"] == ("folds", None, "", "trial 1", [("accuracy", 1.0)], "finished")
    work.store = far
    assert [(run.name, run.parent) for run in work.runs()] == [("far", None)] * 2
