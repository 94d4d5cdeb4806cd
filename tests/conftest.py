"""Every test is strict: an error that autotrack would swallow fails the test."""

import pytest

from autotrack.testing import store as store
from autotrack.testing import strict as strict


@pytest.fixture(autouse=True)
def _strict(strict: None) -> None:
    """Switch `strict` on for all tests."""
