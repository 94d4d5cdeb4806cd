"""Run the frameworks' own tests twice, without autotrack and with `autolog()` on, and compare them test by test.

    python benchmarks/suites.py                          all; writes benchmarks/results/suites.json
    python benchmarks/suites.py --only keras-torch       these; the others keep their results
    python benchmarks/suites.py --sources FOLDER         where the tests of Lightning and transformers lie

Keras' and scikit-learn's tests are in their packages. Those of Lightning and transformers are only in their repositories: a folder named
`<framework>-<version>` in the folder of sources is taken, else the installed version's tag is cloned. Both runs of a suite go
on at the same time. A test that differs is run again by itself: where one way alone gives both results, it is `flaky`.
Exits with 1 where a test differs for good, autotrack told of an error of its own, or a suite did not run to its end.
"""

import argparse
import datetime
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from environments import default_folder
from stamp import RESULTS, installed, stamp

HERE = Path(__file__).resolve().parent
FILE = RESULTS / "suites.json"
WAYS = ("bare", "armed")
BY_DESIGN = {
    "Test left zombie thread: <Thread(autotrack": "the suite counts threads behind each test, and sees our helper thread start",
    "scorer_calls_method_once": "the test counts predictions, and the score of the training data that a fit is recorded with is one",
}
"""By a part of a test's name, or of what it failed with."""
AGAIN = 3  # times that a test which differs is run by itself, each way
LIGHTNING = (
    "trainer/logging_",
    "trainer/optimization",
    "trainer/flags",
    "trainer/connectors/test_callback_connector.py",
    "trainer/connectors/test_checkpoint_connector.py",
    "checkpointing/test_model_checkpoint.py",
    "callbacks",
)
KERAS = ("src/callbacks", "src/trainers", "src/saving")
SKLEARN = (
    "callback",
    "metrics/cluster/tests/test_supervised.py",
    "metrics/cluster/tests/test_unsupervised.py",
    "metrics/tests/test_classification.py",
    "metrics/tests/test_ranking.py",
    "metrics/tests/test_regression.py",
    "metrics/tests/test_score_objects.py",
    "model_selection/tests/test_search.py",
    "model_selection/tests/test_successive_halving.py",
    "model_selection/tests/test_validation.py",
    "tests/test_base.py",
    "tests/test_metaestimators.py",
    "tests/test_multiclass.py",
    "tests/test_multioutput.py",
    "tests/test_pipeline.py",
)


@dataclass(frozen=True)
class Suite:
    """Tests of one framework: where they lie in its source, and what they are run with."""

    package: str
    paths: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    repository: str = ""
    root: str = ""
    module: str = ""
    """The name to import, where the package is called otherwise."""


@dataclass
class Outcome:
    """What one run of a suite, one way, left behind."""

    tests: dict[str, dict[str, str]]
    warnings: Counter[str]
    ended: bool
    imported: bool


SUITES = {
    "keras-torch": Suite("keras", KERAS, environment={"KERAS_BACKEND": "torch"}),
    "keras-jax": Suite("keras", KERAS, environment={"KERAS_BACKEND": "jax"}),
    "lightning": Suite(
        "lightning",
        LIGHTNING,
        left_out=(
            "callbacks/test_pruning.py",
            "callbacks/test_spike.py",
            "callbacks/test_stochastic_weight_avg.py",
            "callbacks/test_weight_averaging.py",
        ),
        words=("-o", "addopts=", "-k", "not spawn and not ddp"),
        repository="https://github.com/Lightning-AI/pytorch-lightning",
        root="tests/tests_pytorch",
    ),
    "scikit-learn": Suite("scikit-learn", SKLEARN, module="sklearn"),
    "transformers": Suite(
        "transformers",
        ("tests/trainer",),
        left_out=("tests/trainer/distributed",),
        repository="https://github.com/huggingface/transformers",
    ),
}


def main() -> int:
    wanted = arguments()
    bad = False
    for name in wanted.only:
        suite = SUITES[name]
        source = source_of(suite, wanted.sources)
        if source is None:
            bad = True
            continue
        with tempfile.TemporaryDirectory(prefix="suite-") as work:
            found = compared(suite, source, Path(work), wanted.limit)
        bad |= not found["same"]
        suites = json.loads(FILE.read_text())["suites"] if FILE.is_file() else {}
        FILE.write_text(
            json.dumps({"suites": dict(sorted((suites | {name: found}).items()))}, indent=2) + "\n"
        )
        print(name, json.dumps({key: value for key, value in found.items() if key != "stamp"}, indent=2))
    return int(bad)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SUITES, default=list(SUITES))
    parser.add_argument("--sources", type=Path, default=default_folder() / "sources")
    parser.add_argument("--limit", type=float, default=3600, help="seconds for one suite")
    return parser.parse_args()


def compared(suite: Suite, source: Path, work: Path, limit: float) -> dict[str, Any]:
    """Run a suite both ways; what came of it, as it is written down."""
    began = time.monotonic()
    paths = [source / suite.root / path for path in suite.paths]
    with ThreadPoolExecutor(len(WAYS)) as pool:
        outcomes = dict(
            zip(WAYS, pool.map(lambda way: ran(suite, source, paths, work / way, limit), WAYS), strict=True)
        )
    bare, armed = (outcomes[way] for way in WAYS)
    differing = [
        {"test": test} | {way: outcomes[way].tests.get(test) for way in WAYS}
        for test in sorted(names(bare, armed))
        if kind(bare.tests.get(test)) != kind(armed.tests.get(test))
    ]
    for index, each in enumerate(differing):
        each["by_design"] = design(each["test"], each["armed"])
        if each["by_design"]:
            continue
        each["again"] = again(suite, source, each["test"], work / f"again-{index}", limit)
        each["flaky"] = any(len(set(results)) > 1 for results in each["again"].values())
    own = {text: count for text, count in armed.warnings.items() if "[internal-error]" in text}
    sound = bare.ended and armed.ended and armed.imported and not bare.imported
    return {
        "stamp": stamp() | {"at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")},
        "framework": f"{suite.package} {installed(suite.package)}",
        "tests_of": source.name if suite.repository else "the package",
        "left_out": list(suite.left_out),
        "words": list(suite.words),
        "bare": counted(bare),
        "armed": counted(armed),
        "runs_recorded": runs(work / "armed" / "store"),
        "differing": differing,
        "own_errors": own,
        "other_warnings": dict(armed.warnings - Counter(own)),
        "ran_to_the_end": sound,
        "same": sound and not own and all(each["by_design"] or each["flaky"] for each in differing),
        "seconds": round(time.monotonic() - began),
    }


def design(name: str, armed: dict[str, str] | None) -> str:
    """Why a difference has to be, if it is one of those that we know."""
    return next(
        (why for text, why in BY_DESIGN.items() if armed and (text in name or text in armed["why"])), ""
    )


def names(bare: Outcome, armed: Outcome) -> set[str]:
    """The tests to compare: all, unless a run was cut short."""
    if bare.ended and armed.ended:
        return bare.tests.keys() | armed.tests.keys()
    return bare.tests.keys() & armed.tests.keys()


def source_of(suite: Suite, folder: Path) -> Path | None:
    """The folder with the tests: the package itself, or a checkout, which is cloned if there is none; None where it cannot be had."""
    version = installed(suite.package)
    if version is None:
        return missing(f"{suite.package} is not installed")
    if not suite.repository:
        spec = importlib.util.find_spec(suite.module or suite.package)
        places = spec.submodule_search_locations if spec else None
        return Path(places[0]) if places else missing(f"{suite.package} is no package")
    exact = folder / f"{suite.package}-{version}"
    if exact.is_dir():
        return exact
    if others := sorted(folder.glob(f"{suite.package}-*")):
        return others[-1]
    tag = f"v{version}" if suite.package == "transformers" else version
    words = ["git", "clone", "-q", "--depth", "1", "--branch", tag, suite.repository, str(exact)]
    if subprocess.run(words, check=False).returncode == 0:
        return exact
    shutil.rmtree(exact, ignore_errors=True)
    return missing(
        f"{suite.repository} cannot be had: put a checkout of {tag} at {exact}, and run this again"
    )


def missing(why: str) -> None:
    print(f"suites.py: {why}", file=sys.stderr)


def ran(suite: Suite, source: Path, paths: list[Any], work: Path, limit: float) -> Outcome:
    """One run of tests in a folder of its own; `work`'s name says whether autotrack is on."""
    for name in ("home", "here", "conftest"):
        (work / name).mkdir(parents=True)
    if suite.package == "keras":
        shutil.copy(HERE / "suites_keras.py", work / "conftest" / "conftest.py")
    lines = work / "results.jsonl"
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(work / "home"),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TORCHDYNAMO_DISABLE": "1",  # compiling takes most of an hour
        "PYTHONPATH": f"{HERE}{os.pathsep}{work / 'conftest'}",
        "AUTOTRACK_DIR": str(work / "store"),
        "AUTOTRACK_SUITE_RESULTS": str(lines),
        "AUTOTRACK_SUITE_ARMED": str(int(work.name.startswith("armed"))),
    }
    settings = source / "pyproject.toml" if suite.repository else Path(os.devnull)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "suites_plugin", "-p", "no:cacheprovider"]
    words += ["--continue-on-collection-errors", f"--rootdir={source}", "-c", settings, *suite.words]
    words += [f"--ignore={source / suite.root / path}" for path in suite.left_out]
    with open(work / "log", "wb") as log:
        process = subprocess.Popen(
            [*map(str, words), *map(str, paths)], cwd=work / "here", env=environment | suite.environment,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return read(lines)


def read(file: Path) -> Outcome:
    """What the plugin wrote."""
    found = Outcome({}, Counter(), ended=False, imported=False)
    for line in file.read_text().splitlines() if file.is_file() else []:
        each = json.loads(line)
        if "outcome" in each:
            found.tests[each["test"]] = {"outcome": each["outcome"], "why": each["why"]}
        elif "warning" in each:
            found.warnings[each["warning"]] += 1
        else:
            found.ended, found.imported = each["ended"], each["imported"]
    return found


def kind(test: dict[str, str] | None) -> tuple[str, str]:
    """What has to be the same both ways: the outcome, and of a failure the kind of error."""
    return (test["outcome"], test["why"].partition(":")[0]) if test else ("did not run", "")


def again(suite: Suite, source: Path, test: str, work: Path, limit: float) -> dict[str, list[str]]:
    """The outcomes of one test by itself, each way."""
    found: dict[str, list[str]] = {way: [] for way in WAYS}
    for number in range(AGAIN):
        for way in WAYS:
            outcome = ran(suite, source, [source / test], work / f"{way}-{number}", limit)
            found[way].append(kind(outcome.tests.get(test))[0])
    return found


def counted(outcome: Outcome) -> dict[str, int]:
    return dict(sorted(Counter(each["outcome"] for each in outcome.tests.values()).items()))


def runs(store: Path) -> int:
    """How many runs the tests left in the store: none would mean that nothing was tracked."""
    return sum(1 for _ in store.glob("runs/*/*/"))


if __name__ == "__main__":
    sys.exit(main())
