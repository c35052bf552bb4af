"""The server of ``rush server start``: one per user, found by its address file, alive until it is stopped."""

import atexit
import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rush.config import RedisConfig, child_environment
from rush.errors import ConnectionFailed, RushError
from rush.server.access import access_of, keep_access
from rush.server.addresses import choose_address
from rush.server.folders import claimed, default_folder, prepare
from rush.server.launch import LOG, launch
from rush.server.programs import find_program
from rush.server.record import (
    Record,
    locked,
    process_start,
    read_record,
    record_of,
    remove_record,
    write_record,
)
from rush.store.information import server_info

STOP_TIMEOUT = 20.0
"""Seconds in which a server must have written its file and ended, before it is killed."""


@dataclass(frozen=True)
class ServerStatus:
    """What is known of the user's server; sizes in bytes, times in seconds, None where it cannot be known."""

    running: bool
    address: str | None = None
    host: str | None = None
    pid: int | None = None
    program: str | None = None
    folder: str | None = None
    uptime: int | None = None
    memory: int | None = None
    clients: int | None = None


def running_server() -> RedisConfig | None:
    """Give the server that ``rush server start`` started; None when it does not run.

    What a server that has died left behind is removed.

    Raises
    ------
    ConnectionFailed
        It runs on another host and cannot be reached from here; the message says what to do.
    ConfigError
        The address file is open to others, or no address file.
    """
    return _found(_remove_stale)


def start_server(
    *,
    bind: str | None = None,
    port: int | None = None,
    folder: "str | os.PathLike[str] | None" = None,
    program: "str | os.PathLike[str] | None" = None,
) -> RedisConfig:
    """Start the user's server, which survives Ctrl-C and logout; one that runs already is given as it is.

    Parameters
    ----------
    bind
        Where it listens beside loopback: the name of an interface, an address, or ``auto`` for a private address.
    port
        By default the kernel chooses.
    folder
        Its files; by default in the user's data folder, unless that is on a network file system. Where a server ran
        before, its data, its password and, where it is free, its port come back, so that workers find it again.
    program
        The server program; by default Valkey from the wheel, else what PATH has.

    Raises
    ------
    ConfigError
        There is no such interface or address, or the folder cannot be used.
    ConnectionFailed
        It does not start, or one runs on another host.
    RushError
        One runs already at another address or port than was asked for.
    MissingDependency
        There is no server program, or only one that is too old.
    """
    with locked():
        if (running := running_under_lock()) is not None:
            _check_place(running, bind, port)
            return running
        host = choose_address(bind)
        chosen = find_program(program)
        place = Path(folder).expanduser().absolute() if folder is not None else default_folder()
        prepare(place)
        with claimed(place) as claim:
            access = access_of(place)
            wanted = RedisConfig(host=host, password=access.password, signing_key=access.signing_key)
            start = partial(_Detached, chosen.path, place, claim)
            config, process = _launch(wanted, place, start, port, access.port)
            keep_access(place, config)
            write_record(record_of(config, process.pid, f"{chosen.name} {chosen.version}", place))
        return config


def _check_place(running: RedisConfig, bind: str | None, port: int | None) -> None:
    elsewhere = bind is not None and choose_address(bind) != running.host
    if elsewhere or (port is not None and port != running.port):
        raise RushError(
            f"your server runs already, at {running.address}; stop it first: rush server stop. "
            "Its data and its password stay for the next"
        )


def stop_server(*, forget: bool = False) -> bool:
    """Stop the user's server; its data stays and is read back by the next. False when none was running.

    Parameters
    ----------
    forget
        Only remove the address file, also of a server that cannot be reached any more.

    Raises
    ------
    ConnectionFailed
        It runs on another host; the message says where to stop it.
    """
    with locked():
        if forget:
            return remove_record()
        record = read_record()
        if record is None:
            return False
        if record.foreign:
            raise _unreachable(record)
        alive = record.alive
        if alive:
            _end(record)
        remove_record()
        return alive


def server_status() -> ServerStatus:
    """Say whether the user's server runs, where, and how much it holds.

    Raises
    ------
    ConnectionFailed
        It runs on another host and cannot be reached from here.
    """
    config = running_server()
    record = read_record()
    if config is None or record is None:
        return ServerStatus(running=False)
    info = server_info(dataclasses.replace(config, retry_timeout=2))
    return ServerStatus(
        running=True,
        address=config.address,
        host=record.host,
        pid=record.pid,
        program=record.program,
        folder=record.folder,
        uptime=int(info["uptime_in_seconds"]),
        memory=int(info["used_memory"]),
        # One of them is this question.
        clients=int(info["connected_clients"]) - 1,
    )


def running_under_lock() -> RedisConfig | None:
    """Do as `running_server` for one who holds the lock already."""
    return _found(remove_record)


def _found(forget: Callable[[], object]) -> RedisConfig | None:
    """Give the server that the address file names; of one that is gone, `forget` the file."""
    record = read_record()
    if record is None:
        return None
    if record.foreign:
        return _foreign_config(record)
    if record.alive:
        return record.config
    forget()
    return None


def _launch(
    wanted: RedisConfig, place: Path, start: "partial[_Detached]", port: int | None, former: int | None
) -> "tuple[RedisConfig, _Detached]":
    """Launch on the port asked for, else on the former one, where workers that lost the server look, else on any."""
    if port is None and former is not None:
        with contextlib.suppress(ConnectionFailed):
            return launch(wanted, place, start, port=former)
    return launch(wanted, place, start, port=port)


def _remove_stale() -> None:
    """Remove the address file unless somebody is just writing a new one."""
    try:
        with locked(timeout=0):
            record = read_record()
            if record is not None and not record.foreign and not record.alive:
                remove_record()
    except TimeoutError:
        return


def _foreign_config(record: Record) -> RedisConfig:
    """Give a server on another host, if it listens where this one reaches it."""
    if record.on_loopback:
        raise _unreachable(record)
    config = record.config
    try:
        server_info(dataclasses.replace(config, retry_timeout=0, connect_timeout=3.0, socket_timeout=3.0))
    except ConnectionFailed as error:
        raise _unreachable(record) from error
    return config


def _unreachable(record: Record) -> ConnectionFailed:
    where = "only on loopback" if record.on_loopback else f"on {record.config.address}, which does not answer here"
    return ConnectionFailed(
        f"your server runs on host {record.host} and listens {where}. "
        f"To move it, on {record.host}: rush server stop; then where you need it: rush server start --bind auto. "
        f"If {record.host} or its server is gone: rush server stop --forget"
    )


def _end(record: Record) -> None:
    for attempt in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(record.pid, attempt)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + STOP_TIMEOUT
        while process_start(record.pid) == record.start:
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        else:
            return
    raise RushError(f"the server's process {record.pid} does not end")


class _Detached:
    """A server in a session of its own, which neither Ctrl-C nor a closing terminal reaches."""

    def __init__(self, program: Path, folder: Path, claim: int, configuration: str) -> None:
        descriptor = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        take, give = os.pipe()
        with os.fdopen(descriptor, "wb") as log, os.fdopen(take, "rb") as stdin:
            self._process = subprocess.Popen(
                [program, "-"],
                stdin=stdin,
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
                pass_fds=(claim,),
                env=child_environment(),
            )
        self.pid = self._process.pid
        # A server that cannot run has closed its end already; its log says why.
        with contextlib.suppress(BrokenPipeError), os.fdopen(give, "wb") as pipe:
            pipe.write(configuration.encode())
        _started.append(self)

    def poll(self) -> int | None:
        return self._process.poll()

    def leave(self) -> None:
        if self._process.poll() is None:
            self._process.returncode = 0

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        _started.remove(self)


_started: list[_Detached] = []
"""What this process started, so that nobody warns of servers that outlive it."""


@atexit.register
def _leave() -> None:
    for server in _started:
        server.leave()
