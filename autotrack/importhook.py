"""Run a function when a module has been imported, without importing it: `when_imported("sklearn.base",
function)`.

A finder of ours stands in `sys.meta_path` only while there is something to wait for. It finds nothing itself:
it asks the other finders, and puts a loader in front of theirs that calls the functions once the module's
code has run, before the importing code gets the module. `importlib.abc` and `importlib.util` cost ten times
what this does, and are not needed.
"""

import os
import sys
from _thread import RLock, _local
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from autotrack.guard import attempt

RUNNING = "_initializing"  # the import system sets it on a spec while the module's code runs

Hook = Callable[[ModuleType], object]


class Handle:
    """One function that waits for one module."""

    __slots__ = ("_function", "module_name")

    def __init__(self, module_name: str, function: Hook) -> None:
        self.module_name = module_name
        self._function: Hook | None = function

    def cancel(self) -> None:
        """Wait no longer; does nothing when the function has been called, or on a second call."""
        with _hooks.lock:
            self._function = None
            _hooks.remove(self)

    def fire(self, module: ModuleType) -> None:
        with _hooks.lock:
            function, self._function = self._function, None
            _hooks.remove(self)
        if function is not None:
            attempt(f"the part of autotrack that waits for {self.module_name}", function, module)


class _Hooks:
    """What is waited for, by module name."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.waiting: dict[str, list[Handle]] = {}
        self.asking = _local()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.after_fork)

    def after_fork(self) -> None:
        self.lock = RLock()

    def add(self, handle: Handle) -> None:
        self.waiting.setdefault(handle.module_name, []).append(handle)
        if not any(finder is _finder for finder in sys.meta_path):
            sys.meta_path.insert(0, _finder)

    def remove(self, handle: Handle) -> None:
        handles = self.waiting.get(handle.module_name, [])
        if handle in handles:
            handles.remove(handle)
        if not handles:
            self.waiting.pop(handle.module_name, None)
        if not self.waiting and any(finder is _finder for finder in sys.meta_path):
            # A new list, not remove(): an import in another thread may be walking the old one, and would skip
            # a finder.
            sys.meta_path = [finder for finder in sys.meta_path if finder is not _finder]

    def fire(self, name: str, module: ModuleType) -> None:
        with self.lock:
            handles = list(self.waiting.get(name, ()))
        for handle in handles:
            handle.fire(module)


class _Finder:
    """Stands first in `sys.meta_path`; for a module nobody waits for it costs one dictionary look-up."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        asking = _hooks.asking.__dict__
        if name not in _hooks.waiting or name in asking:
            return None
        asking[name] = True
        try:
            spec = _ask_others(name, path, target)
        finally:
            del asking[name]
        if spec is None or not hasattr(spec.loader, "exec_module"):
            return None
        loader: Any = _Loader(spec.loader, name)
        spec.loader = loader
        return spec


class _Loader:
    """The real loader, and a call behind its `exec_module`."""

    def __init__(self, loader: Any, name: str) -> None:
        self._loader = loader
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The module gets its real loader back before its code runs: resources, getsource and reload all look
        # at it.
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        _hooks.fire(self._name, sys.modules.get(self._name, module))

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._loader, attribute)


class _BeingLoaded(ModuleSpec):
    """The spec of a module whose code is running now: the import system's last act, `_initializing = False`,
    is the call.
    """

    @property
    def _initializing(self) -> bool:
        return True

    @_initializing.setter
    def _initializing(self, value: bool) -> None:
        if value:
            return
        object.__setattr__(self, "__class__", ModuleSpec)
        self.__dict__[RUNNING] = False
        module = sys.modules.get(self.name)
        if module is not None:
            _hooks.fire(self.name, module)


def when_imported(module_name: str, function: Hook) -> Handle:
    """Call `function(module)` once: now if the module is imported, else when its import has finished.

    An error in it is warned of and goes no further. A module whose import fails is waited for again.
    """
    handle = Handle(module_name, function)
    with _hooks.lock:
        _hooks.add(handle)
        module = sys.modules.get(module_name)
    if module is None:
        return handle
    spec = getattr(module, "__spec__", None)
    if not getattr(spec, RUNNING, False):
        handle.fire(module)
    elif type(spec) is ModuleSpec:
        object.__setattr__(spec, "__class__", _BeingLoaded)
        if not spec.__dict__.get(RUNNING, False):  # it finished between our two looks
            setattr(spec, RUNNING, False)
    return handle


def _ask_others(name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    for finder in list(sys.meta_path):
        find = getattr(finder, "find_spec", None)
        if finder is _finder or find is None:
            continue
        spec: ModuleSpec | None = find(name, path, target)
        if spec is not None:
            return spec
    return None


_hooks = _Hooks()
_finder = _Finder()
