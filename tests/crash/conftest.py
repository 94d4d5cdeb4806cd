"""Victims that are gone at the latest when their test ends, and the preloaded libraries that some of them run with."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from oracle import Victim


@pytest.fixture
def victim(store: Path, tmp_path: Path) -> Iterator[Callable[..., Victim]]:
    """Start a victim that records into the test's store (`into=`: a store of that name beside it)."""
    started: list[Victim] = []

    def start(code: str, *wrap: str, into: str | None = None, **environment: str) -> Victim:
        folder = tmp_path / f"victim{len(started)}"
        place = store if into is None else tmp_path / "stores" / into
        started.append(Victim(code, folder, place, wrap, **environment))
        return started[-1]

    yield start
    for one in started:
        try:
            os.killpg(one.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if one.process.stdout is not None and not one.process.stdout.closed:
            one.end()


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Compile tests/support/<name>.c with cc into a library for LD_PRELOAD; its path."""
    folder = tmp_path_factory.mktemp("libraries")

    def build(name: str) -> str:
        target = folder / f"{name}.so"
        if not target.exists():
            source = Path(__file__).parent.parent / "support" / f"{name}.c"
            subprocess.run(
                ["cc", "-O1", "-shared", "-fPIC", "-o", target, source, "-ldl", "-lpthread"], check=True
            )
        return str(target)

    return build
