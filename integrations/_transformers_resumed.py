"""A `Trainer.train` that is resumed where no step is left: what is evaluated behind it belongs to the run that wrote the checkpoint.

That run is not gone on with, as a training would: it would have an attempt without a step, which hides what the one before has at
the same step. The values are added to it, as those of an evaluation are that comes after the end of a training.
"""

from autotrack import session
from autotrack.integrations._transformers_steps import Train
from autotrack.layout import Layout, find_store
from autotrack.opening import resume_word
from autotrack.options import Options
from autotrack.process import is_worker, rank
from autotrack.resuming import origin_of
from autotrack.run import Run
from autotrack.start import Start


def over(checkpoint: str, options: Options) -> Train | None:
    """The training that wrote a checkpoint, as one that is over; None where it would not be gone on with.

    An open run notes the checkpoint, and takes what is evaluated.
    """
    if not session.recording() or is_worker() or rank() > 0:
        return None
    outer = session.enclosing_run()
    layout = outer.layout if outer is not None else Layout(find_store())
    origin = origin_of(layout, checkpoint)
    if outer is not None:
        origin.note(outer)
        return None
    if origin.run is None or resume_word(options.resume) == "never":
        return None
    if not origin.fits("transformers", options.project):
        return None
    facts = Start(origin.run, origin.project, None, None, (), "", "training", "transformers")
    run = Run(None, layout, facts, id=origin.run)
    run.log_model = options.log_model
    train = Train(_Ended(run), supervised=True)
    train.active = False
    return train


class _Ended:
    """The training of a run that has ended."""

    log_every = 1

    def __init__(self, run: Run) -> None:
        self.run = run

    def finish(self, error: BaseException | None = None) -> None:
        """It has ended."""
