"""`autolog()`: orders of import, arming again, arming one framework, undoing, threads, cost."""

import json
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import autotrack
from autotrack import arming
from autotrack.errors import AutotrackError, AutotrackWarning
from autotrack.integration import discover

SNAPSHOT = """
import json, sys
def snapshot():
    found = {}
    for name in ("sklearn.base", "joblib.parallel", "sklearn.model_selection._validation", "sklearn.pipeline"):
        module = sys.modules[name]
        for key, value in list(vars(module).items()):
            found[name, key] = value
            if isinstance(value, type):
                for entry, raw in vars(value).items():
                    if entry not in ("__abstractmethods__", "_abc_impl", "__doc__"):
                        found[name, key, entry] = raw
                        found[name, key, entry, "fn"] = getattr(raw, "fn", None)
    import sklearn.base
    for cls in all_subclasses(sklearn.base.BaseEstimator):
        for entry, raw in vars(cls).items():
            found[cls, entry] = raw
    return found
def all_subclasses(cls):
    for child in cls.__subclasses__():
        yield child
        yield from all_subclasses(child)
def differences(one, other):
    return [repr(key) for key in one.keys() | other.keys() if one.get(key) is not other.get(key)]
"""


@pytest.fixture(autouse=True)
def _disarmed(store: Path) -> Iterator[None]:
    yield
    autotrack.autolog(disable=True)


def run(code: str, store: Path) -> Any:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SNAPSHOT + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


FIT = (
    "from sklearn.linear_model import LinearRegression; from sklearn.pipeline import Pipeline\n"
    "from sklearn.model_selection import cross_val_score as cvs\n"
    "fit = lambda: LinearRegression().fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])\n"
)


def test_armed_after_the_import_and_undone_the_very_originals_stand(store: Path) -> None:
    code = (
        FIT + "import autotrack; before = snapshot(); path = list(sys.meta_path)\n"
        "autotrack.autolog(); autotrack.autolog(); fit(); inside = snapshot()\n"
        "autotrack.autolog(disable=True); autotrack.autolog(disable=True); fit()\n"
        "print(json.dumps([differences(before, snapshot()), len(differences(before, inside)) > 50,\n"
        "  sys.meta_path == path, len(autotrack.runs())]))"
    )
    assert run(code, store) == [[], True, True, 1]


def test_armed_before_the_import_and_undone_no_trace_is_left(store: Path) -> None:
    code = (
        "import autotrack; path = list(sys.meta_path); autotrack.autolog()\n" + FIT + "fit(); early = cvs\n"
        "autotrack.autolog(disable=True); fit()\n"
        "left = [repr(key) for key, value in snapshot().items()\n"
        "        if 'autotrack' in type(value).__module__ or hasattr(value, '__autotrack_patch__')]\n"
        "import sklearn.model_selection._validation as v\n"
        "print(json.dumps([left, sys.meta_path == path, len(autotrack.runs()), cvs is v.cross_val_score]))"
    )
    assert run(code, store) == [[], True, 1, True]


def test_undone_before_the_import_nothing_is_ever_patched(store: Path) -> None:
    code = (
        "import autotrack; path = list(sys.meta_path); autotrack.autolog(); autotrack.autolog(disable=True)\n"
        "assert sys.meta_path == path\n" + FIT + "fit()\n"
        "left = [repr(k) for k, v in snapshot().items() if hasattr(v, '__autotrack_patch__')]\n"
        "import os; print(json.dumps([left, os.path.exists(os.environ['AUTOTRACK_DIR'])]))"
    )
    assert run(code, store) == [[], False]


def test_undone_and_armed_again_it_records_again(store: Path) -> None:
    code = (
        FIT + "import autotrack\n"
        "for _ in range(3):\n    autotrack.autolog(); fit(); autotrack.autolog(disable=True); fit()\n"
        "print(json.dumps(len(autotrack.runs())))"
    )
    assert run(code, store) == 3


def test_the_name_autolog_stays_the_function_when_its_module_is_imported(store: Path) -> None:
    code = "import autotrack, autotrack.arming, autotrack.integration; print(json.dumps(callable(autotrack.autolog)))"
    assert run(code, store) is True


def test_calling_again_replaces_the_options() -> None:
    autotrack.autolog(project="one", tags=["a"], exclude=["keras"])
    found = discover()
    assert found["sklearn"].options.project == "one"
    assert not found["keras"].installed
    autotrack.autolog(project="two", tags="b", exclude="sklearn")
    assert found["keras"].options.tags == ("b",)
    assert found["keras"].options.project == "two"
    assert not found["sklearn"].installed


def test_a_frameworks_own_settings_win_whichever_is_called_first() -> None:
    found = discover()
    autotrack.sklearn.autolog(project="own")
    assert not found["keras"].installed
    autotrack.autolog(project="all")
    assert found["sklearn"].options.project == "own"
    assert found["keras"].options.project == "all"
    autotrack.sklearn.autolog(disable=True)
    autotrack.autolog(project="later")
    assert not found["sklearn"].installed
    autotrack.autolog(disable=True)
    assert not any(integration.installed for integration in found.values())
    autotrack.autolog(project="anew")
    assert found["sklearn"].options.project == "anew"


def test_an_unknown_framework_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(AutotrackError, match=r"no integration called 'fastai'; installed are: .*sklearn"):
        arming.autolog_one("fastai")
    with pytest.raises(AttributeError, match="no attribute 'fastai'"):
        autotrack.fastai.autolog()


def test_switched_off_by_the_environment_it_says_so_when_asked_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AUTOTRACK_DISABLE_INTEGRATIONS", "sklearn")
    autotrack.autolog()
    with pytest.warns(AutotrackWarning, match="AUTOTRACK_DISABLE_INTEGRATIONS names it"):
        autotrack.sklearn.autolog()
    monkeypatch.delenv("AUTOTRACK_DISABLE_INTEGRATIONS")
    assert not discover()["sklearn"].installed


def test_an_unknown_keyword_is_an_error() -> None:
    with pytest.raises(TypeError, match="log_modles"):
        autotrack.sklearn.autolog(log_modles=True)


def test_it_may_be_called_from_several_threads(store: Path) -> None:
    code = (
        FIT + "import autotrack, threading; before = snapshot()\n"
        "def work(place):\n"
        "    for round in range(5):\n"
        "        autotrack.autolog(disable=(place + round) % 2 == 1)\n"
        "threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
        "autotrack.autolog(disable=True); print(json.dumps(differences(before, snapshot())))"
    )
    assert run(code, store) == []


def test_arming_imports_no_framework(store: Path) -> None:
    code = (
        "import autotrack; autotrack.autolog(); autotrack.autolog(disable=True); autotrack.autolog()\n"
        "heavy = {'sklearn', 'torch', 'keras', 'transformers', 'lightning', 'numpy', 'joblib', 'importlib.metadata'}\n"
        "print(json.dumps(sorted(heavy & set(sys.modules))))"
    )
    assert run(code, store) == []


def test_threads_that_train_while_it_is_undone_are_not_disturbed(store: Path) -> None:
    from sklearn.linear_model import LinearRegression

    autotrack.autolog()
    stop, models = threading.Event(), []

    def train() -> None:
        while not stop.is_set():
            models.append(LinearRegression().fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0]))

    thread = threading.Thread(target=train)
    thread.start()
    for _ in range(5):
        autotrack.autolog(disable=True)
        autotrack.autolog()
    stop.set()
    thread.join()
    assert all(model.score([[3.0], [4.0]], [3.0, 4.0]) > 0.99 for model in models)


def shown(do: Callable[[], object]) -> list[str]:
    """The warnings that are shown meanwhile, also in threads."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        do()
    return [str(each.message) for each in caught]


@pytest.mark.parametrize(
    "arm", [autotrack.autolog, lambda **how: autotrack.argparse.autolog(**how)], ids=["all", "one"]
)
def test_silent_shows_no_warning_in_no_thread_and_records_each(arm: Any, capfd: Any) -> None:
    def log(run: Any) -> None:
        thread = threading.Thread(target=run.log, args=({"in a thread": "no number"},))
        thread.start()
        thread.join()
        run.log({"here": "no number"})

    arm(silent=True)
    with autotrack.init(project="p") as run:
        assert shown(lambda: log(run)) == []
    assert len(autotrack.get_run(run.id).warnings) == 2
    assert capfd.readouterr().err == ""
    autotrack.autolog()
    with autotrack.init(project="p") as run:
        assert len(shown(lambda: log(run))) == 2


def test_silent_is_about_our_warnings_only_and_ends_with_autolog() -> None:
    autotrack.autolog(silent=True)
    assert shown(lambda: warnings.warn("the user's", stacklevel=2)) == ["the user's"]
    autotrack.autolog(disable=True)
    with autotrack.init(project="p") as run:
        assert len(shown(lambda: run.log({"aloud": "no number"}))) == 1
