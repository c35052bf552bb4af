"""What is asked of the store about workers, and what it answers: frozen data."""

from dataclasses import dataclass

from rush.model import Cut, StopKind, WorkerState


@dataclass(frozen=True)
class Beat:
    """A worker's heartbeat; `expire` is in seconds."""

    worker_id: str
    incarnation: int
    expire: float


@dataclass(frozen=True)
class BeatReply:
    """What a supervisor hears when it renews heartbeats.

    Attributes
    ----------
    refused
        Workers that were declared lost or replaced: they have no heartbeat until their loops register again.
    stops
        Workers that are told to stop, and how.
    cancelled
        Pairs of task key and worker id: the task was cancelled while the worker ran it.
    next_check
        Seconds until the first heartbeat of the network runs out; None if no worker has one.
    gone
        The network was reset, or its server has lost it.
    """

    refused: list[str]
    stops: dict[str, StopKind]
    cancelled: list[tuple[str, str]]
    next_check: float | None
    gone: bool = False


@dataclass(frozen=True)
class ScanReply:
    """What a scan found.

    Attributes
    ----------
    lost
        The workers that it declared lost.
    next_look
        Seconds until it is worth looking again at those whose heartbeat has run out; None if there are none.
    next_check
        Seconds until the next heartbeat runs out; None if none can.
    """

    lost: list[str]
    next_look: float | None = None
    next_check: float | None = None


@dataclass(frozen=True)
class Ended:
    """How a worker ended; `time` is in seconds since the epoch, `cut` as in `Ending`."""

    state: WorkerState
    reason: str
    tail: str
    time: float
    cut: Cut | None = None


@dataclass(frozen=True)
class Counts:
    """How many tasks and workers there are, at one moment."""

    queued: int
    running: int
    finished: int
    failed: int
    workers: int
    running_workers: int
