"""The import hook: when the function is called, how often, and what is left behind."""

import importlib
import importlib.util
import inspect
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autotrack.errors import AutotrackWarning
from autotrack.guard import STRICT
from autotrack.importhook import _finder, _hooks, when_imported

if TYPE_CHECKING:
    from types import ModuleType


class Modules:
    """A folder of throw-away modules on `sys.path`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, code: str) -> None:
        (self.folder / f"{name}.py").write_text(code)
        importlib.invalidate_caches()


@pytest.fixture(autouse=True)
def _nobody_else_waits() -> Iterator[None]:
    """An `AutoTrack` that another test made waits for the frameworks that this process has not imported yet."""
    handles = [handle for handles in _hooks.waiting.values() for handle in handles]
    for handle in handles:
        _hooks.remove(handle)
    yield
    for handle in handles:
        _hooks.add(handle)


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[Modules]:
    before = set(sys.modules)
    sys.path.insert(0, str(tmp_path))
    yield Modules(tmp_path)
    sys.path.remove(str(tmp_path))
    for name in set(sys.modules) - before:
        if name.startswith("hooked_"):
            del sys.modules[name]


def test_the_function_is_called_once_the_module_is_complete_and_before_the_importer_goes_on(
    modules: Modules,
) -> None:
    modules.write("hooked_plain", "a = 1\nb = 2\n")
    seen: list[tuple[str, int]] = []
    handle = when_imported("hooked_plain", lambda module: seen.append((module.__name__, module.b)))
    assert _finder in sys.meta_path
    assert seen == []
    importlib.import_module("hooked_plain")
    assert seen == [("hooked_plain", 2)]
    assert _finder not in sys.meta_path
    handle.cancel()


def test_it_is_called_at_once_for_a_module_that_is_imported(modules: Modules) -> None:
    modules.write("hooked_early", "")
    module = importlib.import_module("hooked_early")
    seen: list[ModuleType] = []
    when_imported("hooked_early", seen.append)
    assert seen == [module]
    assert _finder not in sys.meta_path


def test_several_functions_wait_for_one_module_in_order(modules: Modules) -> None:
    modules.write("hooked_many", "")
    seen: list[int] = []
    when_imported("hooked_many", lambda _: seen.append(1))
    cancelled = when_imported("hooked_many", lambda _: seen.append(2))
    when_imported("hooked_many", lambda _: seen.append(3))
    cancelled.cancel()
    cancelled.cancel()
    importlib.import_module("hooked_many")
    assert seen == [1, 3]


def test_cancelling_the_last_one_takes_the_finder_out(modules: Modules) -> None:
    before = list(sys.meta_path)
    first = when_imported("hooked_never", print)
    second = when_imported("hooked_never_either", print)
    first.cancel()
    assert _finder in sys.meta_path
    second.cancel()
    assert sys.meta_path == before


def test_the_module_has_its_real_loader_while_its_code_runs(modules: Modules) -> None:
    code = "loader = type(__loader__).__name__, type(__spec__.loader).__name__\ndef f():\n    return 1\n"
    modules.write("hooked_loader", code)
    when_imported("hooked_loader", lambda _: None)
    module = importlib.import_module("hooked_loader")
    assert module.loader == ("SourceFileLoader", "SourceFileLoader")
    assert "return 1" in inspect.getsource(module.f)
    assert importlib.reload(module) is module


def test_a_reload_does_not_call_it_again(modules: Modules) -> None:
    modules.write("hooked_reload", "")
    seen: list[ModuleType] = []
    when_imported("hooked_reload", seen.append)
    module = importlib.import_module("hooked_reload")
    importlib.reload(module)
    assert seen == [module]


def test_a_module_whose_import_fails_is_waited_for_again(modules: Modules) -> None:
    modules.write("hooked_broken", "raise KeyError('first')\n")
    seen: list[ModuleType] = []
    handle = when_imported("hooked_broken", seen.append)
    with pytest.raises(KeyError, match="first"):
        importlib.import_module("hooked_broken")
    assert seen == []
    modules.write("hooked_broken", "fine = True\n")
    assert importlib.import_module("hooked_broken").fine
    assert len(seen) == 1
    handle.cancel()


def test_a_missing_module_raises_as_without_us(modules: Modules) -> None:
    handle = when_imported("hooked_missing", print)
    with pytest.raises(ModuleNotFoundError, match="No module named 'hooked_missing'"):
        importlib.import_module("hooked_missing")
    handle.cancel()


def test_an_error_in_the_function_becomes_a_warning(modules: Modules) -> None:
    modules.write("hooked_error", "fine = True\n")
    strict, STRICT["on"] = STRICT["on"], False
    try:
        when_imported("hooked_error", lambda module: module.nothing)
        with pytest.warns(AutotrackWarning, match="hooked_error"):
            assert importlib.import_module("hooked_error").fine
    finally:
        STRICT["on"] = strict


def test_registered_while_the_module_runs_it_is_called_when_that_is_over(modules: Modules) -> None:
    code = (
        "import hooked_registry\n"
        "hooked_registry.register()\n"
        "seen_inside = list(hooked_registry.seen)\n"
        "late = 1\n"
    )
    modules.write("hooked_registry", "seen = []\nregister = None\n")
    modules.write("hooked_running", code)
    registry = importlib.import_module("hooked_registry")
    registry.register = lambda: when_imported(
        "hooked_running", lambda module: registry.seen.append(module.late)
    )
    module = importlib.import_module("hooked_running")
    assert module.seen_inside == []
    assert registry.seen == [1]
    assert type(module.__spec__) is importlib.machinery.ModuleSpec
    assert _finder not in sys.meta_path


def test_registered_while_a_module_runs_that_fails_it_keeps_waiting(modules: Modules) -> None:
    modules.write("hooked_registry_two", "register = None\n")
    modules.write("hooked_failing", "import hooked_registry_two\nhooked_registry_two.register()\n1 / 0\n")
    registry = importlib.import_module("hooked_registry_two")
    seen: list[ModuleType] = []
    handles = []
    registry.register = lambda: handles.append(when_imported("hooked_failing", seen.append))
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("hooked_failing")
    assert seen == []
    modules.write("hooked_failing", "fine = True\n")
    importlib.import_module("hooked_failing")
    assert len(seen) == 1


def test_a_module_that_replaces_itself_is_given_as_it_stands_in_sys_modules(modules: Modules) -> None:
    code = "import sys, types\nother = types.ModuleType('hooked_self')\nsys.modules[__name__] = other\n"
    modules.write("hooked_self", code)
    seen: list[ModuleType] = []
    when_imported("hooked_self", seen.append)
    module = importlib.import_module("hooked_self")
    assert seen == [module]
    assert module is sys.modules["hooked_self"]


def test_a_lazily_loaded_module_fires_when_its_code_runs(modules: Modules) -> None:
    modules.write("hooked_lazy", "value = 5\n")
    seen: list[int] = []
    when_imported("hooked_lazy", lambda module: seen.append(module.value))
    spec = importlib.util.find_spec("hooked_lazy")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules["hooked_lazy"] = module
    assert spec.loader is not None
    spec.loader.exec_module(module)
    assert seen == []
    assert module.value == 5
    assert seen == [5]


def test_four_threads_that_import_cause_one_call(modules: Modules) -> None:
    modules.write("hooked_threads", "import time\ntime.sleep(0.05)\n")
    seen: list[ModuleType] = []
    when_imported("hooked_threads", seen.append)
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        importlib.import_module("hooked_threads")
        assert len(seen) == 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 1


def test_other_finders_are_asked_in_their_order(modules: Modules, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere.py"
    other.write_text("found_by = 'the other finder'\n")
    modules.write("hooked_found", "found_by = 'the path'\n")

    class Other:
        def find_spec(self, name: str, path: object, target: object) -> object:
            if name != "hooked_found":
                return None
            return importlib.util.spec_from_file_location(name, other)

    finder = Other()
    sys.meta_path.insert(0, finder)
    try:
        seen: list[str] = []
        when_imported("hooked_found", lambda module: seen.append(module.found_by))
        assert importlib.import_module("hooked_found").found_by == "the other finder"
        assert seen == ["the other finder"]
    finally:
        sys.meta_path.remove(finder)


def test_packages_submodules_and_their_resources_work(modules: Modules) -> None:
    package = modules.folder / "hooked_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("x = 1\n")
    (package / "data.txt").write_text("text")
    importlib.invalidate_caches()
    seen: list[str] = []
    when_imported("hooked_package", lambda module: seen.append(module.__name__))
    when_imported("hooked_package.inner", lambda module: seen.append(module.__name__))
    importlib.import_module("hooked_package")
    assert seen == ["hooked_package"]
    importlib.import_module("hooked_package.inner")
    assert seen == ["hooked_package", "hooked_package.inner"]
    resources = importlib.import_module("importlib.resources")
    assert resources.files("hooked_package").joinpath("data.txt").read_text() == "text"


def test_it_loads_nothing_that_is_heavy() -> None:
    code = (
        "import sys; bare = set(sys.modules)\n"
        "import autotrack.importhook\n"
        "new = set(sys.modules) - bare\n"
        "heavy = {'importlib.abc', 'importlib.metadata', 'inspect', 'logging', 'subprocess', 'numpy'}\n"
        "sys.exit(repr(new & heavy) if new & heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
