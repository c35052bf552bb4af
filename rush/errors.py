"""What rush raises: `RushError` and its few kinds.

Wrong arguments raise the built-in ValueError or TypeError, timeouts raise TimeoutError.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rush.model import Placement


class RushError(Exception):
    """Base of every error that rush itself raises."""


class ConfigError(RushError, ValueError):
    """A setting, URL, profile or template is wrong."""


class ConnectionFailed(RushError, ConnectionError):
    """The server could not be reached, or refused the connection, for as long as `retry_timeout` allows."""


class StoreFull(RushError):
    """The server has reached its memory limit and refused a write for as long as `retry_timeout` allows."""


class NetworkGone(RushError):
    """The network that this worker belongs to was reset, or its server has lost it."""


class WorkerEnded(RushError):
    """The worker has already been marked as terminated, or another process has taken its id."""


class CodecError(RushError):
    """A value could not be encoded, decoded, or trusted."""


class WorkerStartError(RushError):
    """A worker died before it registered; the message ends with the last lines of its stderr."""


class BackendError(RushError):
    """A launch backend could not start, watch or stop workers.

    Attributes
    ----------
    placements
        What was placed all the same before it failed.
    """

    def __init__(self, message: str, placements: Sequence["Placement"] = ()) -> None:
        super().__init__(message)
        self.placements = tuple(placements)


class LimitReached(BackendError):
    """A job system takes no more jobs for now; what was not placed is held back."""


class BackendNotFound(BackendError, LookupError):
    """No launch backend has this name."""


class MissingDependency(RushError, ImportError):
    """An optional library is not installed; the message names the command that installs it."""
