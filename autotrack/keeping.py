"""Which checkpoints of a run are stored, and when: the policy `log_model`.

"auto": none is copied; the best or last one is linked into the store at the moment when rotation is about to delete it, and where a
link cannot be had (another file system) it is stored while it is the best or last. True: the best and the last are stored. "all":
every one. False: none. What is neither best nor last any more is dropped again, unless somebody has pinned it.
"""

import errno
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from autotrack.config import setting
from autotrack.digests import Look, look_at
from autotrack.errors import NoRoom, NotWhole
from autotrack.guard import guarded, warn
from autotrack.late import event_late
from autotrack.mounts import holds_what_is_read, kind_of
from autotrack.options import LogModel, log_model_choice
from autotrack.sealing import pace, seal_later, seal_now, store_later

if TYPE_CHECKING:
    from autotrack.objects.keep import Kept
    from autotrack.objects.seal import Seal
    from autotrack.run import Run


class Save:
    """One save of a checkpoint in this process, and what has become of it."""

    def __init__(
        self,
        id: str,
        path: str,
        look: Look,
        without: str | None,
        score: float | None = None,
        monitor: str | None = None,
        mode: str | None = None,
    ) -> None:
        self.id = id
        self.path = path
        self.look = look
        self.without = without
        self.score = score
        self.monitor = monitor
        self.mode = mode
        self.seal: Seal | None = None
        self.gone = False
        self.kept: Literal["", "asked", "linked", "stored"] = ""


class Retention:
    """The checkpoints of one run, as far as this process has saved them."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._here: dict[str, Save] = {}
        self._best: dict[str, Save] = {}
        self._last: Save | None = None

    @property
    def _kept(self) -> "Kept":
        """What stores; it is loaded by the helper thread as a rule, as loading it takes some 20 ms."""
        from autotrack.objects.keep import Kept

        return Kept(self._run.layout.objects)

    @property
    def policy(self) -> LogModel:
        """What the user asked for: of the run, else by AUTOTRACK_LOG_MODEL, else "auto"."""
        if self._run.log_model is not None:
            return self._run.log_model
        try:
            choice = log_model_choice(setting("LOG_MODEL"))
        except ValueError as error:
            warn("log-model", f"AUTOTRACK_LOG_MODEL: {error}. 'auto' was used.")
            return "auto"
        return "auto" if choice is None else choice

    def saved(self, save: Save) -> None:
        """A checkpoint was saved; what was best or last until now may be neither any more."""
        before = self._here.get(save.path)
        if before is not None:
            before.gone = True
        self._here[save.path] = save
        left = [self._last] if self._last is not None else []
        self._last = save
        best = self._best.get(save.monitor or "")
        if (
            save.score is not None
            and save.mode is not None
            and save.score == save.score
            and (best is None or _better(save, best))
        ):
            left += [best] if best is not None else []
            self._best[save.monitor or ""] = save
        for one in left:
            if one.kept == "stored" and not self._is_wanted(one):
                store_later(partial(self._drop, one))

    def read_later(self, save: Save) -> None:
        """Have a new checkpoint read on the helper thread: into the store at once where it is to be there, else to know it."""
        if self.policy in (True, "all") and save.look.is_whole():
            store_later(partial(self._read_into_store, save))
        else:
            seal_later(save.path, save.look, save.without, partial(self.sealed, save))

    def _read_into_store(self, save: Save) -> None:
        """What cannot be stored that way is read as the others are, and `_store` tells why."""
        from autotrack.objects.budget import Budget

        if self._is_to_be_stored(save) and not holds_what_is_read(kind_of(save.path)):
            with suppress(NoRoom, NotWhole, OSError):
                Budget(self._run.layout.objects).claim(save.look.size)
                take = partial(self._take_if_same, save)
                added = self._kept.add(self._run.id, save.id, save.path, save.look, None, pace, (), take)
                self._is_stored(save, added.new)
        if save.seal is None:
            seal_now(save.path, save.look, save.without, partial(self.sealed, save))
        elif save.seal.problem is None and not save.kept:
            self._store(save)

    def _take_if_same(self, save: Save, seal: "Seal") -> None:
        if look_at(save.path, save.without) != save.look:
            raise FileNotFoundError(errno.ENOENT, "it was changed while it was read", save.path)
        self._take(save, seal)

    def sealed(self, save: Save, seal: "Seal") -> None:
        """On the helper thread: a checkpoint was read and is known by its digest."""
        self._take(save, seal)
        if seal.problem is None and not save.kept and self._is_to_be_stored(save):
            save.kept = "asked"
            store_later(lambda: self._store(save))

    def _take(self, save: Save, seal: "Seal") -> None:
        """The record says what was found; damage is told to the user at once."""
        save.seal = seal
        facts = {"digest": seal.digest, "format": seal.format}
        if seal.problem is None:
            event_late(self._run, "checkpoint", _event("sealed", save) | facts)
            return
        event_late(self._run, "checkpoint", _event("damaged", save) | facts | {"why": seal.problem})
        warn(
            "checkpoint",
            f"The checkpoint {save.path} is damaged: {seal.problem}. Save it again before you rely on it.",
            key=save.path,
        )

    def going(self, path: str) -> None:
        """On the training thread: rotation is about to delete a path."""
        for save in self._below(path):
            if save.kept in ("", "asked") and self._is_wanted(save):
                self._link(save)

    def stayed(self, path: str) -> None:
        """It was not deleted after all."""
        for save in self._below(path):
            if save.kept == "linked":
                save.kept = ""
                self._kept.unlink(self._run.id, save.id)

    def gone(self, path: str) -> None:
        """A path was deleted."""
        for save in self._below(path):
            save.gone = True
            del self._here[save.path]
            if save.kept == "linked":
                store_later(partial(self._settle, save))

    def _below(self, path: str) -> list[Save]:
        return [
            save for known, save in self._here.items() if known == path or known.startswith(path + os.sep)
        ]

    def _is_wanted(self, save: Save) -> bool:
        """Whether the policy wants the bytes of a checkpoint to be there, wherever they are."""
        policy = self.policy
        if policy is False:
            return False
        return policy == "all" or save is self._last or save in self._best.values()

    def _is_to_be_stored(self, save: Save) -> bool:
        """Whether they are to be in the store while the user has them too."""
        if not self._is_wanted(save):
            return False
        return self.policy != "auto" or not self._may_be_linked(save)

    def _may_be_linked(self, save: Save) -> bool:
        try:
            return os.stat(save.path).st_dev == os.stat(self._run.layout.root).st_dev
        except OSError:
            return True

    def _link(self, save: Save) -> None:
        with guarded("linking a checkpoint that is about to be deleted"):
            try:
                self._kept.link(self._run.id, save.id, save.path, save.look)
                save.kept = "linked"
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EXDEV):
                    self._not_kept(save, f"it could not be linked: {error.strerror or error}")

    def _settle(self, save: Save) -> None:
        """What was linked has lost its own name: write its recipe, or put it into packs with what it has in common with others."""
        if save.kept != "linked":
            return
        from autotrack.objects.seal import seal_of

        place = self._kept.beside(self._run.id, save.id)
        inside = (
            os.fspath(place)
            if save.look.files is not None
            else os.path.join(place, os.path.basename(save.path))
        )
        if save.seal is None:
            seal = seal_of(inside, save.look, save.without, pace)
            if seal is not None:
                self._take(save, seal)
        if save.seal is None or save.seal.problem is not None or not self._is_wanted(save):
            self._kept.unlink(self._run.id, save.id)
            save.kept = ""
            return
        if self.policy != "auto" and self._store(save, inside):
            self._kept.unlink(self._run.id, save.id)
            return
        self._kept.settle_linked(self._run.id, save.id, save.path, save.seal.files)
        save.kept = "stored"
        self._tell(save, "linked", save.look.size)

    def _store(self, save: Save, inside: str | None = None) -> bool:
        """Put a checkpoint into packs. False where that could not be; the record says why."""
        from autotrack.objects.budget import Budget

        if (save.gone and inside is None) or not self._is_wanted(save):
            return False
        try:
            Budget(self._run.layout.objects).claim(save.look.size)
            known = save.seal.files if save.seal is not None else ()
            added = self._kept.add(
                self._run.id, save.id, inside or save.path, save.look, save.path, pace, known
            )
        except (NoRoom, OSError) as error:
            if save.gone and inside is None:  # rotation was quicker, and has linked it where that is wanted
                return False
            save.kept = ""
            self._not_kept(save, f"{getattr(error, 'strerror', None) or error}")
            return False
        self._is_stored(save, added.new, was_linked=inside is not None)
        return True

    def _is_stored(self, save: Save, new: int, was_linked: bool = False) -> None:
        if save.kept == "linked" and not was_linked:  # rotation came meanwhile
            self._kept.unlink(self._run.id, save.id)
        save.kept = "stored"
        self._tell(save, "packed", new)

    def _drop(self, save: Save) -> None:
        """What the record calls stored is stored, also when the process is killed between the two: so it says so first."""
        kept, run = self._kept, self._run.id
        if save.kept != "stored" or self._is_wanted(save) or kept.pin_path(run, save.id).exists():
            return
        event_late(self._run, "checkpoint", _event("unstored", save) | {"why": "superseded"})
        if kept.drop(run, save.id):
            save.kept = ""
            self._sweep()
        else:  # pinned in this very moment
            self._tell(save, "packed", 0)

    def _sweep(self) -> None:
        """Give back what nothing is made of any more, where nobody is storing just now; else the next one does it."""
        from autotrack.objects.sweep import NotNow, sweep

        try:
            sweep(self._kept, dry=False, pace=pace)
        except (NotNow, NotWhole, OSError):
            return

    def _tell(self, save: Save, how: str, new: int) -> None:
        event_late(self._run, "checkpoint", _event("stored", save) | {"how": how, "new": new})

    def _not_kept(self, save: Save, why: str) -> None:
        event_late(self._run, "checkpoint", _event("unstored", save) | {"why": why})
        warn(
            "store",
            f"The checkpoint {save.path} is not stored: {why}. The training's own file is as it was.",
            key=why,
        )


def _event(action: str, save: Save) -> dict[str, Any]:
    return {"action": action, "path": save.path, "save": save.id}


def _better(save: Save, best: Save) -> bool:
    """Whether a score is better; of two that are the same the later one counts, as it has seen more."""
    ours, theirs = save.score or 0.0, best.score or 0.0
    return ours <= theirs if save.mode == "min" else ours >= theirs
