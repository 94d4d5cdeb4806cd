"""Models that their user has saved nowhere: kept from memory, behind the training."""

import os
from collections import deque
from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from autotrack.errors import NoRoom
from autotrack.guard import warn
from autotrack.late import event_late
from autotrack.layout import new_run_id
from autotrack.options import policy_of
from autotrack.sealing import store_later

if TYPE_CHECKING:
    from autotrack.run import Run

MOST_BYTES = 64 * 1024 * 1024
"""What waits to be written; of more models than that at once the newest are kept."""


class _Model(NamedTuple):
    run: "Run"
    path: str
    format: str
    data: bytes
    by: str


_waiting: deque[_Model] = deque()


def stores_models(run: "Run") -> bool:
    """Whether a run's `log_model` lets its models be kept."""
    return policy_of(run.log_model) is not False


def keep_model(run: "Run", name: str, data: bytes, format: str, by: str) -> None:
    """Keep a model of a run as a file of this name; it is one of the run's checkpoints. All of it is the helper thread's work."""
    model = _Model(run, f"memory://{name}", format, data, by)
    _waiting.append(model)
    for old in _too_many(list(_waiting)):
        with suppress(ValueError):  # the helper thread has just taken it
            _waiting.remove(old)
            _Save(old).tell("unstored", why="newer models came faster than they could be written")
    store_later(partial(_write, model))


def _too_many(waiting: list[_Model]) -> list[_Model]:
    """The oldest ones, without which the others take no more than is kept; never the newest."""
    held = sum(len(one.data) for one in waiting)
    found = []
    for one in waiting[:-1]:
        if held <= MOST_BYTES:
            break
        held -= len(one.data)
        found.append(one)
    return found


def _write(model: _Model) -> None:
    """On the helper thread: the file, its recipe, and the events that say so."""
    from autotrack.objects.budget import Budget
    from autotrack.objects.keep import Kept
    from autotrack.objects.recipe import KeptFile

    try:
        _waiting.remove(model)
    except ValueError:
        return
    save = _Save(model)
    objects = model.run.layout.objects
    digest = sha256(model.data).hexdigest()
    try:
        Budget(objects).claim(len(model.data))
        file = KeptFile("", len(model.data), digest, model.format, None)
        Kept(objects).put(model.run.id, save.id, model.path, file, model.data)
    except (NoRoom, OSError) as error:
        why = f"{getattr(error, 'strerror', None) or error}"
        save.tell("unstored", why=why)
        warn("store", f"The model of the run {model.run.id} is not stored: {why}.", key=why)
        return
    save.tell("sealed", digest=digest, format=model.format)
    save.tell("stored", how="written", new=len(model.data))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_waiting.clear)  # the parent's helper thread writes these


class _Save:
    """What is said of a model that was kept, from the first word on."""

    def __init__(self, model: _Model) -> None:
        self.id = new_run_id()
        self._model = model
        self._say({"action": "saved", "id": self.id, "size": len(model.data), "by": model.by})

    def tell(self, action: str, **facts: Any) -> None:
        """One more event about it."""
        self._say({"action": action, "save": self.id, **facts})

    def _say(self, facts: dict[str, Any]) -> None:
        event_late(self._model.run, "checkpoint", {"path": self._model.path, **facts})
