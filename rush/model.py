"""The words that rush speaks in: states, tasks, workers, placements. Frozen data, no behaviour beyond it."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec


class TaskState(enum.StrEnum):
    """The four states of a task; it is in exactly one of them at every moment."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class WorkerState(enum.StrEnum):
    """The states of a worker."""

    PENDING = "pending"
    RUNNING = "running"
    TERMINATED = "terminated"
    LOST = "lost"


class StopKind(enum.StrEnum):
    """How a worker is told to stop."""

    TERMINATE = "terminate"
    KILL = "kill"


class Cut(enum.StrEnum):
    """What told a loop to stop that nobody had asked to, and that would have gone on."""

    LIMIT = "limit"
    """The time limit of its job was near."""
    SIGNAL = "signal"
    """A signal came, as a job system sends one before it takes a node away."""


class TaskKey(str):
    """The key of a popped task, which remembers the attempt it was handed out for.

    It compares, hashes and prints as the plain key. A result that is handed in under it counts only for that
    attempt, so that one who was declared lost cannot pass an old result for the task's next attempt.
    """

    __slots__ = ("attempt",)
    attempt: int

    def __new__(cls, key: str, attempt: int) -> Self:
        """Make the key of one attempt."""
        self = str.__new__(cls, key)
        self.attempt = attempt
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the attempt when pickled."""
        return (TaskKey, (str(self), self.attempt))


class Task(msgspec.Struct, frozen=True):
    """A task as `pop_task` hands it out.

    Attributes
    ----------
    key
        The task's key, 16 characters.
    xs
        Its inputs; None when the field was not asked for.
    xs_extra
        What else was stored when it was created; None when there is nothing or it was not asked for.
    tries
        The number of this attempt, 1 at the first.
    timeout
        Seconds this attempt may take, or None.
    """

    key: str
    xs: dict[str, Any] | None
    xs_extra: dict[str, Any] | None = None
    tries: int = 1
    timeout: float | None = None


@dataclass(frozen=True)
class Ending:
    """How a loop ended, and what that means for the tasks it was running.

    Attributes
    ----------
    reason
        One phrase for people; it is also the message of the tasks that fail by it.
    uses_try
        Whether the running tasks pay with one of their tries. Known stops do not.
    state
        TERMINATED or LOST.
    tail
        The last lines of the loop's stderr.
    respawn
        A fresh loop takes the worker's place at once, so the worker stays running.
    key
        The one task that pays a try, where only one is to blame; the others go back without.
    cut
        What cut the loop short; None where it ended for itself, or as somebody asked.
    """

    reason: str
    uses_try: bool
    state: WorkerState = WorkerState.TERMINATED
    tail: str = ""
    respawn: bool = False
    key: str | None = None
    cut: Cut | None = None


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker says of itself when it registers."""

    worker_id: str
    pid: int
    hostname: str
    heartbeat: bool
    supervisor: str | None = None
    backend: str | None = None
    rush: str = ""
    python: str = ""
    registered: float = 0.0


class PlacementState(enum.StrEnum):
    """What a backend can see of a command that it placed."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class PlacementStatus:
    """The state of a placement, and the backend's own word for why.

    Attributes
    ----------
    interrupted
        Whether the job system ended it before its time: at its time limit, for another job, with its node.
    """

    state: PlacementState
    reason: str = ""
    interrupted: bool = False


@dataclass(frozen=True)
class Placement:
    """Where a backend put one supervisor: plain data, stored with its workers, so that any process can act on it.

    Attributes
    ----------
    backend
        Name of the backend that understands it.
    id
        Unique among the placements of a network.
    worker_ids
        The workers whose loops run there.
    host, pid, boot_id, created
        The process, for backends that start processes: its host, its id there, the host's boot id and the
        process's start time (seconds since the epoch), which together say whether it is still the same one.
    job_id
        The job system's id.
    stdout, stderr
        Paths of the supervisor's output.
    details
        Whatever else the backend needs; strings only.
    """

    backend: str
    id: str
    worker_ids: tuple[str, ...]
    host: str | None = None
    pid: int | None = None
    boot_id: str | None = None
    created: float | None = None
    job_id: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerCommand:
    """One supervisor to be placed: the interpreter's arguments, and the secrets that must not stand among them.

    Attributes
    ----------
    network_id
        The network the workers will join.
    worker_ids
        The workers whose loops this supervisor runs.
    arguments
        What follows the interpreter: ``-m rush.worker ...``, without secrets.
    secret
        To be handed over on standard input or in a file of mode 0600.
    supervised
        Whether the workers are to end when the process that starts them does.
    """

    network_id: str
    worker_ids: tuple[str, ...]
    arguments: tuple[str, ...]
    secret: bytes = field(repr=False)
    supervised: bool = False

    def argv(self, python: str, secrets: str = "-") -> list[str]:
        """Give the whole command line; `secrets` is a path, or ``-`` for standard input."""
        return [python, *self.arguments, "--secrets", secrets]


@dataclass(frozen=True)
class LoopSpec:
    """A worker loop as it is stored for the workers: the signed object and the settings it runs under.

    Attributes
    ----------
    body
        The signed pickle of (loop, args), or the pointer to the large object that holds it.
    modules
        Imported on the worker before the loop is unpickled.
    heartbeat_period, heartbeat_expire, grace_period, drain_margin, idle_timeout, time_limit
        Seconds.
    rush, python
        Versions of the process that started the workers.
    """

    body: bytes
    modules: tuple[str, ...] = ()
    log_levels: Mapping[str, str] | None = None
    log_buffer_size: int = 0
    message_log: str | None = None
    output_log: str | None = None
    heartbeat_period: float = 5.0
    heartbeat_expire: float = 15.0
    time_limit: float | None = None
    grace_period: float = 10.0
    drain_margin: float | None = None
    idle_timeout: float | None = None
    max_restarts: int = 0
    fork: bool = True
    backend: str | None = None
    gpus_per_worker: int = 0
    rush: str = ""
    python: str = ""
