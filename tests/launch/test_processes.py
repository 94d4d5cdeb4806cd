"""Who opens a run under `autotrack run`: the script, and programs that train; never its workers."""

from typing import Any

import pytest

FIT = "from sklearn.linear_model import Ridge\nRidge().fit([[0.0], [1.0]], [0.0, 1.0])\n"


@pytest.mark.parametrize("method", ["spawn", "fork", pytest.param("forkserver", marks=pytest.mark.proof)])
def test_multiprocessing_workers_open_no_runs(work: Any, method: str) -> None:
    text = f"""
import multiprocessing, pickle

class Job:
    def __init__(self, x):
        self.x = x

def work(job):
    from sklearn.linear_model import Ridge
    Ridge().fit([[0.0], [1.0]], [0.0, job.x])
    return Job(job.x + 1)

if __name__ == "__main__":
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        print([job.x for job in pool.map(work, [Job(1.0), Job(2.0)])])
"""
    work.write("train.py", text)
    plain, launched = work.plain("train.py"), work.launch("train.py")
    assert (launched.stdout, launched.stderr, launched.returncode) == (plain.stdout, plain.stderr, 0)
    assert work.only_run().status == "finished"


def test_a_grid_search_on_loky_workers_is_one_run_with_a_child_a_candidate(work: Any) -> None:
    work.write(
        "train.py",
        """
import numpy
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

class Mine(ClassifierMixin, BaseEstimator):
    def __init__(self, C=1.0):
        self.C = C
    def fit(self, X, y):
        self.model_ = LogisticRegression(C=self.C).fit(X, y)
        self.classes_ = self.model_.classes_
        return self
    def predict(self, X):
        return self.model_.predict(X)

if __name__ == "__main__":
    X = numpy.random.default_rng(0).normal(size=(60, 3))
    search = GridSearchCV(Mine(), {"C": [0.1, 1.0, 10.0]}, cv=3, n_jobs=2).fit(X, X[:, 0] > 0)
    print(search.best_params_, round(search.best_score_, 6))
""",
    )
    plain, launched = work.plain("train.py"), work.launch("train.py")
    assert (launched.stdout, launched.stderr, launched.returncode) == (plain.stdout, plain.stderr, 0)
    runs = work.runs()
    assert [run.name for run in runs if run.parent is None] == ["train.py"]
    candidates = [run for run in runs if run.parent is not None]
    assert len(candidates) == 3
    assert {run.parent for run in candidates} == {runs[0].id}


def test_a_program_started_by_the_script_that_trains_is_a_child_run(work: Any) -> None:
    work.write("trial.py", FIT)
    work.write(
        "sweep.py",
        "import subprocess, sys\nfor _ in range(2):\n    subprocess.run([sys.executable, 'trial.py'], check=True)\n",
    )
    done = work.launch("sweep.py")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    runs = work.runs()
    parents = [run for run in runs if run.name == "sweep.py"]
    children = [run for run in runs if run.name != "sweep.py"]
    assert len(parents) == 1
    assert len(children) == 2
    assert {run.parent for run in children} == {parents[0].id}


@pytest.mark.parametrize("way", ["plain", "launch"])
def test_a_program_started_inside_a_run_is_in_that_runs_project(work: Any, way: str) -> None:
    work.write("trial.py", "import autotrack\nautotrack.init(name='trial').log({'x': 1})\n")
    start = "subprocess.run([sys.executable, 'trial.py'], check=True"
    work.write(
        "sweep.py",
        "import os, subprocess, sys, autotrack\nautotrack.init(project='hpo', name='study')\n"
        f"{start})\n{start}, env=os.environ | {{'AUTOTRACK_PROJECT': 'own'}})\n",
    )
    getattr(work, way)("sweep.py")
    study, *trials = work.runs()
    assert (study.name, study.project) == ("study", "hpo")
    assert [(trial.parent, trial.project) for trial in trials] == [(study.id, "hpo"), (study.id, "own")]


def test_a_program_started_by_the_script_that_does_not_train_leaves_no_run(work: Any) -> None:
    work.write(
        "train.py", "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'print(1)'], check=True)\n"
    )
    done = work.launch("train.py")
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert work.only_run().name == "train.py"


def test_a_launcher_inside_a_launched_script_opens_a_child_run(work: Any) -> None:
    work.write("inner.py", "print('inner')")
    work.write(
        "outer.py",
        f"import subprocess\nsubprocess.run([{work.autotrack!r}, 'run', 'inner.py'], check=True)\n",
    )
    assert work.launch("outer.py").stdout == "inner\n"
    outer, inner = work.runs()
    assert (outer.name, inner.name, inner.parent) == ("outer.py", "inner.py", outer.id)


@pytest.mark.parametrize("rank", ["1", "7"])
def test_a_rank_above_zero_opens_no_run(work: Any, rank: str) -> None:
    work.write("train.py", FIT + "print('trained')")
    done = work.launch("train.py", env={"RANK": rank, "WORLD_SIZE": "8"})
    assert (done.stdout, done.stderr) == ("trained\n", "")
    assert work.runs() == []


def test_a_script_may_have_multiprocessing_in_its_name(work: Any) -> None:
    work.write("multiprocessing.demo.py", "print('ran')")
    assert work.launch("multiprocessing.demo.py").stdout == "ran\n"
    assert work.only_run().name == "multiprocessing.demo.py"


def test_a_fork_that_leaves_normally_does_not_end_the_run(work: Any) -> None:
    work.write(
        "train.py",
        "import os, sys, autotrack\nchild = os.fork()\nif child == 0:\n    sys.exit(0)\nos.waitpid(child, 0)\n"
        "autotrack.log({'x': 1.0})\nprint(autotrack.active_run().status)\n",
    )
    assert work.launch("train.py").stdout == "running\n"
    run = work.only_run()
    assert (run.status, run.summary["x"]) == ("finished", 1.0)


def test_exclusive_holds_from_where_the_script_asks_for_the_run_itself(work: Any) -> None:
    fits = "Ridge().fit([[0.0], [1.0]], [0.0, 1.0])\n"
    start = "import autotrack\nfrom sklearn.linear_model import Ridge\nautotrack.autolog(tags=['t'], exclusive=True)\n"
    work.write("train.py", f"{start}{fits}{fits}autotrack.init(config={{'mine': 1}})\n{fits}")
    assert work.launch("train.py").returncode == 0
    run, child = work.runs()
    assert run.config["mine"] == 1
    assert (child.parent, child.framework) == (run.id, "sklearn")
