"""The part of checking a store that concerns kept checkpoints and the decisions about them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from autotrack.errors import NotWhole
from autotrack.layout import Layout
from autotrack.objects.keep import Kept
from autotrack.objects.packs import packs_in, table_of
from autotrack.objects.rebuild import Shelf
from autotrack.registry.chain import check_chains
from autotrack.verify_run import Finding

OURS = ("packs", "kept", "rebuilt")
"""The folders beside the objects that hold no objects."""
ELSEWHERE = "@files"
_LEFT = (".tmp", ".dropping")


def kept_findings(
    layout: Layout, runs: Collection[str] | None, tell: Callable[[int], object]
) -> Iterator[Finding]:
    """What is damaged of the kept checkpoints of these runs (None: of all, and of the packs); `tell` is told of bytes read."""
    shelf = Shelf(Kept(layout.objects))
    for run, save in shelf.recipes():
        if runs is not None and run not in runs:
            continue
        path = shelf.kept.recipe_path(run, save)
        name, owner = str(path.relative_to(layout.root)), None if run == ELSEWHERE else run
        try:
            recipe = shelf.recipe(run, save)
        except (NotWhole, OSError) as error:
            yield Finding("damage", "recipe", owner, name, f"cannot be read: {error}")
            continue
        for damage in shelf.damages(recipe, tell) if recipe is not None else ():
            text = f"of the kept checkpoint {recipe.path if recipe else save}, {damage}"
            yield Finding("damage", "kept", owner, name, text)
    if runs is None:
        yield from _packs(layout, shelf.kept)


def kept_count(layout: Layout, runs: Collection[str] | None) -> int:
    """How many kept checkpoints there are of these runs."""
    return sum(runs is None or run in runs for run, _ in Shelf(Kept(layout.objects)).recipes())


def _packs(layout: Layout, kept: Kept) -> Iterator[Finding]:
    for pack in packs_in(kept.packs):
        try:
            table_of(pack)
        except (NotWhole, OSError) as error:
            yield Finding(
                "damage", "pack", None, str(pack.relative_to(layout.root)), f"cannot be read: {error}"
            )
    left = [path for folder in (kept.packs, kept.folder) if folder.is_dir() for path in folder.rglob("*")]
    for path in sorted(path for path in left if path.suffix in _LEFT):
        text = "was left behind by a process that died; `autotrack checkpoint gc` frees it"
        yield Finding("note", "left", None, str(path.relative_to(layout.root)), text)


def decision_findings(layout: Layout, noted: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[Finding]:
    """What is wrong with the decisions about models; `noted`: the heads that runs saw."""
    for fault in check_chains(layout.registry, noted).faults:
        name = f"{layout.registry.name}/{fault.model}/{fault.number}.json"
        yield Finding("damage", "decision", None, name, fault.text)
