"""A training that is resumed where no step is left: what is evaluated behind it belongs to the run that wrote the checkpoint.

That run is not gone on with, as a training would: it would have an attempt without a step, which hides what the one before has at
the same step. The values are added to it, as those of an evaluation are that comes after the end of a training.
"""

from os import PathLike

from autotrack import session
from autotrack.elsewhere import Place, run_at
from autotrack.layout import Layout, find_store
from autotrack.opening import resume_word
from autotrack.options import Options
from autotrack.process import is_worker, rank
from autotrack.resuming import origin_here
from autotrack.run import Run
from autotrack.training import keeps_out


def run_of(framework: str, checkpoint: str | PathLike[str], options: Options) -> Run | None:
    """The run that wrote a checkpoint, as one that has ended; None where a training would not go on with it.

    An open run notes the checkpoint, and takes what is evaluated.
    """
    if not session.recording() or is_worker() or rank() > 0:
        return None
    outer, origin = session.enclosing_run(), origin_here(checkpoint)
    if outer is not None:
        if not keeps_out(outer, options):
            origin.note(outer)
        return None
    if origin.run is None or resume_word(options.resume) == "never":
        return None
    if not origin.fits(framework, options.project):
        return None
    run = run_at(Place(Layout(find_store()).run_dir(origin.project, origin.run), origin.run))
    run.log_model = options.log_model
    return run
