"""What of the store's checkpoints could be freed, by which rule, and what each rule keeps; and the freeing of it.

Kept is what any rule wants: pinned, registered as a version that was not withdrawn, of a run that goes on, or one of those that a
version with an alias came from; then those that the caller asks for: the last ones, the best ones, and those of every so many steps.
"""

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotrack.catalog.fetch import REBUILT
from autotrack.catalog.find import Catalog
from autotrack.catalog.mending import Key, end_drop, going_on, settle_link, stored_again, tell
from autotrack.catalog.publish import ELSEWHERE, unpin
from autotrack.catalog.trace import lineage
from autotrack.errors import NotWhole
from autotrack.index.saves import Checkpoint
from autotrack.objects.budget import size_below
from autotrack.objects.reading import Pace
from autotrack.objects.recipe import Recipe
from autotrack.objects.store import unfinished
from autotrack.objects.sweep import NotNow, sweep
from autotrack.registry.models import Version

_YOUNG_SECONDS = 3600.0
_UNFINISHED_SECONDS = 24 * 3600.0
_LEFT = "left behind by processes that died"


@dataclass(frozen=True)
class Rules:
    """What else is kept of each run: the `last` so many checkpoints, the `best` so many of each metric, those of `every` so many steps.

    Without any of them all that the runs have kept stays, and only what nothing refers to is freed.
    """

    last: int | None = None
    best: int | None = None
    every: int | None = None

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return (self.last, self.best, self.every) != (None, None, None)


@dataclass
class Collection:
    """What is kept, by rule, and what is freed, by reason: the checkpoints, and bytes. A checkpoint may be kept by several rules."""

    kept: dict[str, set[Key]] = field(default_factory=dict)
    freed: dict[str, int] = field(default_factory=dict)
    dropped: list[Key] = field(default_factory=list)
    sizes: dict[Key, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    dry: bool = True

    def bytes_kept_only_by(self, rule: str) -> int:
        """The plain size of the checkpoints that no other rule keeps."""
        others: set[Key] = set().union(*(keys for name, keys in self.kept.items() if name != rule))
        return sum(self.sizes.get(key, 0) for key in self.kept[rule] - others)

    @property
    def bytes(self) -> int:
        """Bytes that are freed."""
        return sum(self.freed.values())


def collect(catalog: Catalog, rules: Rules, *, dry: bool = True, pace: Pace = bool) -> Collection:
    """Tell what can be freed, and free it unless `dry`. Nothing that is pinned, registered or being written is ever touched."""
    found = Collection(dry=dry)
    recipes = _recipes(catalog, found, pace)
    found.sizes = {key: recipe.size for key, recipe in recipes.items()}
    if not found.problems:
        _choose(catalog, rules, recipes, found)
        _free_checkpoints(catalog, recipes, found, pace)
    _free_rebuilt(catalog, found)
    _free_unfinished(catalog, found)
    return found


def _recipes(catalog: Catalog, found: Collection, pace: Pace) -> dict[Key, Recipe]:
    """What is kept; a drop that a process began and did not end is ended first."""
    if not found.dry:
        for aside in catalog.kept.folder.glob("*/*.dropping"):
            end_drop(catalog, (aside.parent.name, aside.stem))
    recipes: dict[Key, Recipe] = {}
    for key in catalog.shelf.recipes():
        pace()
        try:
            recipe = catalog.shelf.recipe(*key)
        except NotWhole as error:
            found.problems.append(f"{error}; nothing is freed while a recipe cannot be read")
            continue
        if recipe is not None:
            recipes[key] = recipe
    return recipes


def _choose(catalog: Catalog, rules: Rules, recipes: dict[Key, Recipe], found: Collection) -> None:
    saves = catalog.index.checkpoints()
    models = catalog.models()
    registered = {one.kept for model in models for one in model.versions if one.withdrawn is None}
    aliased = [model.versions[number - 1] for model in models for number in model.aliases.values()]
    pinned = {key for key in recipes if _is_pinned(catalog, key, registered)}
    going = going_on(catalog, (run for run, _ in recipes))
    live = {key for key in recipes if key[0] in going}
    parents = {
        (step["run"], step["checkpoint"].partition(":")[2])
        for one in aliased
        for step in _parents(catalog, one)
    }
    found.kept = {
        "pinned": pinned - registered,
        "registered": registered & recipes.keys(),
        "aliased": {one.kept for one in aliased} & recipes.keys(),
        "ancestors of aliased": parents & recipes.keys(),
        "of runs that go on": live,
    }
    if rules.any:
        ours = {run: [one for one in ones if (run, one.id or "") in recipes] for run, ones in saves.items()}
        found.kept |= _by_rules(rules, ours)
    else:
        found.kept["kept by their runs"] = _kept_by_their_runs(saves) & recipes.keys()
    wanted = set().union(*found.kept.values())
    found.dropped = sorted(key for key in recipes if key not in wanted)


def _kept_by_their_runs(saves: dict[str, list[Checkpoint]]) -> set[Key]:
    """What a run has not dropped, nor would have, had it not been killed: what was to be stored as best or last and is neither."""
    kept: set[Key] = set()
    for ones in saves.values():
        sealed = [one for one in ones if one.is_sealed]
        in_place = _keys((*sealed[-1:], *_best(sealed, 1)))
        stored = [one for one in ones if one.unstored is None]
        kept |= _keys(one for one in stored if one.policy in (None, "all") or one.best or one.last)
        kept |= in_place & _keys(stored)
    return kept


def _by_rules(rules: Rules, saves: dict[str, list[Checkpoint]]) -> dict[str, set[Key]]:
    chosen: dict[str, set[Key]] = {}
    if rules.last is not None:
        chosen[f"last {rules.last}"] = _keys(
            one for ones in saves.values() for one in ones[-rules.last :] if rules.last
        )
    if rules.best is not None:
        count = rules.best
        chosen[f"best {count}"] = _keys(one for ones in saves.values() for one in _best(ones, count))
    if rules.every is not None:
        step = rules.every
        chosen[f"every {step} steps"] = _keys(
            one for ones in saves.values() for one in ones if one.step is not None and one.step % step == 0
        )
    return chosen


def _keys(saves: Iterable[Checkpoint]) -> set[Key]:
    return {(one.run, one.id or "") for one in saves}


def _best(saves: list[Checkpoint], count: int) -> list[Checkpoint]:
    found: list[Checkpoint] = []
    for monitor in {one.monitor for one in saves if one.score is not None and one.mode is not None}:
        judged = [
            one
            for one in saves
            if one.monitor == monitor and one.score is not None and one.score == one.score
        ]
        judged.sort(key=lambda one: (one.score or 0.0) if one.mode == "min" else -(one.score or 0.0))
        found += judged[:count]
    return found


def _parents(catalog: Catalog, version: Version) -> list[dict[str, Any]]:
    return lineage(catalog, catalog.of_version(version))[1:]


def _is_pinned(catalog: Catalog, key: Key, registered: set[Key]) -> bool:
    """Whether somebody has pinned it; the pin of a registration that died half-way holds for an hour."""
    try:
        age = time.time() - catalog.kept.pin_path(*key).stat().st_mtime
    except FileNotFoundError:
        return False
    return key[0] != ELSEWHERE or key in registered or age < _YOUNG_SECONDS


def _free_checkpoints(catalog: Catalog, recipes: dict[Key, Recipe], found: Collection, pace: Pace) -> None:
    """What the record calls stored is stored, also when this is killed between the two: so the record says first that it is not."""
    freed = 0
    if not found.dry:
        tell(catalog, {key: [_unstored(recipes[key])] for key in found.dropped})
    for key in list(found.dropped):
        size = size_below(catalog.kept.beside(*key)) + _size(catalog.kept.recipe_path(*key))
        if not found.dry and not _drop(catalog, key):
            found.dropped.remove(key)
            if catalog.kept.has(*key):  # pinned meanwhile, and not dropped by somebody else
                tell(catalog, {key: [stored_again(recipes[key])]})
            continue
        freed += size
    found.freed["checkpoints that no rule keeps"] = freed
    _finish_links(catalog, recipes, found)
    if found.dry and not catalog.kept.packs.is_dir():
        return
    try:
        waste = sweep(
            catalog.kept, dry=found.dry, without=set(found.dropped) if found.dry else set(), pace=pace
        )
    except NotNow:
        found.problems.append("a checkpoint is being stored just now: packs are freed the next time")
        return
    except (NotWhole, OSError) as error:
        found.problems.append(f"packs are not freed: {error}")
        return
    found.freed["checkpoints that no rule keeps"] += sum(waste.packs.values())
    found.freed[_LEFT] = found.freed.get(_LEFT, 0) + sum(waste.leftovers.values())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _drop(catalog: Catalog, key: Key) -> bool:
    """Drop a checkpoint, unless it was pinned meanwhile; the pin of a registration that died half-way counts no more."""
    if key[0] == ELSEWHERE:
        unpin(catalog, *key)
    return catalog.kept.drop(*key)


def _unstored(recipe: Recipe) -> dict[str, Any]:
    return {"action": "unstored", "path": recipe.path, "why": "gc"}


def _finish_links(catalog: Catalog, recipes: dict[Key, Recipe], found: Collection) -> None:
    """What was linked by a process that died: kept if it is what was saved and has no recipe yet, else freed."""
    freed = 0
    saves = {(run, one.id or ""): one for run, ones in catalog.index.checkpoints().items() for one in ones}
    settled: dict[Key, list[dict[str, Any]]] = {}
    folders = sorted(path for path in catalog.kept.folder.glob("*/*") if path.is_dir())
    live = going_on(catalog, (folder.parent.name for folder in folders))
    for folder in folders:
        key = (folder.parent.name, folder.name)
        recipe, save = recipes.get(key), saves.get(key)
        is_used = recipe is not None and any(file.pieces is None for file in recipe.files)
        if is_used or folder.suffix == ".tmp" or key[0] in live or catalog.kept.aside(*key).exists():
            continue
        if recipe is None and save is not None:
            settled[key] = [] if found.dry else settle_link(catalog, save)
            if found.dry or settled[key]:
                continue
        freed += size_below(folder)
        if not found.dry:
            catalog.kept.unlink(*key)
    tell(catalog, settled)
    if freed:
        found.freed[_LEFT] = freed


def _free_rebuilt(catalog: Catalog, found: Collection) -> None:
    """Copies that were rebuilt for somebody to read; those of the last hour may be in use."""
    folder = catalog.layout.objects / REBUILT
    freed = 0
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if time.time() - path.stat().st_mtime < _YOUNG_SECONDS:
            continue
        freed += size_below(path)
        if not found.dry:
            shutil.rmtree(path, ignore_errors=True)
    found.freed["rebuilt copies"] = freed


def _free_unfinished(catalog: Catalog, found: Collection) -> None:
    """Objects that nobody has written to for a day: who did is gone. Its number tells nothing where several hosts share a store."""
    freed = 0
    for path in unfinished(catalog.layout.objects, _UNFINISHED_SECONDS):
        freed += _size(path)
        if not found.dry:
            path.unlink(missing_ok=True)
    if freed:
        found.freed[_LEFT] = found.freed.get(_LEFT, 0) + freed
