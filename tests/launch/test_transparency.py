"""`autotrack run X` does what `python X` does, to the byte."""

import sys
from typing import Any

import pytest

SCRIPTS = {
    "says where it is": """
        import sys, os, __main__
        print(sys.argv, sys.path[0], __file__, __name__, __spec__, __main__.__dict__ is globals())
        print(os.getcwd(), sys.flags, sys.executable, sys.orig_argv[1:])
        """,
    "ends with 0": "print('good')",
    "ends with 3": "import sys; print('bad'); sys.exit(3)",
    "ends with a text": "import sys; sys.exit('it went wrong')",
    "raises": """
        def outer(values):
            return inner(values["key"])
        def inner(value):
            raise ValueError(f"wrong: {value}")
        outer({"key": 3})
        """,
    "raises from another": """
        try:
            {}["missing"]
        except KeyError as error:
            raise RuntimeError("second") from error
        """,
    "raises in a training that is recorded": """
        from sklearn.linear_model import LinearRegression
        def train(rows):
            return LinearRegression().fit(rows, [1, 2])
        train([[1], [2], [3]])
        """,
    "does not compile": "print('never'\n",
    "reads its input": "import sys; print(sys.stdin.read().upper(), sys.stdin.isatty())",
    "leaves by os._exit": "import os; print('x', flush=True); os._exit(5)",
    "warns": "import warnings; warnings.warn('careful'); warnings.warn('old', DeprecationWarning)",
    "pickles its class": """
        import pickle
        class Thing:
            pass
        print(type(pickle.loads(pickle.dumps(Thing()))) is Thing)
        """,
    "looks at itself": """
        import inspect, logging, random, signal, sys, threading, faulthandler
        def here(): pass
        print(inspect.getsource(here), logging.getLogger().handlers, logging.getLogger().level)
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, signal.getsignal(signal.SIGTERM))
        print(faulthandler.is_enabled(), sys.gettrace(), sys.getprofile())
        random.seed(1); print(random.random())
        """,
    "uses atexit": """
        import atexit, sys
        class Thing:
            pass
        atexit.register(lambda: print("Thing" in globals(), hasattr(sys.modules["__main__"], "Thing")))
        """,
}


def same(plain: Any, launched: Any) -> None:
    assert launched.stdout == plain.stdout
    assert launched.stderr == plain.stderr
    assert launched.returncode == plain.returncode


def dedent(text: str) -> str:
    from textwrap import dedent

    return dedent(text).lstrip("\n")


@pytest.mark.parametrize("name", SCRIPTS)
def test_output_errors_and_exit_code_are_those_of_plain_python(work: Any, name: str) -> None:
    work.write("train.py", dedent(SCRIPTS[name]))
    arguments = ["train.py", "--lr", "0.1", "--", "-m", "--name", "x y", ""]
    same(work.plain(*arguments, input="some\ntext"), work.launch(*arguments, input="some\ntext"))
    assert work.only_run().name == "train.py"


def test_options_stand_before_the_script_and_arguments_behind_it(work: Any) -> None:
    work.write("train.py", "import sys; print(sys.argv)")
    done = work.launch(
        "--project",
        "p",
        "-n",
        "first",
        "--tag",
        "a",
        "-t",
        "b",
        "--group",
        "g",
        "train.py",
        "--name",
        "x",
        "-t",
    )
    assert done.stdout == "['train.py', '--name', 'x', '-t']\n"
    run = work.only_run()
    assert (run.project, run.name, run.group, sorted(run.tags)) == ("p", "first", "g", ["a", "b"])


def test_a_module_is_run_as_python_m_does(work: Any) -> None:
    work.write("package/__init__.py", "")
    work.write(
        "package/train.py",
        "import sys; print(sys.argv[1:], sys.path[0], __spec__.name, __package__, __name__)",
    )
    same(
        work.plain("-m", "package.train", "--lr", "1", "-m"),
        work.launch("-m", "package.train", "--lr", "1", "-m"),
    )
    assert work.only_run().name == "package.train"


def test_a_folder_with_a_main_is_run(work: Any) -> None:
    work.write("program/__main__.py", "import sys, beside; print(sys.argv, sys.path[0], beside.x)")
    work.write("program/beside.py", "x = 1")
    same(work.plain("program", "1"), work.launch("program", "1"))
    assert work.only_run().status == "finished"


@pytest.mark.parametrize(
    "words", [["missing.py"], ["empty"], ["-m", "missing_module"], ["-m", "missing.deep"]]
)
def test_what_is_not_there_fails_as_in_python_and_leaves_no_run(work: Any, words: list[str]) -> None:
    (work.folder / "empty").mkdir()
    plain, launched = work.plain(*words), work.launch(*words)
    same(plain, launched)
    assert plain.returncode != 0
    assert work.runs() == []


def test_no_script_is_wrong_usage(work: Any) -> None:
    done = work.launch("--name", "x")
    assert done.returncode == 2
    assert "autotrack run train.py" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_module_beside_the_script_still_hides_pythons_own(work: Any) -> None:
    for name in ("queue", "json", "struct"):
        work.write(f"{name}.py", f"mine = {name!r}")
    work.write(
        "train.py", "import queue, json, struct\nprint(queue.mine, json.mine, hasattr(struct, 'mine'))"
    )
    same(work.plain("train.py"), work.launch("train.py"))
    assert work.only_run().status == "finished"


@pytest.mark.parametrize("library", ["orjson", "zstandard", "psutil", "sqlalchemy", "shlex", "hashlib"])
def test_a_module_beside_the_script_still_hides_one_that_we_use(work: Any, library: str) -> None:
    work.write(f"{library}.py", "import threading\nmine = threading.current_thread().name")
    work.write(
        "train.py",
        f"import sys, time\nbefore = {{'numpy', 'sqlalchemy'}} & set(sys.modules)\ntime.sleep(0.5)\n"
        f"import {library}\nprint({library}.mine, before)",
    )
    done = work.launch("train.py")
    assert (done.stdout, done.stderr, done.returncode) == ("MainThread set()\n", "", 0)
    run = work.only_run()
    assert run.status == "finished"
    assert run.environment["packages"]


def test_a_script_with_the_name_of_a_library_that_we_use_is_run_once(work: Any) -> None:
    work.write("orjson.py", "import time\nprint(__name__)\ntime.sleep(0.5)")
    done = work.launch("orjson.py")
    assert (done.stdout, done.stderr) == ("__main__\n", "")
    assert {fact["status"] for fact in work.only_run().capture_report} <= {"captured", "skipped"}


def test_the_helper_thread_brings_no_library_before_the_scripts_own(work: Any) -> None:
    work.write("orjson.py", "mine = 1")
    work.write("train.py", "import orjson\nprint(orjson.mine)")
    work.write(
        "startup/sitecustomize.py",  # runs behind our start, and before the script's folder is on the path
        "from autotrack import background, guard\n"
        "background.submit(guard.reason, __import__, 'orjson')\n"
        "print(background.drain(60))",
    )
    done = work.launch("train.py", env={"PYTHONPATH": str(work.folder / "startup")})
    assert (done.stdout.splitlines()[-2:], done.stderr) == (["True", "1"], "")


def test_the_environment_gains_only_names_of_ours(work: Any) -> None:
    work.write(
        "train.py",
        "import os; print(sorted(k for k in os.environ if not k.startswith('AUTOTRACK_')), flush=True)",
    )
    same(work.plain("train.py"), work.launch("train.py"))


def test_no_library_is_imported_for_it(work: Any) -> None:
    work.write(
        "train.py",
        "import sys; print(sorted({m.partition('.')[0] for m in sys.modules} & {'numpy', 'typer', 'rich', 'sqlalchemy', "
        "'psutil', 'zstandard', 'torch', 'sklearn', 'keras', 'lightning', 'transformers', 'click', 'argparse', 'logging'}))",
    )
    done = work.launch("train.py")
    assert done.stdout == "[]\n"


def test_disabled_runs_the_script_and_records_nothing(work: Any) -> None:
    work.write("train.py", "import autotrack; autotrack.log({'x': 1}); print('ran')")
    done = work.launch("train.py", env={"AUTOTRACK_MODE": "disabled"})
    assert (done.stdout, done.stderr, done.returncode) == ("ran\n", "", 0)
    assert work.runs() == []


def test_the_launched_run_exists_before_the_first_line(work: Any) -> None:
    work.write(
        "train.py", "import autotrack; print(autotrack.active_run().name, autotrack.active_run().status)"
    )
    assert work.launch("train.py").stdout == "train.py running\n"


def test_init_takes_the_launched_run_over(work: Any) -> None:
    work.write(
        "train.py",
        "import autotrack\nbefore = autotrack.active_run()\n"
        "run = autotrack.init(name='mine', config={'lr': 0.1}, tags=['t'])\nrun.log({'loss': 1.0})\nprint(run is before)\nrun.finish()\n",
    )
    done = work.launch("--project", "p", "train.py")
    assert (done.stdout, done.stderr) == ("True\n", "")
    run = work.only_run()
    assert (run.name, run.project, run.config, list(run.tags)) == ("mine", "p", {"lr": 0.1}, ["t"])
    assert (run.summary["loss"], run.status) == (1.0, "finished")


@pytest.mark.parametrize(
    ("line", "status", "error"),
    [
        ("pass", "finished", None),
        ("import sys; sys.exit(3)", "failed", ("SystemExit", "3")),
        ("1 / 0", "failed", ("ZeroDivisionError", "division by zero")),
        ("raise KeyboardInterrupt", "interrupted", ("KeyboardInterrupt", "")),
    ],
)
def test_how_the_script_ended_is_in_the_record(work: Any, line: str, status: str, error: Any) -> None:
    work.write("train.py", f"print('begin')\n{line}\n")
    same(work.plain("train.py"), work.launch("train.py"))
    run = work.only_run()
    assert run.status == status
    if error is not None:
        assert (run.error["type"], run.error["message"]) == error


def test_a_script_that_replaces_itself_by_exec_stays_one_run(work: Any) -> None:
    work.write(
        "train.py",
        "import os, sys\nif 'again' not in os.environ:\n    os.environ['again'] = '1'\n"
        "    os.execv(sys.executable, [sys.executable, *sys.argv])\nimport autotrack; autotrack.log({'x': 2.0})\n",
    )
    done = work.launch("train.py")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    run = work.only_run()
    assert (run.status, run.summary["x"]) == ("finished", 2.0)


def test_starting_python_costs_nothing_without_the_variable(work: Any) -> None:
    done = work.plain("-c", "import sys; print([m for m in sys.modules if m.startswith('autotrack')])")
    assert done.stdout == "[]\n"
    assert sys.version_info >= (3, 11)
