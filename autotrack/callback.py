"""`AutoTrack`: one object for the `callbacks` of every framework that has an adapter.

An adapter is a class named in the entry point group "autotrack.callbacks" (framework -> class). It has a method for each
hook of its framework that it wants, and says which classes the framework's callbacks derive from; loading it imports no
framework. `AutoTrack` gets a method for each of these hooks. Where two frameworks use one name for different hooks, the
shape of the arguments decides (`Adapter.claims`). The frameworks' own classes become bases of the object as soon as they
are imported, before or after the object is made, so that `isinstance` holds wherever a framework asks.
"""

import sys
from collections.abc import Callable, Iterable
from types import MethodType, ModuleType
from typing import Any, ClassVar, Generic, TypeVar
from weakref import ReferenceType, WeakSet, ref

from autotrack.elsewhere import Place
from autotrack.guard import reason, shielded_method, warn
from autotrack.importhook import when_imported
from autotrack.integration import Integration
from autotrack.late import log_late
from autotrack.options import Options, options_of
from autotrack.plugins import entry_points, load
from autotrack.run import Run
from autotrack.session import active_run, recording, unasked
from autotrack.training import Training

GROUP = "autotrack.callbacks"

_CHANGES = ("auto/lr", "auto/nonfinite")

V = TypeVar("V")


class ByIdentity(Generic[V]):
    """Values by object: keeps no object alive, and needs no `__hash__` of it."""

    def __init__(self) -> None:
        self._items: dict[int, tuple[ReferenceType[Any], V]] = {}

    def get(self, owner: Any) -> V | None:
        """The value of this very object, None without one."""
        item = self._items.get(id(owner))
        return item[1] if item is not None and item[0]() is owner else None

    def set(self, owner: Any, value: V) -> None:
        """Keep a value for as long as the object lives."""
        items, number = self._items, id(owner)

        def forget(gone: ReferenceType[Any]) -> None:
            item = items.get(number)
            if item is not None and item[0] is gone:
                del items[number]

        items[number] = (ref(owner, forget), value)

    def living(self) -> list[tuple[Any, V]]:
        """The objects that are there still, each with its value, the newest first."""
        found = [(item[0](), item[1]) for item in list(self._items.values())[::-1]]
        return [(owner, value) for owner, value in found if owner is not None]

    def drop(self, owner: Any) -> None:
        """Forget the value of this object, if there is one."""
        if self.get(owner) is not None:
            del self._items[id(owner)]


class Recording:
    """One training of one trainer that is being recorded, or was: what is logged after its end still finds its run."""

    def __init__(self, training: Training, supervised: bool) -> None:
        self.run = training.run
        self.supervised = supervised
        """Whether a wrap around the whole training ends it; without one the framework's last hook has to."""
        self.error: BaseException | None = None
        self.active = True
        self._training = training
        self.every = training.log_every
        """Of the values that every step has, those of each n-th one are recorded."""

    def due(self, steps: int) -> bool:
        """Whether the values of this step are recorded, the last of so many: all are, unless `log_every` says otherwise."""
        return steps % self.every == 0

    def log_step(self, values: dict[str, Any], step: int) -> None:
        """Record the values of a step, the last of so many; of one that is left out, what is told only when it changes."""
        if self.every != 1 and not self.due(step):
            values = {name: value for name, value in values.items() if name.startswith(_CHANGES)}
        if self.active and values:
            self.run.log(values, step)
        else:
            self.log(values, step)

    def log(self, values: dict[str, Any], step: int) -> None:
        """Record metrics, also when the run has ended."""
        if not values:
            return
        if self.active:
            self.run.log(values, step=step)
        elif recording():
            log_late(self.run, values, step)

    def finish(self, error: BaseException | None = None) -> None:
        """The training is over; an error that a hook was told of counts before the one that came out of the call."""
        if self.active:
            self.active = False
            self._training.finish(self.error or error)
            self.error = None


def open_run() -> Run | None:
    """The run for what is evaluated without a training: the active one, unless nothing is to be recorded here."""
    run: Run | None = unasked(active_run()) if recording() else None
    return run


class Watch(Integration):
    """The wraps that an explicit `AutoTrack` needs beside its hooks: most frameworks tell no callback of a failure.

    They act for trainers that were given an `AutoTrack`, and for all trainers while `autolog()` is on. They are put in place
    with the first `AutoTrack`, and taken out by `autolog(disable=True)` when no `AutoTrack` made by hand is left.
    """

    def __init__(self) -> None:
        super().__init__()
        self.autolog: Integration | None = None

    def follow(self, integration: Integration) -> None:
        """`autolog()` is on: every trainer counts."""
        self.autolog = integration
        self.install(integration.options)

    def unfollow(self) -> None:
        """`autolog()` is off."""
        self.autolog = None
        if not any(tracker.by_hand for tracker in _live):
            self.uninstall()


class Adapter:
    """One framework's side of `AutoTrack`; a subclass has a method for each hook that it wants, under the hook's own name.

    What a hook returns is not handed on, and its errors end in a warning.
    """

    bases: ClassVar[tuple[tuple[str, str], ...]] = ()
    """(module, class): what the framework's callbacks derive from, in each namespace that it is sold under."""
    attributes: ClassVar[dict[str, Any]] = {}
    """Plain attributes that the framework reads from a callback."""
    passes_over: ClassVar[tuple[str, ...]] = ()
    """Hooks of every batch that nothing of ours waits for: the framework's loop over the callbacks finds None there, where
    it would spend its time on each method, also on one that does nothing; anybody else finds a method."""
    caller: ClassVar[str] = ""
    """The name of that loop's function."""
    watch: ClassVar[Watch]

    def __init__(self, owner: "AutoTrack") -> None:
        self.owner = owner

    @staticmethod
    def claims(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether these arguments of a hook are this framework's; asked only where frameworks share the name."""
        raise TypeError(
            f"a hook that two frameworks share was called with {len(args) + len(kwargs)} arguments"
        )

    @classmethod
    def handled(cls) -> set[str]:
        """The names of the hooks that it wants."""
        return {name for name in dir(cls) if not name.startswith("_") and not hasattr(Adapter, name)}


class AutoTrack:
    """Records the training that it is given to: `callbacks=[AutoTrack()]`, `estimator.set_callbacks(AutoTrack())`.

    `project`, `name`, `tags`, `group`: of the runs it opens, as in `autotrack.init`. `log_every`: of the values that every
    step of a training has, record those of each n-th step (default: all; ValueError below 1); values of epochs and
    evaluations, and what the Hugging Face Trainer itself logs, are always recorded. `resume`: a training that the framework
    resumes from a checkpoint goes on with the run that wrote it ("allow"), or is a new run ("never"; ValueError for others;
    default: AUTOTRACK_RESUME, else "allow"). `log_model`: which checkpoints are stored, as in `autotrack.init`. What is not given
    is as `autolog()` was given it, where that is on; its tags are there too.
    One object may serve several trainers, also at once. It takes no part in the training: nothing of it is in checkpoints, and
    a copy of it is itself.
    """

    _plain: ClassVar[type["AutoTrack"]]

    _adapters: dict[str, Adapter]
    _options: Options
    _autolog: Integration | None
    place: Place | None = None
    """The run that processes which are launched for an evaluation record in."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "AutoTrack":
        made = object.__new__(_class_of(cls))
        made._adapters, made._options, made._autolog = {}, Options(), None
        _live.add(made)
        for adapter in adapters().values():
            adapter.watch.install(adapter.watch.autolog.options if adapter.watch.autolog else Options())
        return made

    def __init__(
        self,
        project: str | None = None,
        name: str | None = None,
        tags: Iterable[str] | str = (),
        group: str | None = None,
        log_every: int | None = None,
        resume: str | bool | None = None,
        log_model: str | bool | None = None,
    ) -> None:
        self._options = options_of(project, name, tags, group, resume, log_model, log_every)

    @classmethod
    def for_autolog(cls, integration: Integration) -> "AutoTrack":
        """One that belongs to `autolog()`: it has its options, and does nothing while that is off."""
        made = cls()
        made.belong_to(integration)
        return made

    def belong_to(self, integration: Integration) -> None:
        """Make this one a part of `autolog()`."""
        self._autolog = integration

    @property
    def by_hand(self) -> bool:
        """Whether the user made it, not `autolog()`."""
        return self._autolog is None

    @property
    def extended(self) -> bool:
        """Whether its class is a subclass of the user's, which may have hooks of its own."""
        return type(self)._plain is not AutoTrack

    @property
    def options(self) -> Options | None:
        """What it was given itself; None when it belongs to an `autolog()` that is off."""
        if self._autolog is None:
            return self._options
        return self._autolog.options if self._autolog.installed else None

    def options_for(self, framework: str) -> Options | None:
        """What the runs that it opens for a framework are given: what it was given, else what that framework's `autolog()` was."""
        options = self.options
        adapter = adapters().get(framework)
        autolog = None if adapter is None or not self.by_hand else adapter.watch.autolog
        return options if options is None or autolog is None else options.over(autolog.options)

    def __deepcopy__(self, memo: dict[int, Any]) -> "AutoTrack":
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Its class is put together from what is imported, so it has no name to pickle by; frameworks hang models on it.
        state = {key: value for key, value in vars(self).items() if key not in _NOT_PICKLED}
        if self.by_hand:
            return _remake, (type(self)._plain,), state
        return _remake, (AutoTrack,), state | {"_options": self.options or Options()}

    def _adapter(self, framework: str) -> Adapter:
        adapter = self._adapters[framework] = adapters()[framework](self)
        return adapter


AutoTrack._plain = AutoTrack

_NOT_PICKLED = frozenset({"_adapters", "_autolog", "log", "log_dict"})

_live: WeakSet[AutoTrack] = WeakSet()
_known: dict[str, type[Adapter]] = {}
_classes: dict[tuple[type, tuple[type, ...]], type[AutoTrack]] = {}
_waiting: set[str] = set()


def adapters() -> dict[str, type[Adapter]]:
    """The adapters that are installed, by framework; one that cannot be loaded is named in one warning."""
    if not _known:
        for framework, value in entry_points(GROUP).items():
            adapter, why = reason(load, value)
            if adapter is not None:
                _known[framework] = adapter
            else:
                text = f"AutoTrack cannot serve {framework}: {value} cannot be loaded ({why})."
                warn("adapter-not-loaded", text, key=framework)
    return _known


def first_of(callbacks: Iterable[Any]) -> AutoTrack | None:
    """The AutoTrack that acts where there are several: the first one made by hand, else the first that is on."""
    found = [
        callback for callback in callbacks if isinstance(callback, AutoTrack) and callback.options is not None
    ]
    return next((tracker for tracker in found if tracker.by_hand), found[0] if found else None)


def _remake(plain: type[AutoTrack]) -> AutoTrack:
    return plain.__new__(plain)


def _class_of(cls: type[AutoTrack]) -> type[AutoTrack]:
    """The class whose instance `cls()` becomes: with the hooks, and with the frameworks' callback classes as bases."""
    plain = cls.__dict__.get("_plain_of", cls)
    bases = {framework: _bases(adapter) for framework, adapter in adapters().items()}
    found = tuple(base for group in bases.values() for base in group)
    if (plain, found) not in _classes:
        hooks = type("Hooks", (), _hooks(bases))
        names = {
            "__module__": plain.__module__,
            "__qualname__": plain.__qualname__,
            "__doc__": plain.__doc__,
            "_plain": plain,
            "_plain_of": plain,
        }
        _classes[plain, found] = type(plain.__name__, (plain, hooks, *found), names)
    return _classes[plain, found]


def _bases(adapter: type[Adapter]) -> tuple[type, ...]:
    """The callback classes of a framework that are imported; for the others the import is waited for."""
    found = []
    for module_name, name in adapter.bases:
        module = sys.modules.get(module_name)
        if module is not None and hasattr(module, name):
            found.append(getattr(module, name))
        elif module_name not in _waiting:
            _waiting.add(module_name)
            when_imported(module_name, _take_bases)
    return tuple(found)


def _take_bases(module: ModuleType) -> None:
    """A framework has been imported: its callback class becomes a base of the objects that are there already."""
    _waiting.discard(module.__name__)
    for tracker in list(_live):
        tracker.__class__ = _class_of(type(tracker))


def _hooks(bases: dict[str, tuple[type, ...]]) -> dict[str, Any]:
    """A method for each hook that an adapter wants, or that means different things in two frameworks."""
    names: dict[str, list[str]] = {}
    attributes: dict[str, Any] = {}
    wanted = {name for adapter in adapters().values() for name in adapter.handled()}
    for framework, adapter in adapters().items():
        attributes |= adapter.attributes
        for name in adapter.handled().union(*map(dir, bases[framework])):
            if name.startswith("on_") or name in wanted:
                names.setdefault(name, []).append(framework)
    for name, frameworks in names.items():
        if len(frameworks) > 1 or name in adapters()[frameworks[0]].handled():
            attributes[name] = _hook(name, tuple(frameworks))
    for adapter in adapters().values():
        attributes |= {
            name: PassedOver(attributes.get(name, _do_nothing), adapter.caller)
            for name in adapter.passes_over
        }
    return attributes


class PassedOver:
    """A hook that is absent for one framework's loop over the callbacks, and a method for anybody else."""

    def __init__(self, hook: Callable[..., None], caller: str) -> None:
        self._hook = hook
        self._caller = caller

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        if sys._getframe(1).f_code.co_name == self._caller:
            return None
        return self._hook if owner is None else MethodType(self._hook, owner)


def _do_nothing(*args: Any, **kwargs: Any) -> None:
    """What a hook does that nobody waits for."""


def _hook(name: str, frameworks: tuple[str, ...]) -> Any:
    """The method of that name; a training calls some of them several times a step, so it does little."""
    candidates = [(adapters()[framework].claims, _handler(name, framework)) for framework in frameworks]

    def for_several(self: AutoTrack, *args: Any, **kwargs: Any) -> None:
        for claims, handler in candidates:
            if claims(args, kwargs):
                handler(self, *args, **kwargs)
                return

    hook = candidates[0][1] if len(candidates) == 1 else for_several
    hook.__name__ = name
    hook.__qualname__ = f"AutoTrack.{name}"
    return hook


def _handler(name: str, framework: str) -> Any:
    """What one framework's adapter does at a hook, if it has a method of that name; its errors end in a warning."""
    method: Any = getattr(adapters()[framework], name, None)
    if method is None:
        return _do_nothing

    def adapter_of(owner: AutoTrack) -> Adapter | None:
        adapter = owner._adapters.get(framework) or owner._adapter(framework)
        return None if adapter.watch.refused else adapter

    hook: Any = shielded_method(f"the {framework} hook {name}", adapter_of, method)
    hook.__wrapped__ = method  # scikit-learn gives a hook those keywords that its signature names
    return hook
