"""Stands for the conftest.py at the root of Keras' repository, which its package lacks and whose `skip_if_backend` its tests import."""

import keras
import pytest


def skip_if_backend(given_backend: str, reason: str) -> pytest.MarkDecorator:
    """Skip on one backend."""
    return pytest.mark.skipif(keras.backend.backend() == given_backend, reason=reason)


def pytest_configure(config: pytest.Config) -> None:
    """The marks that are used."""
    for mark in ("requires_trainable_backend", "multi_device"):
        config.addinivalue_line("markers", mark)
