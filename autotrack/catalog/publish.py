"""Naming checkpoints: registering them as versions of a model, moving its aliases, and keeping their bytes for it."""

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from autotrack.catalog.fetch import fetch, original
from autotrack.catalog.find import Catalog, Target
from autotrack.digests import look_at
from autotrack.errors import CheckpointNotFound, MissingExtra, NotWhole, RegistryError
from autotrack.layout import make_private_folder, new_run_id, replace_private, write_private
from autotrack.objects.budget import Budget
from autotrack.objects.packs import sync_folder
from autotrack.objects.reading import Pace
from autotrack.objects.seal import seal_of
from autotrack.registry.decisions import Decision, check_name, refuse_look_alike
from autotrack.registry.models import Version, add_version, move_alias, read_model, withdraw

ELSEWHERE = "@files"
"""The folder of recipes of what no run of the store has saved; no run can be called so."""
_BY_USER = b"user\n"
"""What the pin holds that a user has set; that of a version is empty."""


def register(
    catalog: Catalog, model: str, source: str | os.PathLike[str], note: str | None = None, pace: Pace = bool
) -> Version:
    """Make a checkpoint the next version of a model, and keep its bytes. The same bytes are one version.

    `source`: a checkpoint as `Catalog.find` takes it, or the path or URI of a file or folder made elsewhere, or by a run. NotWhole where
    it is damaged, NoRoom where the budget does not allow it; the model is as before then.
    """
    check_name(model)
    refuse_look_alike(catalog.layout.registry, model)
    text = os.fspath(source)
    if "://" in text:
        text = text.rstrip("/")
        with tempfile.TemporaryDirectory(prefix="autotrack-") as folder:
            return _from_elsewhere(catalog, model, _downloaded(text, Path(folder)), text, note, pace)
    if os.path.lexists(text) and (os.sep in text or os.path.exists(text)):
        path = os.path.abspath(text)
        save = _saved_as(catalog, path)
        if save is None:
            return _from_elsewhere(catalog, model, path, path, note, pace)
        target = save
    else:
        target = catalog.find(text)
    return _of_run(catalog, model, target, note, pace)


def _saved_as(catalog: Catalog, path: str) -> Target | None:
    """The save of a run that lies at a path now, with the same bytes."""
    saves = [
        one
        for found in catalog.index.checkpoints().values()
        for one in found
        if one.path == path and one.is_sealed
    ]
    for save in reversed(saves):
        target = Target(None, save, (save.run, save.id or ""))
        if original(target) is not None:
            return target
    return None


def _of_run(catalog: Catalog, model: str, target: Target, note: str | None, pace: Pace) -> Version:
    save = target.save
    if save is None:  # a version that was registered from elsewhere, now as one of another model
        if target.version is None:
            raise CheckpointNotFound(f"{target} is no checkpoint.")
        known = target.version
        facts = {
            "metrics": dict(known.metrics),
            "score": known.score,
            "monitor": known.monitor,
            "step": known.step,
        }
        path, kind = known.path, known.format
    else:
        measured = catalog.measured(target).save
        facts = {
            "metrics": dict(measured.metrics if measured is not None else {}),
            "score": save.score,
            "monitor": save.monitor,
            "step": save.step,
        }
        path, kind = save.path, save.format
        if not save.is_sealed:
            why = save.problem or "it was gone before it could be read to its end"
            raise NotWhole(f"{save.path} cannot be registered: {why}.")
    body: dict[str, Any] = {
        "run": save.run if save else None,
        "save": save.id if save else None,
        "path": path,
        "kind": kind,
    }
    body |= facts | {"digest": target.digest, "size": target.size, "kept": list(target.kept), "note": note}
    version = None
    try:
        _hold(catalog, target, pace)
        version = add_version(catalog.layout.registry, model, body)
    finally:
        if version is None or version.kept != target.kept:  # refused, or these bytes were a version already
            _let_go(catalog, target.kept)
    return version


def keep(catalog: Catalog, target: Target, pace: Pace = bool) -> None:
    """Keep the bytes of a checkpoint in the store for the user, and from being dropped: pinned first, and looked for then."""
    held = False
    try:
        _hold(catalog, target, pace)
        held = True
    finally:
        if not held:
            _let_go(catalog, target.kept)
    replace_private(catalog.kept.pin_path(*target.kept), _BY_USER)


def unkeep(catalog: Catalog, target: Target) -> None:
    """The user's pin is taken away; what a model has as a version stays all the same."""
    with suppress(FileNotFoundError):
        os.truncate(catalog.kept.pin_path(*target.kept), 0)
    _let_go(catalog, target.kept)


def _hold(catalog: Catalog, target: Target, pace: Pace) -> None:
    pin(catalog, *target.kept)
    if catalog.recipe(target) is None and not _add(catalog, target, pace):
        fetch(catalog, target)  # says why it is nowhere
        raise CheckpointNotFound(f"{target} was changed while it was read.")


def _let_go(catalog: Catalog, kept: tuple[str, str]) -> None:
    """Take a pin away, unless the user has set it or a version that counts is made of it."""
    try:
        by_user = catalog.kept.pin_path(*kept).read_bytes() == _BY_USER
    except FileNotFoundError:
        return
    versions = [one for model in catalog.models() for one in model.versions]
    if not by_user and not any(one.kept == kept and one.withdrawn is None for one in versions):
        unpin(catalog, *kept)


def _add(catalog: Catalog, target: Target, pace: Pace) -> bool:
    where = original(target)
    if where is None:
        return False
    look = look_at(os.fspath(where), target.part)
    Budget(catalog.layout.objects).claim(look.size)
    catalog.kept.add(*target.kept, os.fspath(where), look, target.path, pace)
    return True


def pin(catalog: Catalog, run: str, save: str) -> None:
    """Keep a kept checkpoint from being dropped by anybody."""
    path = catalog.kept.pin_path(run, save)
    if not path.parent.is_dir():
        make_private_folder(path.parent)
    try:
        write_private(path, b"")
    except FileExistsError:
        return
    sync_folder(path.parent)


def unpin(catalog: Catalog, run: str, save: str) -> None:
    """Let it be dropped again."""
    catalog.kept.pin_path(run, save).unlink(missing_ok=True)


def _from_elsewhere(
    catalog: Catalog, model: str, path: str, told: str, note: str | None, pace: Pace
) -> Version:
    look = look_at(path)
    if not look.is_whole():
        raise NotWhole(
            f"{told} cannot be registered: it holds something other than files, or more files than are looked at."
        )
    seal = seal_of(path, look, pace=pace)
    if seal is None:
        raise NotWhole(f"{told} cannot be registered: it was changed while it was read, or cannot be read.")
    if seal.problem is not None:
        raise NotWhole(f"{told} cannot be registered: {seal.problem}.")
    save = new_run_id()
    pin(catalog, ELSEWHERE, save)
    version = None
    try:
        Budget(catalog.layout.objects).claim(look.size)
        catalog.kept.add(ELSEWHERE, save, path, look, told, pace)
        facts = {"path": told, "kind": seal.format, "digest": seal.digest, "size": look.size, "note": note}
        version = add_version(catalog.layout.registry, model, facts | {"kept": [ELSEWHERE, save]})
    finally:
        if version is None or version.kept != (
            ELSEWHERE,
            save,
        ):  # refused, or these bytes were a version already
            unpin(catalog, ELSEWHERE, save)
            catalog.kept.drop(ELSEWHERE, save)
    return version


def _downloaded(uri: str, folder: Path) -> str:
    """A file or folder behind a URI, as fsspec gets it."""
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtra(f"Reading {uri} needs fsspec: pip install 'autotrack-ml[remote]'.") from error
    system, path = fsspec.core.url_to_fs(uri)
    name = os.path.basename(path.rstrip("/")) or "model"
    system.get(path, os.fspath(folder / name), recursive=bool(system.isdir(path)))
    return os.fspath(folder / name)


def promote(
    catalog: Catalog,
    model: str,
    alias: str,
    word: str | int | None,
    why: str | None,
    *,
    required: bool,
    expect: str | int | None = None,
) -> Decision:
    """Let an alias stand for a version, and record who decided it, why, and what the two versions reach. AliasMoved, RegistryError."""
    if required and not (why or "").strip():
        raise RegistryError("A promotion needs a reason: why=…, or --why on the command line.")
    known = catalog.model(model)
    after = known.version(word)
    number = known.aliases.get(alias)
    before = None if number is None else known.versions[number - 1]
    if catalog.shelf.recipe(*after.kept) is None:
        raise CheckpointNotFound(f"The bytes of {after} are not in the store any more; it can have no alias.")
    facts = {
        "why": why,
        "before_metrics": _judged(catalog, before),
        "after_metrics": _judged(catalog, after),
        "size": after.size,
    }
    action = "promote" if required else "alias"
    if expect is None:
        expect = number or 0
    return move_alias(
        catalog.layout.registry, model, alias, f"v{after.number}", facts, action=action, expect=expect
    )


def withdraw_version(catalog: Catalog, model: str, word: str | int, why: str) -> Decision:
    """Say that a version is not to be used any more, and let its bytes be freed. RegistryError without a reason."""
    if not why.strip():
        raise RegistryError("Withdrawing a version needs a reason: why=…, or --why on the command line.")
    decision = withdraw(catalog.layout.registry, model, word, why)
    _let_go(catalog, read_model(catalog.layout.registry, model).version(f"v{decision.body['version']}").kept)
    return decision


def _judged(catalog: Catalog, version: Version | None) -> dict[str, Any] | None:
    """What is known of how good a version is: its score, its metrics, and what its run has measured of latency."""
    if version is None:
        return None
    found: dict[str, Any] = dict(version.metrics)
    if version.score is not None:
        found[version.monitor or "score"] = version.score
    if version.run is not None:
        found |= _latency(_summary(catalog, version.run))
    return found | {"size": version.size}


def _summary(catalog: Catalog, run: str) -> Mapping[str, float]:
    try:
        return catalog.index.get(run).summary
    except LookupError:
        return {}


def _latency(summary: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in summary.items() if "latency" in key.lower()}
