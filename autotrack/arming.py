"""Arming the integrations: `autotrack.autolog()` for all of them, `autotrack.<framework>.autolog()` for
one.
"""

import os
from _thread import RLock
from collections.abc import Iterable
from typing import Any

from autotrack import session
from autotrack.errors import AutotrackError
from autotrack.everywhere import together
from autotrack.guard import silence, warn
from autotrack.integration import GROUP, Integration, discover, switched_off
from autotrack.options import Options, options_of
from autotrack.plugins import entry_points


class _Armed:
    """What was asked for last: by framework (None: switched off by name), and the lock that orders the
    askers.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self.by_name: dict[str, Options | None] = {}
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.after_fork)

    def after_fork(self) -> None:
        self.lock = RLock()


_armed = _Armed()


def autolog(
    *,
    project: str | None = None,
    name: str | None = None,
    tags: Iterable[str] | None = None,
    group: str | None = None,
    resume: str | bool | None = None,
    log_model: str | bool | None = None,
    log_every: int = 1,
    disable: bool = False,
    exclusive: bool = False,
    silent: bool = False,
    exclude: Iterable[str] = (),
) -> None:
    """Record every training of every framework that has an integration, imported already or later; imports
    none.

    `project`, `name`, `tags`, `group`: given to each run that is opened for a training. `resume="never"`: a training
    that is resumed from a checkpoint is a new run; else the run that wrote it goes on. `log_model`: which checkpoints
    are stored, as in `autotrack.init`. `log_every`: as in `AutoTrack`. `exclude`: frameworks to leave out, by name.
    `exclusive`: nothing is recorded by itself in a run that you opened with `init()`, nor beneath it; only what you log there, and
    trainings that you gave an `AutoTrack`. `silent`: no warnings of autotrack are shown in this process, they are recorded
    only. Of these two the last call of an `autolog` decides.
    Called again it replaces all of these. `disable=True` undoes everything, also what was armed by name: the frameworks' own
    functions stand where they stood. A framework that was given its own settings (`autotrack.sklearn.autolog(…)`) keeps them.
    """
    with _armed.lock, together():
        if disable:
            silence(False)
            session.set_exclusive(False)
            _armed.by_name.clear()
            for integration in discover().values():
                integration.uninstall()
            return
        left_out = _names(exclude)
        options = options_of(
            project, name, () if tags is None else tags, group, resume, log_model, log_every, exclusive
        )
        silence(silent)
        session.set_exclusive(exclusive)
        found = discover()
        for framework, integration in found.items():
            if framework in _armed.by_name:
                continue
            if framework in left_out:
                integration.uninstall()
            else:
                integration.install(options)


def autolog_one(
    framework: str,
    *,
    project: str | None = None,
    name: str | None = None,
    tags: Iterable[str] | None = None,
    group: str | None = None,
    resume: str | bool | None = None,
    log_model: str | bool | None = None,
    log_every: int = 1,
    disable: bool = False,
    exclusive: bool = False,
    silent: bool = False,
) -> None:
    """Record every training of one framework; its settings win over those of `autolog()`, also when called
    before it.

    `disable=True` switches it off, and `autolog()` leaves it off. Raises UnsupportedVersion where the
    installed version is outside the range that the integration is made for, AutotrackError for a framework
    without an integration.
    """
    with _armed.lock, together():
        integration = _one(framework)
        if integration is None:
            return
        if disable:
            _armed.by_name[framework] = None
            integration.uninstall()
            return
        integration.check()
        options = options_of(
            project, name, () if tags is None else tags, group, resume, log_model, log_every, exclusive
        )
        silence(silent)
        session.set_exclusive(exclusive)
        _armed.by_name[framework] = options
        integration.install(options)


class Framework:
    """What `autotrack.<framework>` is: the place of that framework's own `autolog`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def autolog(self, **options: Any) -> None:
        """`autolog_one` for this framework: project, name, tags, group, resume, log_model, log_every, disable, exclusive, silent."""
        autolog_one(self.name, **options)

    def __repr__(self) -> str:
        return f"<autotrack.{self.name}>"


def frameworks() -> list[str]:
    """The names of all integrations that are installed; none is loaded for it."""
    return sorted(entry_points(GROUP))


def _one(framework: str) -> Integration | None:
    if framework not in entry_points(GROUP):
        known = ", ".join(frameworks()) or "none"
        raise AutotrackError(f"there is no integration called {framework!r}; installed are: {known}")
    if switched_off(framework):
        warn(
            "switched-off",
            f"{framework} is not recorded: AUTOTRACK_DISABLE_INTEGRATIONS names it; unset that to record it.",
            key=framework,
        )
        return None
    integration = discover().get(framework)
    if integration is None:
        raise AutotrackError(f"the integration {framework!r} cannot be loaded; the warning above says why")
    return integration


def _names(exclude: Iterable[str]) -> set[str]:
    return {exclude} if isinstance(exclude, str) else set(exclude)
