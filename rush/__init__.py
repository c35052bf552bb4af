"""rush: asynchronous, decentralised computing on clusters."""

from rush import backends
from rush.config import RedisConfig
from rush.errors import (
    BackendError,
    BackendNotFound,
    CodecError,
    ConfigError,
    ConnectionFailed,
    MissingDependency,
    NetworkGone,
    RushError,
    StoreFull,
    WorkerEnded,
    WorkerStartError,
)
from rush.logs import RedisHandler, filter_custom_fields
from rush.manager import Rush, rsh
from rush.model import Placement, Task, TaskState, WorkerState
from rush.objects import LargeObject, load_large_object, store_large_object
from rush.plan import remove_rush_plan, rush_available, rush_config, rush_plan
from rush.worker import QueuedTask, RushWorker, start_worker

register_backend = backends.register_backend

__all__ = [
    "BackendError",
    "BackendNotFound",
    "CodecError",
    "ConfigError",
    "ConnectionFailed",
    "LargeObject",
    "MissingDependency",
    "NetworkGone",
    "Placement",
    "QueuedTask",
    "RedisConfig",
    "RedisHandler",
    "Rush",
    "RushError",
    "RushWorker",
    "StoreFull",
    "Task",
    "TaskState",
    "WorkerEnded",
    "WorkerStartError",
    "WorkerState",
    "backends",
    "filter_custom_fields",
    "load_large_object",
    "register_backend",
    "remove_rush_plan",
    "rsh",
    "rush_available",
    "rush_config",
    "rush_plan",
    "start_worker",
    "store_large_object",
]
