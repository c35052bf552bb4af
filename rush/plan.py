"""The plan: what workers are started with, and where, unless an argument says otherwise."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rush.config import RedisConfig, as_config, load_settings
from rush.errors import ConfigError
from rush.store import Store

if TYPE_CHECKING:
    import redis

    from rush.backends.base import Backend

MAX_OBJECT_SIZE = 512 * 1024 * 1024


@dataclass(frozen=True)
class Plan:
    """What `rush_plan` stored; None where it said nothing."""

    n_workers: int | None = None
    config: RedisConfig | None = None
    log_levels: Mapping[str, str] | None = None
    log_buffer_size: int | None = None
    large_objects_path: str | None = None
    backend: "str | Backend | None" = None
    start_worker_timeout: float | None = None
    max_object_size: int | None = None


_plan: Plan | None = None


def rush_plan(
    n_workers: int | None = None,
    config: "RedisConfig | str | redis.Redis | None" = None,
    log_levels: Mapping[str, str] | None = None,
    log_buffer_size: int | None = None,
    large_objects_path: "str | os.PathLike[str] | None" = None,
    backend: "str | Backend" = "local",
    start_worker_timeout: float | None = None,
    max_object_size: int | None = None,
) -> dict[str, Any]:
    """Store how workers are started, for all networks of this process.

    Parameters
    ----------
    n_workers
        Number of workers to start, 1 or more.
    config
        The server. If None, it is found as `rsh` finds it.
    log_levels
        Level by logger of what the workers log to the server, e.g. ``{"rush": "INFO"}``.
    log_buffer_size
        Records that a worker collects before it writes them.
    large_objects_path
        Folder, on a file system that the workers share, for objects over `max_object_size`.
    backend
        Name of a backend or of a profile, or a `Backend`; ``"script"`` makes `start_workers` print a script instead.
    start_worker_timeout
        Seconds that `wait_for_workers` waits if it is given no timeout.
    max_object_size
        Bytes up to which a worker loop is kept on the server, 512 MiB by default.

    Returns
    -------
    dict
        The stored configuration, as `rush_config` gives it.

    Raises
    ------
    ConnectionFailed
        The server cannot be reached.
    """
    global _plan  # noqa: PLW0603 - one plan for the process
    check_count(n_workers, "n_workers", optional=True)
    check_count(max_object_size, "max_object_size", optional=True)
    check_log_levels(log_levels)
    _check_buffer_size(log_buffer_size)
    _check_timeout(start_worker_timeout)
    if large_objects_path is not None and not os.path.isdir(large_objects_path):  # noqa: PTH112 - any path-like
        raise ConfigError(f"large_objects_path must be a folder that exists, got {os.fspath(large_objects_path)!r}")
    if backend != "script":
        from rush.backends import find_backend

        find_backend(backend)
    server = None if config is None else as_config(config)
    probe = Store(server if server is not None else find_config(None), "rush-plan")
    try:
        probe.check_server()
    finally:
        probe.close()
    _plan = Plan(
        n_workers=n_workers,
        config=server,
        log_levels=log_levels,
        log_buffer_size=log_buffer_size,
        large_objects_path=None if large_objects_path is None else os.fspath(large_objects_path),
        backend=backend,
        start_worker_timeout=start_worker_timeout,
        max_object_size=max_object_size,
    )
    return rush_config()


def rush_config() -> dict[str, Any]:
    """Give the stored configuration: all names, None where the plan says nothing."""
    plan = _plan or Plan()
    return {name: getattr(plan, name) for name in Plan.__dataclass_fields__}


def rush_available() -> bool:
    """Say whether `rush_plan` has stored a server."""
    return _plan is not None and _plan.config is not None


def remove_rush_plan() -> bool:
    """Forget the plan; always True."""
    global _plan  # noqa: PLW0603 - see rush_plan
    _plan = None
    return True


def setting(name: str, argument: Any, default: Any = None) -> Any:
    """Give a setting: argument > plan > environment > project file > user file > default."""
    if argument is not None:
        return argument
    if _plan is not None and (planned := getattr(_plan, name)) is not None:
        return planned
    found = getattr(load_settings(), name)
    return default if found is None else found


def find_config(argument: "RedisConfig | str | redis.Redis | None") -> RedisConfig:
    """Find the server: argument, plan, environment, settings files, one started before, else a new private one."""
    config = setting("config", None if argument is None else as_config(argument))
    if config is not None:
        return as_config(config)
    from rush.server import process_server, running_server

    return running_server() or process_server()


def check_count(value: object, name: str, *, optional: bool = False) -> None:
    """Raise unless `value` is a whole number of 1 or more."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be 1 or more, got {value!r}")


def _check_buffer_size(value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"log_buffer_size must be an int of 0 or more, got {value!r}")


def _check_timeout(value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"start_worker_timeout must be a number of seconds or None, got {value!r}")
    if not value >= 0:
        raise ValueError(f"start_worker_timeout must be 0 or more seconds, got {value!r}")


def check_log_levels(levels: Mapping[str, str] | None) -> None:
    """Raise unless `levels` maps logger names to the names of levels."""
    import logging

    if levels is None:
        return
    if not isinstance(levels, Mapping):
        raise TypeError(f'log_levels must be a dict such as {{"rush": "INFO"}}, got {levels!r}')
    known = logging.getLevelNamesMapping()
    for name, level in levels.items():
        if not isinstance(name, str) or level not in known:
            raise ValueError(f"log_levels must map logger names to one of {', '.join(known)}; got {name!r}: {level!r}")


__all__ = [
    "MAX_OBJECT_SIZE",
    "find_config",
    "remove_rush_plan",
    "rush_available",
    "rush_config",
    "rush_plan",
    "setting",
]
