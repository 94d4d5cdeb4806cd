"""Running the providers for a run, each by itself, and writing down what came of it.

Many runs may be opened in one process: facts are gathered once and written again for each further run.
"""

import os
from time import monotonic, perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from autotrack.capture.base import Capture, Skip
from autotrack.capture.command import Command, Host, Python
from autotrack.capture.git import Git
from autotrack.capture.gpu import Gpu
from autotrack.capture.hardware import Hardware
from autotrack.capture.packages import Packages
from autotrack.guard import reason

if TYPE_CHECKING:
    from autotrack.layout import Layout
    from autotrack.run import Run

_FAILURE_LASTS = 60.0


class _Report(NamedTuple):
    """What one provider said, and when (seconds of the monotonic clock)."""

    status: str
    why: str | None
    facts: dict[str, Any]
    at: float


_known: dict[tuple[Any, ...], dict[str, _Report]] = {}


def collect(run: "Run") -> None:
    """Describe what surrounds a run: one "capture" event for each provider. Runs on the helper thread."""
    known = _reports_here(run.layout)
    for provider in providers(run.layout):
        started = perf_counter_ns()
        report = known.get(provider.name)
        if report is None or not _holds(provider, report):
            report = known[provider.name] = _ask(provider)
        took = round((perf_counter_ns() - started) / 1e6, 3)
        run.event(
            "capture",
            {
                "what": provider.name,
                "status": report.status,
                "why": report.why,
                "ms": took,
                "facts": report.facts,
            },
        )


def providers(layout: "Layout") -> tuple[Capture, ...]:
    """Every provider, the quick ones first."""
    return Command(), Python(), Host(), Hardware(layout.root), Gpu(), Git(), Packages(layout)


def _reports_here(layout: "Layout") -> dict[str, _Report]:
    """What is known for this process, working folder, store and choice of GPUs."""
    try:
        folder = os.getcwd()
    except OSError:
        folder = ""
    key = (os.getpid(), folder, str(layout.root), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if key not in _known:
        _known.clear()
        _known[key] = {}
    return _known[key]


def _holds(provider: Capture, report: _Report) -> bool:
    lasts = min(provider.lasts, _FAILURE_LASTS) if report.status == "failed" else provider.lasts
    return monotonic() - report.at < lasts and provider.holds(report.facts)


def _ask(provider: Capture) -> _Report:
    answer, error = reason(_facts_or_skip, provider)
    now = monotonic()
    if answer is None:
        return _Report("failed", error, {}, now)
    if isinstance(answer, Skip):
        return _Report("skipped", str(answer), {}, now)
    return _Report("captured", provider.note, answer, now)


def _facts_or_skip(provider: Capture) -> dict[str, Any] | Skip:
    try:
        return provider.collect()
    except Skip as skip:
        return skip
