"""Fabric: what `fabric.log` and `fabric.log_dict` are given, by a loop of the user's own.

A Fabric that has an AutoTrack among its callbacks, or any while `autolog()` is on, has a run from its first logged value on,
until it is no longer needed or the process ends. `fabric.call` calls callbacks with arguments of the user's own choice; it
passes an AutoTrack by.
"""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any
from weakref import finalize

from autotrack.callback import ByIdentity, Recording, Watch, first_of
from autotrack.integrations._lightning_facts import model_facts, optimizer_facts
from autotrack.integrations._lightning_values import plain
from autotrack.options import Options
from autotrack.patcher import Call, Patcher
from autotrack.training import begin_training


class Fabrics:
    """The recordings of the Fabric objects of this process."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._recordings: ByIdentity[Recording] = ByIdentity()
        self._config: ByIdentity[dict[str, Any]] = ByIdentity()

    def install(self, patcher: Patcher, module: ModuleType) -> None:
        """Watch the class `Fabric` of this module."""
        patcher.observe(module.Fabric, "setup", lambda _: self._after_setup)
        patcher.observe(module.Fabric, "log_dict", self._log)
        patcher.observe(module.Fabric, "call", self._pass_by)

    def _log(self, call: Call) -> None:
        metrics, step = _metrics_and_step(*call.args[1:], **call.kwargs)
        recording = self._recording(call.args[0])
        if recording is not None and isinstance(metrics, Mapping):
            values = {key: plain(value) for key, value in metrics.items()}
            recording.run.log(values, step=None if step is None else int(step))

    def _pass_by(self, call: Call) -> Callable[[Call], None] | None:
        fabric = call.args[0]
        before = fabric._callbacks
        if first_of(before) is None:
            return None
        others = fabric._callbacks = [each for each in before if first_of([each]) is None]

        def end(call: Call) -> None:
            if fabric._callbacks is others:
                fabric._callbacks = before

        return end

    def _after_setup(self, call: Call) -> None:
        fabric, module, *optimizers = call.args
        config = {
            "model": model_facts(module),
            "optimizer": [optimizer_facts(optimizer) for optimizer in optimizers],
        }
        if len(optimizers) == 1:
            (config["optimizer"],) = config["optimizer"]
        recording = self._recordings.get(fabric)
        if recording is not None:
            recording.run.update_config(config, source="lightning")
        elif self._options(fabric) is not None:
            self._config.set(fabric, config)

    def _recording(self, fabric: Any) -> Recording | None:
        known = self._recordings.get(fabric)
        if known is not None:
            return known if known.active else None
        options = self._options(fabric)
        if options is None or not fabric.is_global_zero:
            return None
        config = {"fabric": _facts(fabric)} | (self._config.get(fabric) or {})
        training = begin_training("lightning", name="fabric", config=config, options=options, nested="child")
        if training is None:
            return None
        recording = Recording(training, supervised=False)
        self._recordings.set(fabric, recording)
        finalize(fabric, recording.finish).atexit = False
        return recording

    def _options(self, fabric: Any) -> Options | None:
        tracker = first_of(fabric._callbacks)
        if tracker is not None:
            return tracker.options
        return self._watch.autolog.options if self._watch.autolog is not None else None


def _metrics_and_step(metrics: Any, step: Any = None) -> tuple[Any, Any]:
    return metrics, step


def _facts(fabric: Any) -> dict[str, Any]:
    facts = {
        name: type(getattr(fabric, f"_{name}")).__name__ for name in ("strategy", "accelerator", "precision")
    }
    return facts | {"world_size": fabric.world_size, "device": str(fabric.device)}
