"""What the tests of the frameworks with callbacks share."""

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
