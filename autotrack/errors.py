"""The errors that autotrack raises, and the one warning class that it uses.

Recording never raises: what goes wrong there becomes an `AutotrackWarning` and a line in the run's record.
Reading raises these errors, each with the value that was wrong and what to do.
"""


class AutotrackError(Exception):
    """Base of every error that autotrack raises."""


class StoreError(AutotrackError):
    """The folder that holds the runs cannot be used."""


class RunNotFound(AutotrackError, LookupError):
    """No run has this id or prefix."""


class AmbiguousRun(AutotrackError, LookupError):
    """More than one run has this prefix."""


class FilterError(AutotrackError, ValueError):
    """A filter or an ordering does not parse."""


class UnsupportedVersion(AutotrackError):
    """An integration was asked for by name, and the framework's version is outside the tested range."""


class MissingExtra(AutotrackError, ImportError):
    """A package that is needed for this, and only for this, is not installed."""


class NotScalar(AutotrackError, TypeError):
    """A value cannot be recorded as a metric."""


class NotWhole(AutotrackError):
    """A checkpoint is damaged, cut off, or not what it says it is."""


class PickleRefused(AutotrackError):
    """A file can be loaded only by running code that it holds, and the caller did not say that this is wanted."""

    def __init__(self, path: object, what: str) -> None:
        super().__init__(
            f"{path} is {what}, and loading that runs whatever code it holds. "
            "If you trust who made it, say so: load(…, pickle=True), or --pickle."
        )


class NoRoom(AutotrackError):
    """Keeping a checkpoint would take more than the budget or the disk has."""


class CheckpointNotFound(AutotrackError, LookupError):
    """No checkpoint is known under this name, or its bytes are nowhere any more."""


class RegistryError(AutotrackError, ValueError):
    """A decision of the registry cannot be made so."""


class AliasMoved(RegistryError):
    """Somebody else has moved the alias meanwhile."""


class AutotrackWarning(UserWarning):
    """Something could not be recorded; the training goes on."""
