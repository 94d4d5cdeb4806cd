"""Which checkpoint is meant: by a model's name, by a run, or by a save."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from autotrack.catalog.mending import mend, read_now
from autotrack.digests import ALL, Part
from autotrack.errors import CheckpointNotFound, RegistryError
from autotrack.index import Index
from autotrack.index.history import Series
from autotrack.index.saves import Checkpoint
from autotrack.layout import Layout
from autotrack.objects.keep import Kept
from autotrack.objects.rebuild import Shelf
from autotrack.objects.recipe import Recipe
from autotrack.registry.decisions import models_in
from autotrack.registry.models import Model, Version, read_model

SPELLINGS = "Name it as MODEL, MODEL@ALIAS or MODEL@v3; as RUN, RUN:best, RUN:last, RUN:step=100 or RUN:METRIC; or by the id of the save."


class Target(NamedTuple):
    """A checkpoint that is meant: the version of a model, the save of a run, or both. `kept`: its recipe's run and save."""

    version: Version | None
    save: Checkpoint | None
    kept: tuple[str, str]

    @property
    def path(self) -> str:
        """Where it was saved."""
        return self.save.path if self.save is not None else self._version.path

    @property
    def part(self) -> Part:
        """What of a folder it is."""
        return self.save.part if self.save is not None else ALL

    @property
    def digest(self) -> str | None:
        """sha256 in hex; None where it went before it could be read."""
        return self.save.digest if self.save is not None else self._version.digest

    @property
    def size(self) -> int | None:
        """Bytes."""
        return self.save.size if self.save is not None else self._version.size

    @property
    def format(self) -> str | None:
        """What kind of file it is."""
        return self.save.format if self.save is not None else self._version.format

    @property
    def _version(self) -> Version:
        if self.version is None:
            raise CheckpointNotFound("Neither a save nor a version is meant.")
        return self.version

    def __str__(self) -> str:
        if self.version is not None:
            return str(self.version)
        return f"{self.kept[0]}:{self.kept[1]}"


class Catalog:
    """The checkpoints of one store, as of now. Reading it changes nothing but what a process that died has left half done."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.layout: Layout = index.layout
        self.kept = Kept(self.layout.objects)
        self.shelf = Shelf(self.kept)

    def models(self) -> list[Model]:
        """The named models; RegistryError where the decisions about one of them are damaged."""
        return [read_model(self.layout.registry, name) for name in models_in(self.layout.registry)]

    def readable(self) -> tuple[list[Model], list[str]]:
        """The named models whose decisions can be read, and what is wrong with the others."""
        found, problems = [], []
        for name in models_in(self.layout.registry):
            try:
                found.append(read_model(self.layout.registry, name))
            except RegistryError as error:
                problems.append(f"The model {name!r} is left out: {error}")
        return found, problems

    def model(self, name: str) -> Model:
        """One model by its name; CheckpointNotFound."""
        if name not in models_in(self.layout.registry):
            known = ", ".join(models_in(self.layout.registry)[:10]) or "none yet"
            raise CheckpointNotFound(f"There is no model {name[:60]!r}. There is: {known}.")
        return read_model(self.layout.registry, name)

    def recipe(self, target: Target) -> Recipe | None:
        """The recipe of a checkpoint that is kept, also where a process died half-way."""
        if not self.kept.has(*target.kept):
            mend(self, target.kept)
        return self.shelf.recipe(*target.kept)

    def save(self, run: str, save: str) -> Checkpoint | None:
        """One save of a run."""
        try:
            return next((one for one in run_saves(self.index, run) if one.id == save), None)
        except LookupError:
            return None

    def find(self, spec: str) -> Target:
        """The checkpoint that is meant; CheckpointNotFound says what there is instead."""
        name, at, word = spec.partition("@")
        if at or name in models_in(self.layout.registry):
            return self.of_version(self.model(name).version(word or None))
        run, colon, which = spec.partition(":")
        if not colon and (save := self._by_id(spec)) is not None:
            return of_save(read_now(self, save))
        return of_save(self._of_run(run, which or "best or last"))

    def measured(self, target: Target) -> Target:
        """With the metrics at that time: of each key of its run the value of the save's own step, else the last one before it.

        What autotrack adds of itself, times and rates above all, is left out where the training has logged something.
        """
        save = target.save
        if save is None:
            return target
        try:
            run = self.index.get(save.run)
        except LookupError:
            return target
        history = run.history()
        values = {key: _at(history[key], save, run.finished) for key in history}
        found = {key: value for key, value in values.items() if value is not None}
        logged = {key: value for key, value in found.items() if not key.startswith("auto/")}
        return target._replace(save=replace(save, metrics=(logged or found) | dict(save.metrics)))

    def of_version(self, version: Version) -> Target:
        """What a version is."""
        save = None
        if version.run is not None and version.save is not None:
            save = self.save(version.run, version.save)
        return Target(version, save, version.kept)

    def _by_id(self, spec: str) -> Checkpoint | None:
        found = [one for saves in self.index.checkpoints().values() for one in saves if one.id == spec]
        return found[0] if found else None

    def _of_run(self, prefix: str, which: str) -> Checkpoint:
        try:
            run = self.index.get(prefix).id
        except LookupError as error:
            raise CheckpointNotFound(f"{error} {SPELLINGS}") from error
        saves = run_saves(self.index, run)
        meant = choose(saves, which) if saves else None
        if meant is not None and not meant.is_sealed:
            saves = [read_now(self, one) if one is meant else one for one in saves]
        saves = [one for one in saves if one.is_sealed]
        if not saves:
            raise CheckpointNotFound(
                f"The run {run} has no checkpoint that was read to its end and found whole; autotrack show {run} lists what it saved."
            )
        chosen = choose(saves, which)
        if chosen is None:
            unread = choose(run_saves(self.index, run), which)
            if unread is not None:
                raise CheckpointNotFound(f"{unread.path} of the run {run} cannot be had: {_why(unread)}.")
            metrics = ", ".join(sorted({one.monitor for one in saves if one.monitor})) or "none with a score"
            known = dict.fromkeys(str(one.step) for one in saves if one.step is not None)
            steps = ", ".join([*known][-8:])
            raise CheckpointNotFound(
                f"The run {run} has no checkpoint {which[:60]!r}. It has scores of: {metrics}; the last steps: {steps or 'none'}."
            )
        return chosen


def _at(series: Series, save: Checkpoint, finished: datetime | None) -> float | None:
    """The last value before the save. A framework may tell of an epoch right behind the checkpoint that it has saved at its end: that
    is of the same step. What is told of this step once the training is over may be of other weights.
    """
    before = series.times <= save.saved.timestamp()
    own = series.steps == save.step
    in_time = series.times <= finished.timestamp() if finished is not None else True
    last_own, first_behind = (before & own).nonzero()[0][-1:], (own & ~before & in_time).nonzero()[0][:1]
    for places in (last_own, first_behind, before.nonzero()[0][-1:]):
        if len(places):
            return float(series.values[places[0]])
    return None


def _why(save: Checkpoint) -> str:
    """Why a save is not sealed."""
    if save.problem is not None:
        return f"it is damaged ({save.problem})"
    if save.gone is not None:
        return f"it was {save.state}{f' ({save.why})' if save.why else ''} before it could be read to its end"
    return "it was not read to its end yet"


def of_save(save: Checkpoint) -> Target:
    """What a save is."""
    return Target(None, save, (save.run, save.id or ""))


def run_saves(index: Index, run: str) -> list[Checkpoint]:
    """The saves of one run, oldest first."""
    return index.get(run).checkpoints


def choose(saves: list[Checkpoint], which: str) -> Checkpoint | None:
    """One of the saves of a run: "best", "last", "best or last", "step=100", "epoch=3", a metric (the best by it), or a save's id."""
    newest_first = saves[::-1]
    name, equals, value = which.partition("=")
    if equals and name in ("step", "epoch"):
        try:
            number = float(value)
        except ValueError:
            return None
        return _first(newest_first, lambda one: (one.step if name == "step" else one.epoch) == number)
    if which == "last":
        return newest_first[0]
    best = [one for one in saves if one.best]
    if which == "best":
        return best[-1] if best else None
    if which == "best or last":
        return best[-1] if best else newest_first[0]
    return _first(best, lambda one: one.monitor == which) or _first(newest_first, lambda one: one.id == which)


def _first(saves: list[Checkpoint], fits: Callable[[Checkpoint], bool]) -> Checkpoint | None:
    return next((one for one in saves if fits(one)), None)
