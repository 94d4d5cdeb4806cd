"""The checkpoint that a call of a Lightning trainer loads, by `ckpt_path`: what a fit goes on from, or what is evaluated.

`connector.resume_start` has loaded it, in the process that works with it; "best", "last" and "hpc" are paths by then.
"""

from typing import Any, NamedTuple

from autotrack.callback import ByIdentity
from autotrack.guard import reason
from autotrack.integrations._lightning_checkpoints import of_a_search
from autotrack.patcher import Patcher


class Loaded(NamedTuple):
    """A checkpoint: its path, and the steps and epochs that it was trained for, as Lightning's loggers count them."""

    path: Any
    trained: tuple[int, int] | None = None


class LoadedByCalls:
    """By trainer: the checkpoint that its call under way, or its last one, has loaded."""

    def __init__(self) -> None:
        self._known: ByIdentity[Loaded] = ByIdentity()

    def install(self, patcher: Patcher, connector: Any) -> None:
        """Watch a namespace's checkpoint connector."""
        patcher.listen(connector, "resume_start", self._started)

    def of(self, trainer: Any) -> Loaded | None:
        """What the trainer's call has loaded; None for nothing."""
        return self._known.get(trainer)

    def forget(self, trainer: Any) -> None:
        """Another call begins."""
        self._known.drop(trainer)

    def _started(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        connector, path = args[0], kwargs.get("checkpoint_path", args[1] if len(args) > 1 else None)
        if path is not None and not of_a_search(path):
            trained = reason(_trained, connector._loaded_checkpoint)[0]
            self._known.set(connector.trainer, Loaded(path, trained))


def _trained(checkpoint: Any) -> tuple[int, int]:
    loop = checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"]
    return int(loop["_batches_that_stepped"]), int(checkpoint["epoch"])
