"""What workers run: a loop and its arguments, checked, pickled, and stored for them."""

import inspect
import math
import os
import platform
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from rush.codec import Codec
from rush.errors import ConfigError
from rush.model import LoopSpec
from rush.plan import MAX_OBJECT_SIZE, check_log_levels, setting
from rush.spelling import unknown_name

WorkerLoop = Callable[..., Any]


@cache
def rush_version() -> str:
    """Give the version of rush that is installed."""
    try:
        return version("rush-hpc")
    except PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True)
class LoopOptions:
    """The options of `Rush.start_workers` that travel with the loop."""

    modules: Sequence[str] = ()
    by_value: Sequence[ModuleType | str] = ()
    log_levels: Mapping[str, str] | None = None
    log_buffer_size: int | None = 0
    message_log: str | os.PathLike[str] | None = None
    output_log: str | os.PathLike[str] | None = None
    heartbeat_period: float = 5.0
    heartbeat_expire: float = 15.0
    time_limit: float | None = None
    grace_period: float = 10.0
    drain_margin: float | None = None
    idle_timeout: float | None = None
    max_restarts: int = 0
    fork: bool = True
    loop_args: Mapping[str, Any] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def options_among(kwargs: dict[str, Any], loop_args: Mapping[str, Any] | None) -> LoopOptions:
    """Sort keywords into the options of `start_workers` and arguments of the loop."""
    known = set(LoopOptions.__dataclass_fields__) - {"kwargs", "loop_args"}
    given = {name: value for name, value in kwargs.items() if name in known}
    rest = {name: value for name, value in kwargs.items() if name not in known}
    return LoopOptions(**given, loop_args=loop_args, kwargs=rest)


def bind_loop(loop: WorkerLoop, options: LoopOptions, names: Sequence[str]) -> dict[str, Any]:
    """Give the loop's arguments, checked against its signature before anything starts.

    Raises
    ------
    TypeError
        The loop cannot be called with a worker and these arguments; the message has the near matches.
    """
    if not callable(loop):
        raise TypeError(f"worker_loop must be a function of a RushWorker, got {loop!r}")
    if options.loop_args is not None and not isinstance(options.loop_args, Mapping):
        raise TypeError(f"loop_args must be a dict, got {options.loop_args!r}")
    both = set(options.loop_args or {}) & set(options.kwargs)
    if both:
        raise TypeError(f"{min(both)!r} is given in loop_args and as a keyword; give it once")
    arguments = {**(options.loop_args or {}), **options.kwargs}
    try:
        signature = inspect.signature(loop)
    except (TypeError, ValueError):
        return arguments
    try:
        signature.bind("worker", **arguments)
    except TypeError as error:
        parameters = list(signature.parameters)
        named = getattr(loop, "__name__", repr(loop))
        if not parameters:
            raise TypeError(
                f"worker_loop {named}() takes no worker; its first parameter must take the RushWorker"
            ) from None
        strange = [name for name in arguments if name not in parameters]
        known = set(parameters[1:]).union(names) - set(arguments)
        hint = f" ({unknown_name('option', strange[0], known)})" if strange else ""
        raise TypeError(
            f"worker_loop {named}{signature} cannot be called as {named}(worker, ...): {error}{hint}"
        ) from None
    return arguments


def check_options(options: LoopOptions) -> None:
    """Raise unless the options make sense on their own and together."""
    check_log_levels(options.log_levels)
    _check_times(options)
    for name in ("max_restarts", "log_buffer_size"):
        value = getattr(options, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise ValueError(f"{name} must be an int of 0 or more, got {value!r}")
    if isinstance(options.modules, str):
        raise TypeError(f"modules must be a list of module names, got {options.modules!r}")
    for name in ("message_log", "output_log"):
        folder = getattr(options, name)
        if folder is not None and not isinstance(folder, (str, os.PathLike)):
            raise TypeError(f"{name} must be the path of a folder, got {folder!r}")


def _check_times(options: LoopOptions) -> None:
    for name in ("heartbeat_period", "heartbeat_expire", "grace_period"):
        _check_seconds(name, getattr(options, name), more_than_zero=name != "grace_period")
    for name in ("time_limit", "drain_margin", "idle_timeout"):
        if getattr(options, name) is not None:
            _check_seconds(name, getattr(options, name), more_than_zero=name != "drain_margin")
    if math.isinf(options.heartbeat_expire):
        raise ValueError("heartbeat_expire must be finite, got inf: a worker whose host is gone is to be found lost")
    if options.heartbeat_expire < options.heartbeat_period:
        raise ValueError(
            f"heartbeat_expire ({options.heartbeat_expire:g} s) must not be less than heartbeat_period "
            f"({options.heartbeat_period:g} s)"
        )


def make_spec(
    loop: WorkerLoop, arguments: Mapping[str, Any], options: LoopOptions, codec: Codec, backend: str, gpus: int
) -> LoopSpec:
    """Pickle the loop with its arguments and put down what it runs under."""
    body = codec.dump_object((loop, dict(arguments)), by_value=options.by_value)
    limit = setting("max_object_size", None, MAX_OBJECT_SIZE)
    if len(body) > limit:
        folder = setting("large_objects_path", None)
        if folder is None:
            raise ConfigError(
                f"the worker loop with its arguments takes {len(body):,} bytes, more than max_object_size ({limit:,}); "
                "set rush_plan(large_objects_path=...) to a folder that the workers share, or raise max_object_size"
            )
        from rush.objects import store_large_object

        reference = store_large_object((loop, dict(arguments)), folder, codec=codec)
        body = codec.encode({"name": reference.name, "path": str(reference.path)})
    return LoopSpec(
        body=body,
        modules=tuple(options.modules),
        log_levels=setting("log_levels", options.log_levels),
        log_buffer_size=options.log_buffer_size or setting("log_buffer_size", None, 0),
        message_log=_absolute(options.message_log),
        output_log=_absolute(options.output_log),
        heartbeat_period=float(options.heartbeat_period),
        heartbeat_expire=float(options.heartbeat_expire),
        time_limit=options.time_limit,
        grace_period=float(options.grace_period),
        drain_margin=options.drain_margin,
        idle_timeout=options.idle_timeout,
        max_restarts=options.max_restarts,
        fork=options.fork,
        backend=backend,
        gpus_per_worker=gpus,
        rush=rush_version(),
        python=platform.python_version(),
    )


def worker_arguments(
    network_id: str, loop_id: str, worker_ids: Sequence[str], *, supervised: bool = False
) -> tuple[str, ...]:
    """Give what follows the interpreter on the command line of a supervisor, without its secrets."""
    named = [word for worker in worker_ids for word in ("--worker", worker)]
    words = ("-m", "rush.worker", "--network", network_id, "--loop", loop_id, *named)
    return (*words, "--supervised") if supervised else words


def new_loop_id() -> str:
    """Make the id under which a loop is stored."""
    return secrets.token_hex(8)


def _absolute(path: "str | os.PathLike[str] | None") -> str | None:
    return None if path is None else os.path.abspath(os.fspath(path))  # noqa: PTH100 - keeps links as they are


def _check_seconds(name: str, value: object, *, more_than_zero: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, got {value!r}")
    if not value >= 0 or (more_than_zero and value == 0):
        raise ValueError(f"{name} must be {'more than 0' if more_than_zero else '0 or more'} seconds, got {value!r}")
