"""Every test is strict: an error that autotrack would swallow fails the test."""

import gc

import pytest

from autotrack.testing import store as store
from autotrack.testing import strict as strict


@pytest.fixture(autouse=True)
def _strict(strict: None) -> None:
    """Switch `strict` on for all tests."""


def pytest_collection_finish() -> None:
    """What is loaded by now is never collected: a full collection, as transformers asks for, looks at millions of objects else."""
    gc.collect()
    gc.freeze()
