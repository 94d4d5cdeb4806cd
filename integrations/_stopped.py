"""What ended a training: the words that every integration uses for it, in the config under `stopped`.

`{"by": one of REASONS, "reason": the same in words, …}`.
"""

from typing import Literal

from autotrack.ending import pruned, status_of

Reason = Literal[
    "max_steps", "max_epochs", "max_time", "early_stopping", "callback", "data", "pruned", "interrupted", "error"
]  # fmt: skip
"""
max_steps, max_epochs, max_time: the limit of that kind was reached.
early_stopping: a callback that watches a metric saw it no better for too long.
callback: anything else asked for the end, a callback or the model's own code.
data: there were no more batches.
pruned: a hyper-parameter search gave the trial up. interrupted: Ctrl-C, or a SIGTERM that Python saw. error: any other exception.
"""


def failure(error: BaseException) -> Reason:
    """The word for a training that this exception ended."""
    if pruned(error):
        return "pruned"
    return "interrupted" if status_of(error) == "interrupted" else "error"
