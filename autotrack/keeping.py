"""Which checkpoints of a run are stored, and when: the policy `log_model`.

"auto": none is copied; the best or last one is linked into the store at the moment when rotation is about to delete it, and where a
link cannot be had (another file system) it is stored while it is the best or last. True: the best and the last are stored. "all":
every one. False: none. What is neither best nor last any more is dropped again, unless somebody has pinned it.
"""

import errno
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from autotrack import background
from autotrack.digests import look_at
from autotrack.earlier import earlier_checkpoints, earlier_saves, has_earlier_attempts
from autotrack.errors import NoRoom, NotWhole
from autotrack.guard import guarded, warn
from autotrack.late import event_late
from autotrack.layout import new_run_id
from autotrack.mounts import holds_what_is_read, kind_of
from autotrack.options import LogModel, policy_of
from autotrack.ranking import Ranking, Save
from autotrack.sealing import pace, seal_later, seal_now, store_later

if TYPE_CHECKING:
    from autotrack.objects.keep import Kept
    from autotrack.objects.seal import Seal
    from autotrack.run import Run


class Retention:
    """The checkpoints of one run: those that this process has saved, and those of earlier attempts that count still."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._here: dict[str, Save] = {}
        self._ranking = Ranking()
        self._own: set[str] = set()
        self._unknown: dict[str, Save] | None = None
        """While earlier attempts are being looked up: what rotation deletes meanwhile and may be theirs, by path."""
        if self.policy is not False and has_earlier_attempts(run):
            self._unknown = {}
            background.submit(self._recall)

    @property
    def _kept(self) -> "Kept":
        """What stores; it is loaded by the helper thread as a rule, as loading it takes some 20 ms."""
        from autotrack.objects.keep import Kept

        return Kept(self._run.layout.objects)

    @property
    def policy(self) -> LogModel:
        """What the user asked for: of the run, else by AUTOTRACK_LOG_MODEL, else "auto"."""
        return policy_of(self._run.log_model)

    def saved(self, save: Save) -> None:
        """A checkpoint was saved."""
        before = self._here.get(save.path)
        if before is not None:
            before.gone = True
        self._own.add(save.id)
        self._here[save.path] = save
        self._ranking.saved(save)

    def read_later(self, save: Save) -> None:
        """Have a new checkpoint read on the helper thread: into the store at once where it is to be there, else to know it."""
        if self.policy in (True, "all") and save.look.is_whole():
            store_later(partial(self._read_into_store, save))
        else:
            seal_later(save.path, save.look, save.part, partial(self.sealed, save))

    def _read_into_store(self, save: Save) -> None:
        """What cannot be stored that way is read as the others are, and `_store` tells why."""
        from autotrack.objects.budget import Budget

        is_readable = not holds_what_is_read(kind_of(save.path))
        if is_readable and self._is_to_be_stored(save) and not self._kept.has_reflinks(save.path, save.look):
            with suppress(NoRoom, NotWhole, OSError):
                Budget(self._run.layout.objects).claim(save.look.size)
                take = partial(self._take_if_same, save)
                added = self._kept.add(self._run.id, save.id, save.path, save.look, None, pace, (), take)
                self._is_stored(save, "packed", added.new)
        if save.seal is None:
            seal_now(save.path, save.look, save.part, partial(self.sealed, save))
        elif save.seal.problem is None and not save.kept:
            self._store(save)

    def _take_if_same(self, save: Save, seal: "Seal") -> None:
        if look_at(save.path, save.part) != save.look:
            raise FileNotFoundError(errno.ENOENT, "it was changed while it was read", save.path)
        self._take(save, seal)

    def sealed(self, save: Save, seal: "Seal") -> None:
        """On the helper thread: a checkpoint was read and is known by its digest."""
        self._take(save, seal)
        if seal.problem is None and not save.kept and self._is_to_be_stored(save):
            save.kept = "asked"
            store_later(lambda: self._store(save))

    def _take(self, save: Save, seal: "Seal") -> None:
        """The record says what was found; damage is told to the user at once. What is best or last no more is dropped."""
        save.seal = seal
        facts = {"digest": seal.digest, "format": seal.format}
        if seal.problem is None:
            event_late(self._run, "checkpoint", _event("sealed", save) | facts)
            for one in self._ranking.whole(save):
                self._drop_later(one)
            return
        self._ranking.damaged(save)
        event_late(self._run, "checkpoint", _event("damaged", save) | facts | {"why": seal.problem})
        warn(
            "checkpoint",
            f"The checkpoint {save.path} is damaged: {seal.problem}. Save it again before you rely on it.",
            key=save.path,
        )

    def _recall(self) -> None:
        """On the helper thread: the best and the last of earlier attempts count beside those of this one."""
        with guarded("looking up the checkpoints of earlier attempts"):
            known = earlier_checkpoints(self._run, self._own)
            linked = dict(self._unknown or {})  # also what was linked while the index was asked
            for found in earlier_saves(known, {path: save.look for path, save in linked.items()}):
                self._rank_earlier(self._placed(found, linked.get(found.path)))
        self._unknown = None

    def _placed(self, found: Save, linked: Save | None) -> Save:
        """An earlier save at its path, where nothing else lies by now; as what was linked there, if it was that."""
        if linked is not None and found.look is linked.look:
            if found.kept == "stored":
                self._kept.unlink(self._run.id, linked.id)
            else:
                self._kept.move_linked(self._run.id, linked.id, found.id)
                found.kept = "linked"
            linked.become(found)
            return linked
        if not found.gone and self._here.setdefault(found.path, found) is not found:
            found.gone = True
        return found

    def _rank_earlier(self, save: Save) -> None:
        if save.digest is None:  # the process died before it was read
            self._ranking.saved(save)
            seal_later(save.path, save.look, save.part, partial(self.sealed, save))
            return
        for one in self._ranking.whole(save):
            if not one.is_of_all:
                self._drop_later(one)
        if not (save.kept or save.gone) and self._is_to_be_stored(save):
            save.kept = "asked"
            store_later(lambda: self._store(save))

    def going(self, path: str) -> None:
        """On the training thread: rotation is about to delete a path."""
        if self._unknown is not None and path not in self._here and self.policy is not False:
            self._link_unknown(path)
        for save in self._below(path):
            if save.kept in ("", "asked") and self._is_wanted(save):
                self._link(save)

    def _link_unknown(self, path: str) -> None:
        """What an earlier attempt may have saved is linked until that is known."""
        with guarded("linking a checkpoint that is about to be deleted"):
            try:
                save = Save(new_run_id(), path, look_at(path))
            except OSError:
                return
            save.is_known = False
            self._link(save)
            if save.kept == "linked" and self._unknown is not None:
                self._here[path] = self._unknown[path] = save

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
            elif save.how == "cloned":
                store_later(partial(self._pack_clone, save))

    def _below(self, path: str) -> list[Save]:
        known = list(self._here.items())  # the helper thread adds what earlier attempts have saved
        return [save for place, save in known if place == path or place.startswith(path + os.sep)]

    def _is_wanted(self, save: Save) -> bool:
        """Whether the policy wants the bytes of a checkpoint to be there, wherever they are."""
        policy = self.policy
        if policy is False:
            return False
        return save.is_known and (policy == "all" or self._ranking.has(save))

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
                if error.errno not in (errno.ENOENT, errno.EXDEV, errno.EEXIST):
                    self._not_kept(save, f"it could not be linked: {error.strerror or error}")

    def _settle(self, save: Save) -> None:
        """What was linked has lost its own name: write its recipe, or put it into packs with what it has in common with others."""
        if save.kept != "linked":
            return
        from autotrack.objects.seal import seal_of

        inside = self._inside(save)
        if save.seal is None and save.is_known:
            seal = seal_of(inside, save.look, save.part, pace)
            if seal is not None and save.digest in (None, seal.digest):
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
        """Keep the bytes of a checkpoint: as reflinks, where the training has it too, else in packs. False where that could not be.

        The record says why, unless rotation was quicker, which has linked it where that is wanted.
        """
        from autotrack.objects.budget import Budget

        if (save.gone and inside is None) or not self._is_wanted(save):
            return False
        try:
            Budget(self._run.layout.objects).claim(save.look.size)
            how, new = ("cloned", 0) if inside is None and self._clone(save) else self._pack(save, inside)
        except (NoRoom, OSError) as error:
            if save.gone and inside is None:
                return False
            save.kept = ""
            self._not_kept(save, f"{getattr(error, 'strerror', None) or error}")
            return False
        self._is_stored(save, how, new, was_linked=inside is not None)
        return True

    def _is_stored(self, save: Save, how: str, new: int, was_linked: bool = False) -> None:
        if save.kept == "linked" and not was_linked and how == "packed":  # rotation came meanwhile
            self._kept.unlink(self._run.id, save.id)
        save.kept = "stored"
        self._tell(save, how, new)
        if save.gone and how == "cloned":
            store_later(partial(self._pack_clone, save))

    def _clone(self, save: Save) -> bool:
        """False where the file system has no reflinks, or rotation has linked it meanwhile."""
        if save.seal is None:
            return False
        try:
            self._kept.clone(self._run.id, save.id, save.path, save.look, save.seal.files)
        except OSError:
            return False
        return True

    def _pack(self, save: Save, inside: str | None) -> tuple[str, int]:
        path = inside or save.path
        known = save.seal.files if save.seal is not None else ()
        added = self._kept.add(self._run.id, save.id, path, save.look, save.path, pace, known)
        if save.digest not in (None, added.recipe.digest):
            self._kept.drop(self._run.id, save.id)
            raise OSError(errno.ESTALE, "it is not what an earlier attempt has saved")
        return "packed", added.new

    def _pack_clone(self, save: Save) -> None:
        """A reflink is the only one with these bytes now: what it has in common with others is to be there once."""
        if save.kept != "stored" or save.how != "cloned" or not self._is_wanted(save):
            return
        from autotrack.objects.budget import Budget

        inside = self._inside(save)
        try:
            look = look_at(inside)
            Budget(self._run.layout.objects).claim(look.size)
            added = self._kept.add(self._run.id, save.id, inside, look, save.path, pace)
        except (NoRoom, OSError):
            return  # it stays as it is
        self._kept.unlink(self._run.id, save.id)
        self._tell(save, "packed", added.new)

    def _inside(self, save: Save) -> str:
        """Where what was linked or cloned of a checkpoint lies."""
        place = self._kept.beside(self._run.id, save.id)
        return os.fspath(place if save.look.files is not None else place / os.path.basename(save.path))

    def _drop_later(self, save: Save) -> None:
        if save.kept == "stored":
            store_later(partial(self._drop, save))

    def _drop(self, save: Save) -> None:
        """What the record calls stored is stored, also when the process is killed between the two: so it says so first."""
        kept, run = self._kept, self._run.id
        if save.kept != "stored" or self._is_wanted(save) or kept.pin_path(run, save.id).exists():
            return
        event_late(self._run, "checkpoint", _event("unstored", save) | {"why": "superseded"})
        if kept.drop(run, save.id):
            save.kept = ""
            self._sweep()
        elif kept.has(run, save.id):  # pinned in this very moment
            self._tell(save, save.how, 0)

    def _sweep(self) -> None:
        """Give back what nothing is made of any more, where nobody is storing just now; else the next one does it."""
        from autotrack.objects.sweep import NotNow, sweep

        try:
            sweep(self._kept, dry=False, pace=pace)
        except (NotNow, NotWhole, OSError):
            return

    def _tell(self, save: Save, how: str, new: int) -> None:
        save.how = how
        facts = {"how": how, "new": new, "policy": self.policy}
        event_late(self._run, "checkpoint", _event("stored", save) | facts)

    def _not_kept(self, save: Save, why: str) -> None:
        event_late(self._run, "checkpoint", _event("unstored", save) | {"why": why})
        warn(
            "store",
            f"The checkpoint {save.path} is not stored: {why}. The training's own file is as it was.",
            key=why,
        )


def _event(action: str, save: Save) -> dict[str, Any]:
    return {"action": action, "path": save.path, "save": save.id}
