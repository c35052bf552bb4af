"""`start_worker`: turns this process into a worker."""

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rush import logs
from rush.codec import Codec
from rush.config import signing_key_for
from rush.errors import ConfigError, RushError
from rush.manager.loops import LoopOptions, check_options
from rush.plan import find_config
from rush.store import Store
from rush.supervisor.loop import check_versions, load_loop
from rush.worker.worker import RushWorker

if TYPE_CHECKING:
    import redis

    from rush.config import RedisConfig


def start_worker(
    network_id: str,
    *,
    worker_id: str | None = None,
    config: "RedisConfig | str | redis.Redis | None" = None,
    loop_id: str | None = None,
    log_levels: Mapping[str, str] | None = None,
    log_buffer_size: int = 0,
    heartbeat_period: float | None = None,
    heartbeat_expire: float | None = None,
    message_log: "str | os.PathLike[str] | None" = None,
    output_log: "str | os.PathLike[str] | None" = None,
) -> None:
    """Run a stored worker loop in this process, until it returns.

    Scripts and job systems rather run ``python -m rush.worker``, which puts a supervisor around the loop.

    Parameters
    ----------
    network_id
        The network to join.
    worker_id
        The worker's id; made if None.
    config
        The server, as for `rsh`.
    loop_id
        The loop to run; the one stored last if None.
    log_levels, log_buffer_size
        What is logged to the server, as in `Rush.start_workers`.
    heartbeat_period, heartbeat_expire
        Seconds, as for `RushWorker`; None for no heartbeat.
    message_log, output_log
        Folders for files with what the loop writes to stderr and stdout.

    Raises
    ------
    KeyError
        No such loop is stored.
    ConfigError
        A folder is not there.
    RushError
        The versions of rush or Python do not fit those of the process that stored the loop.
    """
    check_options(
        LoopOptions(
            log_levels=log_levels, log_buffer_size=log_buffer_size, message_log=message_log, output_log=output_log
        )
    )
    for name, folder in (("message_log", message_log), ("output_log", output_log)):
        if folder is not None and not os.path.isdir(folder):  # noqa: PTH112 - any path-like
            raise ConfigError(f"{name} must be a folder that exists, got {os.fspath(folder)!r}")
    server = find_config(config)
    store = Store(server, network_id)
    try:
        spec = store.read_loop(loop_id)
    finally:
        store.close()
    if (misfit := check_versions(spec)) is not None:
        raise RushError(misfit)
    function, arguments = load_loop(spec, Codec(lambda: signing_key_for(server)))
    with (
        RushWorker(network_id, server, worker_id, heartbeat_period, heartbeat_expire) as worker,
        contextlib.ExitStack() as stack,
    ):
        for folder, name, redirect in (
            (output_log, "output", contextlib.redirect_stdout),
            (message_log, "message", contextlib.redirect_stderr),
        ):
            if folder is not None:
                path = os.path.join(os.fspath(folder), f"{name}_{worker.worker_id}.log")  # noqa: PTH118 - any path-like
                file = stack.enter_context(open(path, "a", buffering=1))  # noqa: PTH123 - as above
                file.write(f"{name} log of worker {worker.worker_id}\n")
                stack.enter_context(redirect(file))
        if log_levels:
            handler = logs.install(server, network_id, worker.worker_id, log_levels, log_buffer_size)
            stack.callback(logs.remove, handler, log_levels)
        function(worker, **arguments)
