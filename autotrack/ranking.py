"""Which saves of a run are the best, of each metric, and the last one.

Each place is known twice: as the training said when it saved, and among those that were read to their end and found whole. Until
a newer one is known to be whole, the one before keeps its place beside it: the newer one may be cut off, or the process killed.
"""

from itertools import count
from typing import TYPE_CHECKING, Literal

from autotrack.digests import ALL, Look, Part

if TYPE_CHECKING:
    from autotrack.objects.seal import Seal


_order = count(1)


class Save:
    """One save of a checkpoint, and what has become of it.

    `digest` and `order` are given of one that an earlier attempt of the run has saved: what was found then, and its place before
    all of this attempt (below 0).
    """

    def __init__(
        self,
        id: str,
        path: str,
        look: Look,
        part: Part = ALL,
        score: float | None = None,
        monitor: str | None = None,
        mode: str | None = None,
        digest: str | None = None,
        order: int | None = None,
    ) -> None:
        self.id = id
        self.path = path
        self.look = look
        self.part = part
        self.score = score
        self.monitor = monitor
        self.mode = mode
        self.digest = digest
        self.order = next(_order) if order is None else order
        self.seal: Seal | None = None
        self.gone = False
        self.kept: Literal["", "asked", "linked", "stored"] = ""
        self.how = "packed"
        self.is_of_all = False
        """Whether it is stored because all were to be."""
        self.is_known = True
        """Whether it is known which save of which attempt it is."""

    def become(self, other: "Save") -> None:
        """It is known now: what an earlier attempt has saved."""
        self.id, self.look, self.part = other.id, other.look, other.part
        self.score, self.monitor, self.mode = other.score, other.monitor, other.mode
        self.digest, self.order, self.is_known = other.digest, other.order, True
        self.kept, self.how, self.is_of_all = other.kept, other.how, other.is_of_all

    @property
    def is_judged(self) -> bool:
        """Whether it can be the best by a score."""
        return self.score is not None and self.mode is not None and self.score == self.score


class _Places:
    """The best by each metric, and the last."""

    def __init__(self) -> None:
        self.best: dict[str, Save] = {}
        self.last: Save | None = None

    def has(self, save: Save) -> bool:
        return save is self.last or save in list(self.best.values())

    def take(self, save: Save) -> None:
        """Give it the places that are its."""
        if self.last is None or save.order >= self.last.order:
            self.last = save
        best = self.best.get(save.monitor or "")
        if save.is_judged and (best is None or _is_better(save, best)):
            self.best[save.monitor or ""] = save


class Ranking:
    """The places of the saves of one run. What is found to be whole is told by the helper thread alone."""

    def __init__(self) -> None:
        self._said = _Places()
        self._whole = _Places()

    def has(self, save: Save) -> bool:
        """Whether a save has a place."""
        return self._said.has(save) or self._whole.has(save)

    def saved(self, save: Save) -> None:
        """The training has saved it."""
        self._said.take(save)

    def whole(self, save: Save) -> list[Save]:
        """It was read and found whole; those that had a place and have none any more are returned."""
        before = self._all()
        self._whole.take(save)
        self._agree()
        return [one for one in before if not self.has(one)]

    def damaged(self, save: Save) -> None:
        """It was found damaged: it has no place."""
        for monitor in [name for name, one in list(self._said.best.items()) if one is save]:
            del self._said.best[monitor]
        if self._said.last is save:
            self._said.last = None
        self._agree()

    def _agree(self) -> None:
        """Of what is known to be whole it is known who the best is, whatever was said."""
        for monitor, best in self._whole.best.items():
            said = self._said.best.get(monitor)
            if said is None or said.seal is not None or said.digest is not None:
                self._said.best[monitor] = best
        if self._said.last is None:
            self._said.last = self._whole.last

    def _all(self) -> list[Save]:
        found = [*self._said.best.values(), *self._whole.best.values(), self._said.last, self._whole.last]
        return list(dict.fromkeys(one for one in found if one is not None))


def _is_better(save: Save, best: Save) -> bool:
    """Whether a score is better; of two that are the same the earlier one counts, as for the frameworks, as long as it is there."""
    if save.score == best.score:
        is_there = bool(best.kept) or not best.gone
        return save.order < best.order or not is_there
    return beats(save.score or 0.0, best.score or 0.0, save.mode)


def beats(score: float, other: float, mode: str | None) -> bool:
    """Whether a score is better than another one: the less where `mode` is "min", else the more."""
    return score < other if mode == "min" else score > other
