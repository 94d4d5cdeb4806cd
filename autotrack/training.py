"""What an integration calls when a training begins and ends: it decides which run the training belongs to."""

from collections.abc import Mapping
from os import PathLike
from typing import Any, Literal

from autotrack import background, loads, session
from autotrack.ending import status_of
from autotrack.guard import attempt, guarded, warn
from autotrack.marks import Owner
from autotrack.opening import Wanted, open_root, resume_word, unrecorded_run
from autotrack.options import Options
from autotrack.process import is_worker, rank
from autotrack.resuming import Origin, origin_here
from autotrack.run import Run
from autotrack.saves import prepare
from autotrack.session import disabled

__all__ = ["Options", "Training", "begin_training", "disabled", "in_training"]


class Training:
    """One training that goes on: its run, and whether the run ends with it."""

    def __init__(self, run: Run, owned: bool, log_every: int = 1) -> None:
        self.run = run
        self.owned = owned
        self.log_every = log_every
        """Of the values that every step has, those of each n-th one are wanted."""
        self._ended = False
        self._run_before = session.set_current(run)
        self._training_before = session.set_training(self)

    def step_aside(self) -> None:
        """Trainings that begin in this context from here on are not inside of this one: it has no end that they wait for."""
        if session.training() is self:
            session.set_training(self._training_before)
            session.set_current(self._run_before)

    def finish(self, error: BaseException | None = None) -> None:
        """The training is over, with the exception that ended it. Ending it twice does nothing."""
        if self._ended:
            return
        self._ended = True
        with guarded("ending the record of a training"):
            self.step_aside()
            status = status_of(error)
            if error is not None:
                session.note_way_out(error, interrupted=status == "interrupted")
            if self.owned:
                self.run.finish(status, None if status == "finished" else error, wait=False)


class Unrecorded(Training):
    """A training whose record could not be begun: nothing of it is kept, and no training inside of it is taken for one of its own."""

    def __init__(self, name: str | None, options: Options) -> None:
        wanted = Wanted(options.project, options.name or name)
        super().__init__(unrecorded_run(wanted), owned=False)
        session.set_current(self._run_before)  # what the user logs belongs where it did


def begin_training(
    framework: str,
    *,
    name: str | None,
    config: Mapping[str, Any] | None,
    options: Options,
    nested: Literal["child", "ignore"],
    checkpoint: str | PathLike[str] | None = None,
) -> Training | None:
    """Begin to record a training; None where nothing is to be recorded. Never raises.

    Nothing is recorded inside `disabled()`, in workers and ranks above 0, inside a training whose record could not be begun,
    (`nested="ignore"`) inside another training, and (`exclusive`) inside a run that the user opened.
    With no run open it is a run of its own. Inside `init()` or under the launcher the first training is recorded in that
    run, each further one in a child run. `checkpoint`: what the framework resumes from. With no run open, the run that wrote it
    is gone on with, unless that is a training of another framework or project, or one that goes on itself; a run that
    begins anew notes it as an input.
    """
    if not session.recording() or is_worker() or rank() > 0:
        return None
    if nested == "ignore" and session.training() is not None:
        return None
    if isinstance(session.training(), Unrecorded) or keeps_out(session.enclosing_run(), options):
        return None
    begun: Training | None = attempt(
        "beginning the record of a training", _begin, framework, name, config, options, checkpoint
    )
    return begun or attempt("going on without the record of a training", Unrecorded, name, options)


def keeps_out(run: Run | Owner | None, options: Options) -> bool:
    """Whether a training with these options is kept out of the run around it: it is the user's, and they are exclusive."""
    return options.exclusive and run is not None and run.by_user


def in_training() -> bool:
    """Whether this context is inside of a training that is being recorded."""
    return session.training() is not None


def _begin(
    framework: str,
    name: str | None,
    config: Mapping[str, Any] | None,
    options: Options,
    checkpoint: str | PathLike[str] | None,
) -> Training:
    outer = session.enclosing_run()
    origin: Origin | None = None
    if checkpoint is not None:
        origin = attempt("looking up the run that wrote a checkpoint", origin_here, checkpoint)
    if outer is None:
        resume = resume_word(options.resume)
        wanted = Wanted(options.project, options.name or name, options.group, tuple(options.tags))
        if origin is not None and resume != "never" and origin.fits(framework, options.project):
            wanted.id = origin.run
        run, owned = open_root(wanted, "training", framework), True
        loads.attach(run)
    elif outer.trainings == 0 and outer.opened_by in ("init", "launcher"):
        run, owned = outer, False
        run.event("edit", {"framework": framework})
        _take_in(run, options)
        background.submit(prepare, run)
    else:
        run, owned = (
            outer.child(options.name or name or framework, tags=tuple(options.tags), framework=framework),
            True,
        )
        if options.group is not None and options.group != run.group:
            run.set_group(options.group)
    if run.log_model is None:
        run.log_model = options.log_model
    if origin is not None:
        background.submit(origin.note, run)  # behind what was loaded before: the last one counts
    run.trainings += 1
    if config:
        run.update_config(config, source=framework)
    return Training(run, owned, options.log_every or 1)


def _take_in(run: Run, options: Options) -> None:
    """What was asked for a training that is recorded in a run which is open already: `init()` has said its own before."""
    run.add_tags(*options.tags)
    if (options.project, options.name, options.group) == (None, None, None):
        return
    if run.opened_by == "launcher" and not run.adopted:
        run.adopt(options.name, options.project, options.group, (), "")
        return
    for what in ("project", "name", "group"):
        asked, has = getattr(options, what), getattr(run, what)
        if asked is not None and asked != has:
            warn(
                "option-not-used",
                f"{what}={asked!r} of the training was not used: it is recorded in the run that is open, {run.name!r} "
                f"({run.id}), whose {what} is {has!r}. Give it to autotrack.init() instead.",
                key=what,
            )
