"""What the tests of the frameworks with callbacks share."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import autotrack


@pytest.fixture(params=["by hand", "autolog"])
def arm(request: pytest.FixtureRequest) -> Iterator[Callable[[], list[Any]]]:
    """The callbacks of a tracked training; the framework is that of the module's `FRAMEWORK`."""
    if request.param == "by hand":
        yield lambda: [autotrack.AutoTrack()]
        return
    getattr(autotrack, request.module.FRAMEWORK).autolog()
    yield list
    autotrack.autolog(disable=True)


@pytest.fixture
def pl(request: pytest.FixtureRequest) -> Any:
    """Lightning, under one of its two names: what `autolog` arms is `pytorch_lightning`, unless a test names it itself."""
    chosen = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    name = "pytorch_lightning" if chosen.get("arm") == "autolog" else "lightning.pytorch"
    return importlib.import_module(getattr(request, "param", name))
