"""The checkpoint registry: every checkpoint that was saved while tracked, and the models that were made of them.

    autotrack.checkpoints.get("3fk2:best")                      # a path at which the best checkpoint of a run lies
    autotrack.checkpoints.register("detector", "3fk2:best")
    autotrack.checkpoints.promote("detector", "production", why="0.4 better on the new data, half the latency")
    model = autotrack.checkpoints.load("detector@production")

A checkpoint is named as MODEL, MODEL@ALIAS or MODEL@v3; as RUN (the best, else the last), RUN:best, RUN:last, RUN:step=100,
RUN:METRIC (the best by it); or by the id of the save.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotrack.catalog.collect import Collection
    from autotrack.catalog.find import Catalog
    from autotrack.index import Checkpoint
    from autotrack.objects.rebuild import Damage
    from autotrack.registry.chain import ChainReport
    from autotrack.registry.decisions import Decision
    from autotrack.registry.models import Model, Version

Source = str | os.PathLike[str]


@contextmanager
def _catalog() -> "Iterator[Catalog]":
    from autotrack.catalog.find import Catalog
    from autotrack.index import open_index

    with open_index() as index:
        index.sync(seal_seconds=0)
        yield Catalog(index)


def list(run: str | None = None, project: str | None = None) -> "Sequence[Checkpoint]":
    """The checkpoints of all runs, of one run or of those of a project, oldest first; each save by itself."""
    with _catalog() as catalog:
        if run is not None:
            return catalog.index.get(run).checkpoints
        found = [one for saves in catalog.index.checkpoints().values() for one in saves]
        if project is not None:
            runs = {one.id for one in catalog.index.runs(project=project, archived=True)}
            found = [one for one in found if one.run in runs]
        return sorted(found, key=lambda one: one.saved)


def find(spec: str) -> "Checkpoint | Version":
    """What is known of a checkpoint: the save of a run, or the version of a model whose file was made elsewhere. CheckpointNotFound.

    `metrics` of a save: what whoever saved it said, and the last values of its run up to then.
    """
    with _catalog() as catalog:
        target = catalog.measured(catalog.find(spec))
        found = target.save or target.version
        assert found is not None
        return found


def get(spec: str, to: Source | None = None) -> Path:
    """A path at which a checkpoint lies, byte for byte as it was saved: where the training put it, or rebuilt from the store.

    `to`: where to put a copy (a folder takes it under its own name). Without it a rebuilt one is a copy in the store, for
    reading. CheckpointNotFound where it is nowhere any more, NotWhole where it is damaged, FileExistsError where `to` is taken.
    """
    from autotrack.catalog.fetch import fetch

    with _catalog() as catalog:
        return fetch(catalog, catalog.find(spec), None if to is None else Path(os.path.abspath(to)))


def load(spec: str, pickle: bool = False, **options: Any) -> Any:
    """Load a checkpoint with its framework: torch (tensors only), safetensors, Keras, NumPy, skops.

    `pickle=True` allows what runs code from the file: pickled models, joblib, whole torch modules. Do that only with files
    whose makers you trust. `options` go to the framework's own loading function.
    """
    from autotrack.catalog.loading import load_file

    return load_file(get(spec), pickle, **options)


def resume(run: str) -> Path:
    """A path of the newest checkpoint of a run that is whole and still to be had, to resume its training from. CheckpointNotFound.

    What its framework's own checkpointing has saved goes before what your code has saved, which may be the weights alone.
    """
    from autotrack.catalog.fetch import newest

    with _catalog() as catalog:
        return newest(catalog, run)


def register(model: str, source: Source, note: str | None = None) -> "Version":
    """Make a checkpoint the next version of a model, and keep its bytes in the store. The same bytes are one version.

    `source`: how a checkpoint is named, or the path or URI of a file or folder, which may be made elsewhere. NotWhole for a
    damaged one, NoRoom beyond the budget, RegistryError for a name that cannot be.
    """
    from autotrack.catalog import publish

    with _catalog() as catalog:
        return publish.register(catalog, model, source, note)


def alias(
    model: str, alias: str, version: str | int | None = None, expect: str | int | None = None
) -> "Decision":
    """Let an alias of a model stand for a version (None: the newest). AliasMoved where somebody else was quicker.

    `expect`: the version that it stands for now (0: none), where you have looked at that and nothing else is to be replaced.
    """
    from autotrack.catalog import publish

    with _catalog() as catalog:
        return publish.promote(catalog, model, alias, version, None, required=False, expect=expect)


def promote(
    model: str, to: str, *, why: str, version: str | int | None = None, expect: str | int | None = None
) -> "Decision":
    """Let an alias such as "production" stand for a version, and record why, by whom, and what both versions reach."""
    from autotrack.catalog import publish

    with _catalog() as catalog:
        return publish.promote(catalog, model, to, version, why, required=True, expect=expect)


def unalias(model: str, alias: str, why: str | None = None) -> "Decision":
    """Let an alias stand for nothing any more."""
    from autotrack.registry.models import drop_alias

    with _catalog() as catalog:
        return drop_alias(catalog.layout.registry, model, alias, why)


def withdraw(model: str, version: str | int, why: str) -> "Decision":
    """Say that a version is not to be used any more; gc may free its bytes. RegistryError while an alias stands for it."""
    from autotrack.catalog import publish

    with _catalog() as catalog:
        return publish.withdraw_version(catalog, model, version, why)


def models() -> "Sequence[Model]":
    """The named models, each with its versions, aliases and every decision about it."""
    with _catalog() as catalog:
        return catalog.models()


def pin(spec: str) -> None:
    """Keep a checkpoint in the store, whatever the rules of its run or of gc say."""
    from autotrack.catalog import publish

    with _catalog() as catalog:
        publish.keep(catalog, catalog.find(spec))


def unpin(spec: str) -> None:
    """Take a pin away again; what a model has as a version stays all the same."""
    from autotrack.catalog import publish

    with _catalog() as catalog:
        publish.unkeep(catalog, catalog.find(spec))


def lineage(spec: str) -> Sequence[dict[str, Any]]:
    """The checkpoint and what it came from, newest first: run, code, packages, data, and "resumed" or "fine-tuned" from which."""
    from autotrack.catalog import trace

    with _catalog() as catalog:
        return trace.lineage(catalog, catalog.find(spec))


def changes(before: str, after: str) -> "tuple[Sequence[str], int] | None":
    """The names of the tensors that differ between two kept checkpoints, and how many are the same; None where one is not kept."""
    from autotrack.catalog import trace

    with _catalog() as catalog:
        return trace.changes(catalog, catalog.find(before), catalog.find(after))


def verify(spec: str | None = None) -> "Mapping[str, Sequence[Damage]]":
    """Read a kept checkpoint again (None: all), and name every tensor that is not what was kept; empty where all is whole."""
    from autotrack.catalog.checking import check_kept

    with _catalog() as catalog:
        return check_kept(catalog, spec).damages


def export(spec: str, folder: Source, kind: str = "files", pickle: bool = False) -> Path:
    """Make a folder with a checkpoint and its card in it. FileExistsError where something lies there.

    `kind`: "files" (as it was saved); "mlflow" (a model folder for MLflow, from a pickled scikit-learn model or a `.keras` file);
    "safetensors" (the tensors of a torch file, where that is exact). `pickle`: whether it may be unpickled where that is needed.
    """
    from autotrack.catalog.export import export as write

    with _catalog() as catalog:
        return write(catalog, catalog.find(spec), Path(os.path.abspath(folder)), kind, pickle)


def gc(
    *, last: int | None = None, best: int | None = None, every: int | None = None, apply: bool = False
) -> "Collection":
    """Tell what could be freed, and what each rule keeps; `apply=True` frees it. Pinned and registered ones always stay.

    `last`, `best`, `every`: of each run keep so many of the last ones, so many of the best of each metric, those of every so many
    steps, and drop what none of these wants. Without any of them only what nothing refers to is freed.
    """
    from autotrack.catalog.collect import Rules, collect

    with _catalog() as catalog:
        return collect(catalog, Rules(last, best, every), dry=not apply)


def audit() -> "ChainReport":
    """Whether every decision is there as it was made, as the chain and the runs that saw it tell."""
    from autotrack.catalog.checking import check_decisions

    with _catalog() as catalog:
        return check_decisions(catalog)
