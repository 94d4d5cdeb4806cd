"""Whether what is kept is still what was kept, and what was decided still what was decided."""

from dataclasses import dataclass, field

from autotrack.catalog.find import Catalog
from autotrack.errors import CheckpointNotFound, NotWhole
from autotrack.objects.rebuild import Damage, Told
from autotrack.registry.chain import ChainReport, check_chains

Key = tuple[str, str]


@dataclass
class KeptReport:
    """How many kept checkpoints were read, how many bytes they stand for, and what is damaged, by "run:save"."""

    checkpoints: int = 0
    bytes: int = 0
    damages: dict[str, list[Damage]] = field(default_factory=dict)


def check_kept(catalog: Catalog, spec: str | None = None, tell: Told = bool) -> KeptReport:
    """Read what is kept again, all of it or one checkpoint. CheckpointNotFound where that is not kept."""
    report = KeptReport()
    if spec is None:
        keys = list(catalog.shelf.recipes())
    else:
        target = catalog.find(spec)
        keys = [target.kept]
        if not catalog.kept.has(*target.kept):
            raise CheckpointNotFound(
                f"{target} is not kept in the store; `autotrack checkpoint get` tells where it lies."
            )
    for run, save in keys:
        try:
            recipe = catalog.shelf.recipe(run, save)
        except NotWhole as error:
            report.damages[f"{run}:{save}"] = [Damage("", "", f"cannot be told: {error}")]
            continue
        if recipe is None:
            continue
        report.checkpoints += 1
        report.bytes += recipe.size
        found = list(catalog.shelf.damages(recipe, tell))
        if found:
            report.damages[f"{run}:{save}"] = found
    return report


def kept_bytes(catalog: Catalog, spec: str | None = None) -> int:
    """How many bytes `check_kept` reads."""
    keys = [catalog.find(spec).kept] if spec is not None else catalog.shelf.recipes()
    total = 0
    for key in keys:
        try:
            recipe = catalog.shelf.recipe(*key)
        except NotWhole:
            continue
        total += 0 if recipe is None else recipe.size
    return total


def check_decisions(catalog: Catalog) -> ChainReport:
    """Read every decision, and compare the chains with what each run saw of them when it began."""
    return check_chains(catalog.layout.registry, catalog.index.registry_heads())
