"""What the tests of the frameworks with callbacks share."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakSet
from zlib import crc32

import pytest

import autotrack

HERE = Path(__file__).parent
ARMS = ("by hand", "autolog")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test that is there for both arms one is `second`: about as many of each, and always the same."""
    for item in items:
        if HERE not in item.path.parents or not hasattr(item, "callspec"):
            continue
        for word in ARMS:
            if word in item.callspec.params.values():
                name = item.nodeid.partition("::")[2].replace(word, "")
                if word != ARMS[crc32(name.encode()) % 2]:
                    item.add_marker(pytest.mark.second)


@pytest.fixture(params=ARMS)
def arm(request: pytest.FixtureRequest) -> Iterator[Callable[[], list[Any]]]:
    """The callbacks of a tracked training; the framework is that of the module's `FRAMEWORK`."""
    if request.param == ARMS[0]:
        yield lambda: [autotrack.AutoTrack()]
        return
    getattr(autotrack, request.module.FRAMEWORK).autolog()
    yield list
    autotrack.autolog(disable=True)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No AutoTrack of another test counts. Some are never freed: scikit-learn keeps the hooks whose signatures it has asked for."""
    monkeypatch.setattr("autotrack.callback._live", WeakSet())


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of scikit-learn is kept however long it takes to pickle it beside other tests."""
    monkeypatch.setattr("autotrack.integrations._sklearn_model._LEAST_SECONDS", 1000.0)


@pytest.fixture
def pl(request: pytest.FixtureRequest) -> Any:
    """Lightning, under one of its two names: what `autolog` arms is `pytorch_lightning`, unless a test names it itself."""
    chosen = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    name = "pytorch_lightning" if chosen.get("arm") == "autolog" else "lightning.pytorch"
    return importlib.import_module(getattr(request, "param", name))
