"""Starting a server: its configuration, its port, and the wait until it answers."""

import contextlib
import dataclasses
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from rush.config import RedisConfig
from rush.errors import ConnectionFailed
from rush.server.addresses import LOOPBACK
from rush.store.information import server_info

LOG = "server.log"
START_TIMEOUT = 30.0
"""Seconds in which a server must answer; reading its file back may take longer."""

_ATTEMPTS = 20
_PORT_TAKEN = ("Address already in use", "Failed listening on port")
_OTHER_KIND = ("Bad file format reading the append only file", "Can't handle RDB format")


class Running(Protocol):
    """A server being started: its process id once it is known, and whether it has ended."""

    @property
    def pid(self) -> int | None:
        """The server's process, once it is known."""

    def poll(self) -> int | None:
        """Give None as long as it runs."""

    def end(self) -> None:
        """End it."""


R = TypeVar("R", bound=Running)


def configuration(config: RedisConfig, folder: Path) -> str:
    """Write the configuration of a server, which goes in by standard input so that no other user sees it."""
    addresses = LOOPBACK if config.host == LOOPBACK else f"{config.host} {LOOPBACK}"
    settings: Mapping[str, str] = {
        "bind": addresses,
        "port": str(config.port),
        "protected-mode": "yes",
        "requirepass": quoted(config.password or ""),
        "dir": quoted(str(folder)),
        "appendonly": "yes",
        "save": '""',
        "maxmemory-policy": "noeviction",
        "logfile": '""',
        "daemonize": "no",
        "tcp-keepalive": "60",
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def quoted(text: str) -> str:
    """Write a value of a configuration file so that blanks and quotes stay part of it."""
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else _escaped(c) for c in text) + '"'


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode())


def free_port(address: str) -> int:
    """Ask the kernel for a port that is free right now; somebody may take it before the server does."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def launch(config: RedisConfig, folder: Path, start: Callable[[str], R], *, port: int | None) -> tuple[RedisConfig, R]:
    """Start a server and wait until it answers; a lost race for a port that was not asked for is run again.

    Parameters
    ----------
    start
        Starts the program with a configuration.

    Raises
    ------
    ConnectionFailed
        It did not start; the message ends with its log.
    """
    for _ in range(_ATTEMPTS):
        attempt = dataclasses.replace(config, port=port or free_port(config.host))
        (folder / LOG).unlink(missing_ok=True)
        running = start(configuration(attempt, folder))
        if wait_until_ready(attempt, running):
            return attempt, running
        running.end()
        said = log_tail(folder)
        if port is not None or not any(phrase in said for phrase in _PORT_TAKEN):
            break
    raise ConnectionFailed(f"the private server did not start{_hint(said, folder)}:\n{said}")


def _hint(said: str, folder: Path) -> str:
    if any(phrase in said for phrase in _OTHER_KIND):
        return f", because {folder} holds the data of a newer or another kind of server; use that one, or another --dir"
    return ""


def wait_until_ready(config: RedisConfig, running: Running) -> bool:
    """Wait until the server that was started answers; False when it has ended, or has not answered in time."""
    hasty = dataclasses.replace(config, retry_timeout=0, connect_timeout=1.0, socket_timeout=1.0)
    deadline = time.monotonic() + START_TIMEOUT
    while running.poll() is None and time.monotonic() < deadline:
        # Before our own server is there, somebody else's may answer on its port and refuse the password.
        with contextlib.suppress(ConnectionFailed):
            info = server_info(hasty)
            if info.get("loading") == "1":
                deadline = time.monotonic() + START_TIMEOUT
            elif info.get("process_id") == str(running.pid):
                return True
        time.sleep(0.003)
    return False


def log_tail(folder: Path, size: int = 2000) -> str:
    """Give the end of a server's log."""
    with contextlib.suppress(OSError):
        return (folder / LOG).read_text(errors="replace")[-size:].strip()
    return "(it left no log)"
