"""Fabric: what `fabric.log` and `fabric.log_dict` are given, by a loop of the user's own.

A Fabric that has an AutoTrack among its callbacks, or any while `autolog()` is on, has a run from its first logged value on. A
Fabric says nothing of its end. The run ends with the function that `fabric.launch` (or a `run` method) runs, if that is where
it began; else when the Fabric is gone, which is the garbage collector's choice, for it refers to itself; else with the process,
whose status it has then. Until then it encloses nothing: the next Fabric has a run beside it.

What `fabric.save` writes is a checkpoint of that run, or of the one that is open; what `fabric.load` reads, what it began from.
Where `launch` spawns or forks processes the run begins there, and the process of rank 0 writes to it. `fabric.call` calls
callbacks with arguments of the user's own choice; it passes an AutoTrack by.
"""

import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any
from weakref import finalize

from autotrack import loads, saves, session
from autotrack.callback import ByIdentity, Recording, Watch, first_of
from autotrack.integrations._lightning_facts import model_facts, optimizer_facts, seed_facts
from autotrack.integrations._lightning_runs import part_of_another
from autotrack.integrations._lightning_values import plain
from autotrack.integrations._lightning_writes import Writes
from autotrack.options import Options
from autotrack.patcher import Call, Patcher
from autotrack.run import Run
from autotrack.training import begin_training


class Loop(Recording):
    """The run of a loop of the user's own."""

    last = -1
    """The last step that was given."""

    def record(self, values: dict[str, Any], step: int | None) -> None:
        """Record metrics, also when the run has ended."""
        if self.active:
            self.run.log(values, step=step)
        else:
            self.log(values, self.last + 1 if step is None else step)
        if step is not None:
            self.last = step


class Fabrics:
    """The recordings of the Fabric objects of this process."""

    def __init__(self, watch: Watch, writes: Writes) -> None:
        self._watch = watch
        self._writes = writes
        self._recordings: ByIdentity[Loop] = ByIdentity()
        self._config: ByIdentity[dict[str, Any]] = ByIdentity()

    def install(self, patcher: Patcher, module: ModuleType) -> None:
        """Watch the class `Fabric` of this module."""
        patcher.observe(module.Fabric, "_wrap_and_launch", self._launch)
        for name in ("setup", "setup_module", "setup_optimizers"):
            patcher.observe(module.Fabric, name, lambda _: self._after_setup)
        patcher.observe(module.Fabric, "log_dict", self._log)
        patcher.observe(module.Fabric, "call", self._pass_by)
        patcher.observe(module.Fabric, "save", self._save)
        for name in ("load", "load_raw"):
            patcher.observe(module.Fabric, name, self._load)

    def _launch(self, call: Call) -> Callable[[Call], None] | None:
        fabric, function = call.args[:2]
        if getattr(function, "__name__", "") == "_do_nothing" or self._recordings.get(fabric) is not None:
            return None
        if "MultiProcessing" in type(getattr(fabric.strategy, "launcher", None)).__name__:
            self._recording(fabric)

        def end(call: Call) -> None:
            recording = self._recordings.get(fabric)
            if recording is not None:
                recording.finish(call.error)

        return end

    def _log(self, call: Call) -> None:
        metrics, step = _metrics_and_step(*call.args[1:], **call.kwargs)
        recording = self._recording(call.args[0])
        if recording is not None and isinstance(metrics, Mapping):
            values = {key: plain(value) for key, value in metrics.items()}
            recording.record(values, None if step is None else int(step))

    def _save(self, call: Call) -> Callable[[Call], None] | None:
        """`fabric.save(path, state, …)`: when it returns, every process has written its part."""
        fabric, path = call.args[0], _path(call)
        known = isinstance(path, (str, os.PathLike)) and self._options(fabric) is not None
        if not known or not session.recording():
            return None
        if not fabric.is_global_zero:
            release = saves.enclose()
            return lambda call: release()
        run = self._run(fabric)
        return None if run is None else self._writes.begin(run, fabric.strategy, path, {"by": "Fabric.save"})

    def _load(self, call: Call) -> Callable[[Call], None] | None:
        """`fabric.load(path, …)` and `fabric.load_raw(path, …)`."""
        fabric, path = call.args[0], _path(call)
        if self._options(fabric) is None or not isinstance(path, (str, os.PathLike)):
            return None
        is_first = fabric.is_global_zero
        release = loads.loading(path, lambda: self._run(fabric)) if is_first else saves.enclose()
        return lambda call: release()

    def _run(self, fabric: Any) -> Run | None:
        """The run of a Fabric's loop; before it has begun the one around it, but not that of another Fabric."""
        recording = self._recordings.get(fabric)
        run: Run | None = session.unasked(session.enclosing_run()) if recording is None else recording.run
        return run

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
        """`setup(module, *optimizers)`, `setup_module(module)`, `setup_optimizers(*optimizers)` have returned."""
        fabric, *parts = call.args
        optimizers = [optimizer_facts(part) for part in parts if hasattr(part, "param_groups")]
        config: dict[str, Any] = {"optimizer": optimizers[0] if len(optimizers) == 1 else optimizers}
        modules = [call.kwargs.get("module"), *(part for part in parts if hasattr(part, "named_modules"))]
        config["model"] = next((model_facts(module) for module in modules if module is not None), None)
        config = {name: value for name, value in config.items() if value}
        recording = self._recordings.get(fabric)
        if recording is not None:
            recording.run.update_config(config, source="lightning")
        elif self._options(fabric) is not None:
            self._config.set(fabric, (self._config.get(fabric) or {}) | config)

    def _recording(self, fabric: Any) -> Loop | None:
        options = self._options(fabric)
        if options is None or not fabric.is_global_zero:
            return None
        known = self._recordings.get(fabric)
        if known is not None:
            return known
        config = {"fabric": _facts(fabric)} | (self._config.get(fabric) or {})
        training = begin_training("lightning", name="fabric", config=config, options=options, nested="child")
        if training is not None:
            training.step_aside()
        part = training or part_of_another(options)
        if part is None:
            return None
        recording = Loop(part, supervised=False)
        self._recordings.set(fabric, recording)
        finalize(fabric, recording.finish).atexit = False
        return recording

    def _options(self, fabric: Any) -> Options | None:
        tracker = first_of(fabric._callbacks)
        if tracker is not None:
            return tracker.options_for("lightning")
        return self._watch.autolog.options if self._watch.autolog is not None else None


def _path(call: Call) -> Any:
    return call.args[1] if len(call.args) > 1 else call.kwargs.get("path")


def _metrics_and_step(metrics: Any, step: Any = None) -> tuple[Any, Any]:
    return metrics, step


def _facts(fabric: Any) -> dict[str, Any]:
    facts = {
        name: type(getattr(fabric, f"_{name}")).__name__ for name in ("strategy", "accelerator", "precision")
    }
    return facts | {"world_size": fabric.world_size, "device": str(fabric.device)} | seed_facts()
