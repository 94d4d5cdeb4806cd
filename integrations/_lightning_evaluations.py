"""What a Lightning trainer computes outside of a fit: where it is recorded, and of which checkpoint."""

from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import ReferenceType, ref

from autotrack import background
from autotrack.callback import AutoTrack, ByIdentity, Recording, open_run
from autotrack.elsewhere import Elsewhere, place_of, run_at
from autotrack.guard import attempt, guarded
from autotrack.integrations import _nothing_left
from autotrack.integrations._lightning_loaded import LoadedByCalls
from autotrack.integrations._lightning_runs import Fit, described, launches, steps_of
from autotrack.integrations._lightning_values import StepValues, brought_back
from autotrack.options import Options
from autotrack.patcher import Call
from autotrack.resuming import origin_of
from autotrack.run import Run
from autotrack.training import begin_training


class Owned(NamedTuple):
    """A run that was opened for an evaluation: by which trainer, and what was evaluated in it so far."""

    trainer: ReferenceType[Any]
    recording: Recording
    kinds: set[str]


class Over(NamedTuple):
    """A training that was over before it was resumed: its run, and the class of its module."""

    part: Elsewhere
    kind: type


class Evaluations:
    """By trainer: the evaluation that goes on."""

    def __init__(self, fits: ByIdentity[Fit], modules: ByIdentity[Fit], loaded: LoadedByCalls) -> None:
        self.fits = fits
        self.modules = modules
        self.loaded = loaded
        self._known: ByIdentity[Evaluation] = ByIdentity()
        self.owned: ByIdentity[Owned] = ByIdentity()
        """By module: the run of its own that an evaluation of it had."""
        self.over: ByIdentity[Over] = ByIdentity()
        """By trainer: the run of its last fit, if that had nothing left to train."""

    def get(self, trainer: Any) -> "Evaluation | None":
        """The trainer's evaluation, if one was begun."""
        return self._known.get(trainer)

    def of(self, trainer: Any, tracker: AutoTrack) -> "Evaluation":
        """The trainer's evaluation, which begins now if it has not yet."""
        known = self._known.get(trainer)
        if known is None:
            known = Evaluation(trainer, tracker, self)
            self._known.set(trainer, known)
        return known

    def begin(self, what: str, call: Call, tracker: AutoTrack) -> Callable[[Call], None] | None:
        """`validate`, `test` or `predict` is called; what is returned is for its end."""
        trainer = call.args[0]
        if what == "predict":
            return lambda call: self._predicted(trainer, tracker)
        return self._launch(what, call, tracker) if launches(trainer) else None

    def fitted(self, trainer: Any, tracker: AutoTrack | None) -> None:
        """A fit is over; `tracker` is its AutoTrack where it had nothing left to train behind the checkpoint that it loaded."""
        self.over.drop(trainer)
        loaded, options = (
            self.loaded.of(trainer),
            None if tracker is None else tracker.options_for("lightning"),
        )
        if loaded is None or options is None or not trainer.is_global_zero:
            return
        run = _nothing_left.run_of("lightning", loaded.path, options)
        if run is not None:
            self.over.set(trainer, Over(Elsewhere(run), type(trainer.lightning_module)))

    def end(self, trainer: Any, error: BaseException | None) -> None:
        """The call is over."""
        known = self._known.get(trainer)
        if known is not None:
            known.finish(error)
        self._known.drop(trainer)

    def _launch(self, what: str, call: Call, tracker: AutoTrack) -> Callable[[Call], None]:
        """In processes that this one spawns or forks: what Lightning brings back is recorded here, and what its batches log there."""
        trainer = call.args[0]
        before = dict(trainer.callback_metrics)
        evaluation = self.of(trainer, tracker)
        given = (*call.args[1:], call.kwargs.get("model"))[0]
        module = trainer.lightning_module if given is None else given
        attempt("finding the run of an evaluation", evaluation.launch, module, what)

        def record(call: Call) -> None:
            if call.error is None:
                with guarded("recording an evaluation of other processes"):
                    evaluation.log_epoch(trainer, brought_back(before, trainer.callback_metrics))

        return record

    def _predicted(self, trainer: Any, tracker: AutoTrack) -> None:
        """Nothing is logged in `predict`: what it has loaded is an input of the run that there is for it."""
        if trainer.is_global_zero and trainer.lightning_module is not None:
            with guarded("noting the checkpoint that was predicted with"):
                self.of(trainer, tracker).note_known(trainer.lightning_module)


class Evaluation:
    """One `validate` or `test` outside of a fit; it finds or opens its run with its first value.

    One in processes that are launched for it does so before, and lets the first of them know the run by the AutoTrack.
    """

    def __init__(self, trainer: Any, tracker: AutoTrack, among: Evaluations) -> None:
        self.tracker = tracker
        self.values = StepValues()
        self.error: BaseException | None = None
        self._trainer = ref(trainer)
        self._among = among
        self._trained: tuple[int, int] | None = None
        """Steps and epochs of the checkpoint that is evaluated, where its run is the one that the values go to."""
        self._noted = False
        self._target: Recording | Elsewhere | Run | None = None
        self._own: Recording | None = None
        self._sought = False

    def launch(self, module: Any, what: str) -> None:
        """Other processes are about to evaluate a module: `what` is "validate" or "test"."""
        self._sought = True
        self._target = target = self._seek(self._trainer(), module, what)
        run = target if target is None or isinstance(target, Run) else target.run
        self.tracker.place = None if run is None else place_of(run)

    def log(self, values: dict[str, Any], step: int) -> None:
        """Record values where they belong."""
        target = self._find() if values else None
        if target is not None:
            target.log(values, step=step)

    def log_epoch(self, trainer: Any, values: dict[str, Any]) -> None:
        """Record what was computed of all batches, at the step that the module was trained to."""
        target = self._find() if values else None
        if target is not None and self._trained is not None:
            step, epoch = self._trained
            target.log({"epoch": epoch} | values, step=step)
        elif isinstance(target, Fit) and (target.launched or self._among.fits.get(trainer) is not target):
            target.log_after(values)
        elif target is not None:
            target.log({"epoch": trainer.current_epoch} | values, step=steps_of(trainer))

    def finish(self, error: BaseException | None = None) -> None:
        """The evaluation is over."""
        self._note()
        self.tracker.place = None
        self.values.clear()
        if self._own is not None:
            self._own.finish(self.error or error)

    def _find(self) -> Recording | Elsewhere | Run | None:
        if not self._sought:
            self._sought = True
            trainer: Any = self._trainer()
            place = self.tracker.place
            if place is not None:
                self._target = Elsewhere(run_at(place))
            else:
                self._target = self._seek(trainer, trainer.lightning_module, trainer.state.fn.value)
        self._note()
        return self._target

    def note(self) -> None:
        """Find its run, and note there what is evaluated."""
        self._find()

    def note_known(self, module: Any) -> None:
        """Note the checkpoint that was loaded in the run of a module, if there is one."""
        self._sought, self._target = True, self._known(self._trainer(), module)
        self._note()

    def _note(self) -> None:
        """The checkpoint that was loaded is an input of the run."""
        loaded, target = self._among.loaded.of(self._trainer()), self._target
        if self._noted or loaded is None or target is None:
            return
        self._noted = True
        run = target if isinstance(target, Run) else target.run
        origin = attempt("looking up the run that wrote a checkpoint", origin_of, run.layout, loaded.path)
        if origin is not None:
            background.submit(origin.note, run)
            self._trained = loaded.trained if origin.run == run.id else None

    def _seek(self, trainer: Any, module: Any, what: str) -> Recording | Elsewhere | Run | None:
        """The run that there is for it, else, for an AutoTrack made by hand, a new one.

        A `validate` behind a `test` of the same module by the same trainer goes into the run of that, and the other way round.
        """
        target = self._known(trainer, module)
        options = self.tracker.options_for("lightning")
        if target is not None or not self.tracker.by_hand or options is None:
            return target
        owned = self._among.owned.get(module)
        again = owned is not None and owned.trainer() is trainer and self._among.loaded.of(trainer) is None
        if owned is not None and again and what not in owned.kinds:
            owned.kinds.add(what)
            return owned.recording
        self._own = _begin(trainer, module, options, what)
        if self._own is not None:
            self._among.owned.set(module, Owned(ref(trainer), self._own, {what}))
        return self._own

    def _known(self, trainer: Any, module: Any) -> Recording | Elsewhere | Run | None:
        """The run of the module's last fit, or, of a module that was loaded anew, of the trainer's; else the open run."""
        fit = self._among.modules.get(module)
        if fit is not None:
            return fit
        fit, over = self._among.fits.get(trainer), self._among.over.get(trainer)
        if over is not None and over.kind is type(module):
            return over.part
        return fit if fit is not None and fit.kind is type(module) else open_run()


def _begin(trainer: Any, module: Any, options: Options, what: str) -> Recording | None:
    training = begin_training(
        "lightning",
        name=type(module).__name__,
        config=described(trainer, module) | {"evaluation": what},
        options=options,
        nested="child",
    )
    return Recording(training, supervised=True) if training is not None else None
