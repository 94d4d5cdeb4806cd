"""The contract of an integration, and how integrations are found.

An integration is one class in one module, named in the entry point group "autotrack.integrations". Its author
writes the three class attributes and `_install`; when to call it, the versions, arming twice, undoing and
errors are settled here.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt, ne
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, final

from autotrack.config import setting
from autotrack.errors import UnsupportedVersion
from autotrack.guard import attempt, reason, warn
from autotrack.importhook import Handle, when_imported
from autotrack.patcher import Patcher
from autotrack.plugins import entry_points, load, normal, version_of

if TYPE_CHECKING:
    from autotrack.options import Options

GROUP = "autotrack.integrations"


class Integration(ABC):
    """One framework's adapter.

    `name`: as in `autotrack.<name>.autolog()`. `targets`: modules whose import triggers `_install`, each
    once.
    `supports`: distribution -> version specifier; one that has the name of a target's top package is checked
    for that target only, any other for all.
    """

    name: ClassVar[str]
    targets: ClassVar[tuple[str, ...]]
    supports: ClassVar[Mapping[str, str]]

    def __init__(self) -> None:
        self.patcher = Patcher()
        self.patcher.restore()
        self._options: Options | None = None
        self._handles: list[Handle] = []
        self.refused = False
        """Whether what was imported of the framework lies outside `supports`, so that nothing of it is recorded."""
        self._served = False

    @property
    def installed(self) -> bool:
        """Whether it is armed now."""
        return self.patcher.live

    @property
    def options(self) -> "Options":
        """What `autolog()` was given last; read it when a training starts, it may change."""
        if self._options is None:
            raise RuntimeError(f"the integration {self.name!r} has no options before install()")
        return self._options

    @final
    def install(self, options: "Options") -> None:
        """Arm it: at once for targets that are imported, else when they are. Armed already, it only takes the
        options.
        """
        self._options = options
        if self.installed:
            return
        patcher = self.patcher = Patcher()
        self._served = self.refused = False
        for target in self.targets:
            self._handles.append(when_imported(target, lambda module: self._arm(patcher, module)))

    @final
    def uninstall(self) -> None:
        """Undo it all: the very originals stand where they stood. Does nothing when it is not armed."""
        if not self.installed:
            return
        handles, self._handles = self._handles, []
        for handle in handles:
            handle.cancel()
        attempt(f"taking the {self.name} integration out", self._uninstall)
        self.patcher.restore()

    @final
    def check(self) -> None:
        """Raise UnsupportedVersion when an installed version lies outside `supports`; nothing is imported for
        it.
        """
        for target in self.targets:
            problem = self._problem(target)
            if problem is not None:
                raise UnsupportedVersion(problem)

    @abstractmethod
    def _install(self, module: ModuleType) -> None:
        """Patch what `module` (one of the targets, just imported) brings, through `self.patcher`; import
        nothing.
        """

    def _uninstall(self) -> None:
        """Undo what was not done through the patcher."""
        return

    def _arm(self, patcher: Patcher, module: ModuleType) -> None:
        if not patcher.live:
            return
        problem = self._problem(module.__name__)
        if problem is None:
            self._served, self.refused = True, False
            self._install(module)
            return
        self.refused = not self._served
        warn("unsupported-version", f"{problem} Nothing of {self.name} is recorded.", key=problem)

    def _problem(self, target: str) -> str | None:
        top = normal(target.partition(".")[0])
        tops = {normal(name.partition(".")[0]) for name in self.targets}
        for distribution, specifier in self.supports.items():
            if normal(distribution) in tops and normal(distribution) != top:
                continue
            version = version_of(distribution)
            if version is not None and not _within(version, specifier):
                problem = (
                    f"{distribution} {version} is installed, and {self.name} is recorded for {specifier}"
                )
                remedy = f"autotrack.autolog(exclude=[{self.name!r}])"
                return f"{problem}; install a version in that range, or leave it out: {remedy}."
        return None


def _within(version: str, specifier: str) -> bool:
    """Whether a version lies in a range such as ">=1.5,<2"; a pre-release counts as its release.

    `packaging.specifiers` would know more operators; it costs 20 ms to import, `packaging.version` 3.
    """
    from packaging.version import Version

    have = Version(Version(version).base_version)
    for clause in specifier.split(","):
        sign, bound = clause.strip()[:2].rstrip("0123456789. "), clause.strip().lstrip("<>=! ")
        if not _COMPARE[sign](have, Version(bound)):
            return False
    return True


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {">=": ge, "<": lt, "<=": le, ">": gt, "!=": ne, "==": eq}

_known: dict[str, Integration | None] = {}


def discover() -> dict[str, Integration]:
    """Every integration that is installed and not switched off, by name; the same objects each time.

    AUTOTRACK_DISABLE_INTEGRATIONS=name,… (or *) switches off. One that cannot be loaded is
    named in one warning.
    """
    found = {}
    for name, value in entry_points(GROUP).items():
        if not switched_off(name):
            integration = _loaded(name, value)
            if integration is not None:
                found[name] = integration
    return found


def switched_off(name: str) -> bool:
    """Whether AUTOTRACK_DISABLE_INTEGRATIONS names this integration, or all with `*`."""
    words = {word.strip().lower() for word in (setting("DISABLE_INTEGRATIONS") or "").split(",")}
    return "*" in words or name.lower() in words


def _loaded(name: str, value: str) -> Integration | None:
    if name not in _known:
        made, why = reason(_make, value)
        if why is not None:
            problem = f"the integration {name!r} ({value}) cannot be loaded: {why}."
            warn("integration-not-loaded", f"{problem} The others are not affected.", key=name)
        _known[name] = made
    return _known[name]


def _make(value: str) -> Integration:
    made = load(value)()
    if not isinstance(made, Integration):
        raise TypeError(f"{value} is no Integration")
    return made
