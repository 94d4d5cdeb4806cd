"""Proof that no decision was changed, removed or slipped in: each names the digest of the one before, and runs have noted the last ones.

A chain alone does not keep its owner from writing all of it anew. Each run notes the heads that it found when it began: a copy of
those runs elsewhere, or of the heads in a commit, is what a rewritten chain is then found out by.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from autotrack.errors import RegistryError
from autotrack.objects.reading import CHUNK
from autotrack.registry.decisions import Decision, decision_paths, models_in, read
from autotrack.registry.models import Senseless, fold

Heads = dict[str, tuple[int, str]]
"""By model the number of its last decision, and the digest of that."""
_MOST_BYTES = 16 * CHUNK


class Fault(NamedTuple):
    """What is wrong with the chain of a model, at which decision."""

    model: str
    number: int
    text: str


class ChainReport(NamedTuple):
    """What was looked at, and what is wrong. `heads`: of the chains as they are now; `compared`: how many noted heads were looked up."""

    models: int
    decisions: int
    faults: list[Fault]
    heads: Heads
    compared: int

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def heads_of(registry: Path) -> Heads:
    """The last decision of each model, without looking at the ones before it; a damaged one is left out."""
    found: Heads = {}
    for model in models_in(registry):
        paths = list(decision_paths(registry / model))
        try:
            if paths:
                last = read(paths[-1], model)
                found[model] = (last.number, last.digest)
        except RegistryError:
            continue
    return found


def check_chains(registry: Path, noted: Iterable[tuple[str, Mapping[str, Any]]] = ()) -> ChainReport:
    """Read every decision, and look up the heads that runs have noted: (run, {model: [number, digest]})."""
    faults: list[Fault] = []
    chains = {model: _chain(registry, model, faults) for model in models_in(registry)}
    compared = 0
    for run, heads in noted:
        for model, head in heads.items():
            compared += 1
            faults += _compare(run, str(model), head, chains.get(str(model), {}))
    heads_now = {model: (max(chain), chain[max(chain)].digest) for model, chain in chains.items() if chain}
    return ChainReport(
        len(chains), sum(map(len, chains.values())), list(dict.fromkeys(faults)), heads_now, compared
    )


def _chain(registry: Path, model: str, faults: list[Fault]) -> dict[int, Decision]:
    """The decisions of a model that can be read, by number."""
    found: dict[int, Decision] = {}
    for path in decision_paths(registry / model):
        number = int(path.stem)
        try:
            if os.stat(path).st_size > _MOST_BYTES:
                raise RegistryError(f"{path} is far too large for a decision.")
            found[number] = read(path, model)
        except (RegistryError, OSError) as error:
            faults.append(Fault(model, number, str(error)))
    for number in range(1, max(found, default=0) + 1):
        if number not in found:
            if not any(fault.model == model and fault.number == number for fault in faults):
                faults.append(Fault(model, number, f"decision {number} is missing"))
            continue
        before = found.get(number - 1)
        said = found[number].body.get("before")
        if (number == 1 and said is not None) or (before is not None and said != before.digest):
            faults.append(
                Fault(
                    model,
                    number,
                    f"decision {number} follows another one than decision {number - 1} as it is now: one of them was changed",
                )
            )
    if not any(fault.model == model for fault in faults):
        try:
            fold(model, list(found.values()))
        except Senseless as error:
            faults.append(Fault(model, error.number, str(error)))
    return found


def _compare(run: str, model: str, head: Any, chain: Mapping[int, Decision]) -> Iterable[Fault]:
    """Whether what a run noted is still there."""
    try:
        number, digest = int(head[0]), str(head[1])
    except (TypeError, ValueError, IndexError, KeyError):
        return
    found = chain.get(number)
    if found is None:
        yield Fault(
            model,
            number,
            f"the run {run} has seen decision {number}, and it is not there: decisions were removed",
        )
    elif found.digest != digest:
        yield Fault(
            model, number, f"the run {run} has seen another decision {number}: the chain was written anew"
        )
