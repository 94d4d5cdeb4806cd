"""Every test is strict: an error that autotrack would swallow fails the test. None leaves a handler of a signal behind."""

import gc
import signal
from collections.abc import Iterator

import pytest

from autotrack.testing import store as store
from autotrack.testing import strict as strict


@pytest.fixture(autouse=True)
def _strict(strict: None) -> None:
    """Switch `strict` on for all tests."""


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Lightning leaves its handlers where a training fails as it is torn down; a pool of forked processes would never end with them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_collection_finish() -> None:
    """What is loaded by now is never collected: a full collection, as transformers asks for, looks at millions of objects else."""
    gc.collect()
    gc.freeze()
