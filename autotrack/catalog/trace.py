"""Where a checkpoint comes from: its run, what that began from, the data that it read, its code and its packages."""

from typing import Any

from autotrack.catalog.find import Catalog, Target, of_save, run_saves
from autotrack.index import Checkpoint, Input, RunRecord
from autotrack.objects.rebuild import changed_parts

_DEEPEST = 50


def lineage(catalog: Catalog, target: Target) -> list[dict[str, Any]]:
    """The checkpoint and those before it, newest first: each with its run, `from` ("resumed" or "fine-tuned"), data, code and packages.

    What no run of the store has saved ends the chain.
    """
    found: list[dict[str, Any]] = []
    seen: set[tuple[str, str]] = set()
    while len(found) < _DEEPEST:
        found.append(_step(catalog, target))
        seen.add(target.kept)
        before = _before(catalog, target)
        if before is None:
            break
        how, earlier, path = before
        found[-1]["from"] = {"how": how, "path": path}
        if earlier is None or earlier.kept in seen:
            break
        target = earlier
    return found


def _step(catalog: Catalog, target: Target) -> dict[str, Any]:
    save, version = target.save, target.version
    step: dict[str, Any] = {
        "checkpoint": str(target),
        "path": target.path,
        "digest": target.digest,
        "step": save.step if save is not None else None,
        "versions": [str(one) for one in _versions(catalog, target)],
        "from": None,
    }
    run = _run(catalog, save.run if save is not None else version.run if version is not None else None)
    if run is None:
        return step | {"run": None}
    environment = run.environment
    git = environment.get("git") if isinstance(environment.get("git"), dict) else {}
    return step | {
        "run": run.id,
        "name": run.name,
        "project": run.project,
        "user": (environment.get("host") or {}).get("user"),
        "created": run.created,
        "code": {key: (git or {}).get(key) for key in ("commit", "branch", "dirty")},
        "packages": _packages(environment.get("packages")),
        "data": [
            {"path": one.path, "role": one.role, "digest": one.digest}
            for one in run.inputs
            if one.role != "checkpoint"
        ],
    }


def _packages(facts: Any) -> str | None:
    """The digest of the list of packages, where it was captured."""
    return facts.get("digest") if isinstance(facts, dict) else None


def _versions(catalog: Catalog, target: Target) -> list[Any]:
    return [one for model in catalog.readable()[0] for one in model.versions if one.kept == target.kept]


def _run(catalog: Catalog, run: str | None) -> RunRecord | None:
    try:
        return None if run is None else catalog.index.get(run)
    except LookupError:
        return None


def _before(catalog: Catalog, target: Target) -> tuple[str, Target | None, str] | None:
    """What the run of a checkpoint began from: the last one that it took up before this save."""
    save = target.save
    run = _run(catalog, save.run if save is not None else None)
    if save is None or run is None:
        return None
    saves = run.checkpoints
    earlier = saves[: next((place for place, one in enumerate(saves) if one.id == save.id), len(saves))]
    for origin in reversed([one for one in run.inputs if one.role == "checkpoint"]):
        own = origin.run == run.id
        there = earlier if own else _saves(catalog, origin.run, save)
        same = [one for one in there if _is(one, origin)]
        if same or not own:  # one of its own that came later is where a later attempt began
            return "resumed" if own else "fine-tuned", of_save(same[-1]) if same else None, origin.path
    return None


def _saves(catalog: Catalog, run: str | None, before: Checkpoint) -> list[Checkpoint]:
    """The saves of a run; where it is not known which one, those of all that were there by then."""
    if run is None:
        every = [one for saves in catalog.index.checkpoints().values() for one in saves]
        return sorted((one for one in every if one.saved < before.saved), key=lambda one: one.saved)
    try:
        return run_saves(catalog.index, run)
    except LookupError:
        return []


def _is(save: Checkpoint, origin: Input) -> bool:
    """Whether it is the one that was read: by its bytes, where those of both are known."""
    if None not in (origin.digest, save.digest) and save.without is None:
        return save.digest == origin.digest
    return save.path == origin.path


def changes(catalog: Catalog, before: Target, after: Target) -> tuple[list[str], int] | None:
    """The tensors and parts that differ between two kept checkpoints, and how many are the same; None where one is not kept."""
    recipes = catalog.recipe(before), catalog.recipe(after)
    if recipes[0] is None or recipes[1] is None:
        return None
    return changed_parts(recipes[0], recipes[1])
