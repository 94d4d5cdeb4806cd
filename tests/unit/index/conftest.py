"""Journals made by hand, line by line, in a store of the test's own."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autotrack.index import Index, open_index
from autotrack.journal.format import encode
from autotrack.layout import Layout, write_private
from autotrack.process import this_process

SECOND = 1_000_000_000
WALL = 1_700_000_000 * SECOND


class Hand:
    """Writes one journal; each event comes a second after the one before, unless `at` (seconds) says otherwise."""

    def __init__(self, layout: Layout, run: str, project: str, **header: Any) -> None:
        self.folder = layout.run_dir(project, run)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.run, self.project = run, project
        facts = this_process()
        # A process of this host and boot that never was: its start time is one that no process has.
        self.facts: dict[str, Any] = {
            "host": facts.host,
            "pid": 999_999,
            "pidns": facts.pidns,
            "boot": facts.boot,
        }
        self.facts |= {"started": 1, "rank": 0, "role": "run", "wall": WALL} | header
        self.base = self.facts["wall"]
        name = f"{self.facts['host']}-{self.facts['pid']}-{self.base}-{self.facts['rank']}"
        self.stem, self.segment, self.seq, self.now = name, -1, 0, 0
        self.next_segment()

    @property
    def path(self) -> Path:
        return self.folder / f"{self.stem}.{self.segment}.jsonl"

    def next_segment(self) -> "Hand":
        """Begin a new file, with its header."""
        self.segment += 1
        clocks = {"segment": self.segment, "wall": self.base + self.now}
        return self.event(
            "h", {"format": 1, "run": self.run, "project": self.project, "by": "hand", **self.facts, **clocks}
        )

    def raw(self, data: bytes) -> "Hand":
        """Bytes as they are."""
        with open(self.path, "ab") as file:
            file.write(data)
        return self

    def line(self, kind: str, *body: Any, at: float | None = None) -> bytes:
        """The bytes of the next event."""
        self.now = self.now + SECOND if at is None else int(at * SECOND)
        line = encode(kind, self.seq, self.now, *body)
        self.seq += 1
        return line

    def event(
        self, kind: str, body: dict[str, Any], child: str | None = None, at: float | None = None
    ) -> "Hand":
        return self.raw(self.line(kind, body, *([child] if child else []), at=at))

    def start(self, child: str | None = None, at: float | None = None, **facts: Any) -> "Hand":
        body = {
            "name": child or self.run,
            "project": self.project,
            "parent": self.run if child else None,
            "group": None,
        }
        body |= {
            "tags": [],
            "notes": "",
            "created": self.base + self.now,
            "opened_by": "init",
            "framework": None,
        }
        return self.event("start", body | {"resumed": False} | facts, child, at)

    def metrics(self, step: int, child: str | None = None, at: float | None = None, **values: Any) -> "Hand":
        named = {key.replace("__", "/"): value for key, value in values.items()}
        return self.raw(self.line("m", step, named, *([child] if child else []), at=at))

    def finish(
        self, status: str = "finished", child: str | None = None, at: float | None = None, **facts: Any
    ) -> "Hand":
        body = {"status": status, "error": None, "exit_code": 0, "own_ns": {}} | facts
        return self.event("finish", body, child, at)


class Bench:
    """A store, its index, and journals made by hand in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout(root)
        self.layout.create()
        self.index: Index = open_index(root)

    def journal(self, run: str = "aaaa222222", project: str = "p", **header: Any) -> Hand:
        return Hand(self.layout, run, project, **header)

    def marker(self, run: str) -> Path:
        path = self.layout.open / run
        write_private(path, b"{}")
        return path

    def read(self, run: str = "aaaa222222") -> Any:
        self.index.sync()
        return self.index.get(run)

    def everything(self, index: Index | None = None) -> Any:
        """All that can be read of the store, to compare."""
        index = index or self.index
        return [
            described(record) for record in sorted(index.runs(archived=True), key=lambda record: record.id)
        ]


def described(record: Any) -> dict[str, Any]:
    """A run as plain values."""
    names = (
        "id name project status error config tags notes group parent artifacts inputs environment capture_report created "
        "finished duration framework archived attempts warnings gaps damaged own_ns dir last_seen opened_by exit_code"
    ).split()
    facts = {name: repr(getattr(record, name)) for name in names}
    history = record.history(attempts=True)
    system = record.history("system")
    return facts | {
        "metrics": {key: repr(value) for key, value in record.metrics.items()},
        "summary": repr(dict(record.summary)),
        "children": [child.id for child in record.children],
        "shown": {key: series_text(series) for key, series in record.history().items()},
        "history": {key: series_text(series) for key, series in [*history.items(), *system.items()]},
    }


def series_text(series: Any) -> str:
    return repr((series.steps.tolist(), series.times.tolist(), series.values.tolist()))


@pytest.fixture
def bench(store: Path) -> Iterator[Bench]:
    bench = Bench(store)
    yield bench
    bench.index.close()


@pytest.fixture(scope="module")
def module_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A store that the tests of a module only read."""
    bench = Bench(tmp_path_factory.mktemp("store") / ".autotrack")
    yield bench
    bench.index.close()


@pytest.fixture
def describe() -> Callable[[Any], dict[str, Any]]:
    return described


@pytest.fixture
def as_nobody() -> bool:
    """Whether file modes stop this user (they do not stop root)."""
    return os.geteuid() != 0
