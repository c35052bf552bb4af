"""rush: asynchronous, decentralised computing on clusters."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rush import backends
    from rush.backends import register_backend
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

# Names are fetched when they are first asked for, so that `rush --help` and the processes around the loops load only
# what they use.
_HOMES = {
    "backends": ("register_backend",),
    "config": ("RedisConfig",),
    "logs": ("RedisHandler", "filter_custom_fields"),
    "manager": ("Rush", "rsh"),
    "model": ("Placement", "Task", "TaskState", "WorkerState"),
    "objects": ("LargeObject", "load_large_object", "store_large_object"),
    "plan": ("remove_rush_plan", "rush_available", "rush_config", "rush_plan"),
    "worker": ("QueuedTask", "RushWorker", "start_worker"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "backends":
        return import_module("rush.backends")
    if name not in __all__:
        raise AttributeError(f"module 'rush' has no attribute {name!r}")
    value = getattr(import_module(f"rush.{_HOME.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
