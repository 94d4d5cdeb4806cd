"""A plugin of pytest: writes each test's result to a file, one JSON line a test; with ARMED set, `autolog()` is on first.

Named by `-p`, so that it is loaded before any conftest and any test, as a conftest of the user's own would be.
"""

import json
import os
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

RESULTS = os.environ["AUTOTRACK_SUITE_RESULTS"]
ARMED = os.environ.get("AUTOTRACK_SUITE_ARMED") == "1"
PROCESS = os.getpid()
ADDRESS = re.compile(r"0x[0-9a-f]{6,}")

if ARMED:
    import autotrack

    autotrack.autolog()

_found: dict[str, tuple[str, str]] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the worst of the phases of a test; write it after the last one."""
    if outcome := _outcome(report):
        _found[report.nodeid] = (outcome, _why(report.longrepr))
    if report.when == "teardown" and os.getpid() == PROCESS:
        outcome, why = _found.pop(report.nodeid, ("none", ""))
        _write(test=ADDRESS.sub("0x", report.nodeid), outcome=outcome, why=why)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that cannot be imported counts as one test."""
    if report.failed:
        _write(test=report.nodeid, outcome="error", why=_why(report.longrepr))


def pytest_warning_recorded(warning_message: warnings.WarningMessage, nodeid: str) -> None:
    """Warnings of autotrack: there should be none of its own errors among them."""
    if warning_message.category.__module__.partition(".")[0] == "autotrack":
        _write(warning=str(warning_message.message), test=nodeid)


def pytest_sessionfinish(exitstatus: int) -> None:
    """All tests were run, and autotrack was what it should have been: armed, or never imported."""
    if os.getpid() == PROCESS:
        _write(
            ended=exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED),
            imported="autotrack" in sys.modules,
        )


def _outcome(report: pytest.TestReport) -> str:
    if report.when != "call" and report.failed:
        return "error"
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.when == "call" or report.skipped:
        return report.outcome
    return ""


def _why(shown: Any) -> str:
    crash = getattr(getattr(shown, "reprcrash", None), "message", None)
    lines: Iterator[str] = iter(str(crash or shown or "").strip().splitlines())
    return next(lines, "")[:300]


def _write(**line: Any) -> None:
    with open(RESULTS, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
