"""Connections to the server: finding it, opening a redis-py `Connection`, and telling faults apart.

The store sends its few commands straight through redis-py's `Connection`, which does the connecting, TLS and
passwords. None of redis-py's own retries are used: they would repeat writes.
"""

import contextlib
import itertools
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from rush.config import RedisConfig
from rush.errors import ConnectionFailed, StoreFull
from rush.store.scripts import Script

log = logging.getLogger(__name__)
T = TypeVar("T")
Reply = Any
Packed = tuple[str | int | float | bytes | memoryview]
_unix: Any = redis.UnixDomainSocketConnection
pack = hiredis.pack_command


class Broken(Exception):
    """The connection broke, or the server cannot serve now; what was sent may have been done or not."""


class Full(Exception):
    """The server is full, and refused the write without doing any of it."""


_channels: "weakref.WeakSet[Channel]" = weakref.WeakSet()


def _forget_after_fork() -> None:
    """Drop what the child inherited, without saying anything on the parent's sockets."""
    for channel in list(_channels):
        channel.forget()


os.register_at_fork(after_in_child=_forget_after_fork)


def _options(config: RedisConfig) -> dict[str, Any]:
    options: dict[str, Any] = {
        "db": config.db,
        "username": config.username,
        "password": config.password,
        "socket_timeout": config.socket_timeout,
        "socket_connect_timeout": config.connect_timeout,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,
        "health_check_interval": 0,
    }
    if not config.unix_socket:
        options["socket_keepalive"] = True
    if config.tls:
        options |= {
            "ssl_ca_certs": config.tls_ca,
            "ssl_certfile": config.tls_cert,
            "ssl_keyfile": config.tls_key,
            "ssl_check_hostname": config.tls_check_hostname,
            "ssl_cert_reqs": "required",
        }
    return options


def _plain_connection(config: RedisConfig, host: str, port: int) -> redis.Connection:
    options = _options(config)
    if config.unix_socket:
        made: redis.Connection = _unix(path=config.unix_socket, **options)
        return made
    kind = redis.SSLConnection if config.tls else redis.Connection
    return kind(host=host, port=port, **options)


def _ask(connection: redis.Connection, *command: bytes | str) -> Reply:
    connection.send_packed_command((pack(cast("Packed", command)),), check_health=False)
    return connection.read_response()


def _sentinel_master(config: RedisConfig) -> tuple[str, int]:
    """Ask the sentinels, one after the other, where the master is."""
    faults = []
    for host, port in config.sentinels:
        sentinel = redis.Connection(
            host=host,
            port=port,
            username=config.sentinel_username,
            password=config.sentinel_password,
            protocol=2,
            socket_timeout=config.socket_timeout,
            socket_connect_timeout=config.connect_timeout,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
        )
        try:
            found = _ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", config.sentinel_service or "mymaster")
        except (redis.RedisError, OSError) as error:
            faults.append(f"{host}:{port}: {error}")
            continue
        finally:
            sentinel.disconnect()
        if found:
            return found[0].decode(), int(found[1])
        faults.append(f"{host}:{port}: knows no service {config.sentinel_service!r}")
    raise redis.ConnectionError("no sentinel answered: " + "; ".join(faults))


def _shard(config: RedisConfig, key: bytes) -> tuple[str, int]:
    """Ask the nodes of a cluster, one after the other, which of them serves `key`."""
    slot = key_slot(key)
    faults = []
    for host, port in config.nodes or ((config.host, config.port),):
        node = _plain_connection(config, host, port)
        try:
            for first, last, master, *_ in _ask(node, "CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return (master[0].decode() or host), int(master[1])
        except redis.AuthenticationError:
            raise
        except (redis.RedisError, OSError) as error:
            faults.append(f"{host}:{port}: {error}")
        finally:
            node.disconnect()
    raise redis.ConnectionError(f"no node of the cluster serves slot {slot}: " + "; ".join(faults))


def _find(config: RedisConfig, key: bytes) -> tuple[str, int]:
    """Say where the server is that holds `key`."""
    if config.sentinels:
        return _sentinel_master(config)
    if config.cluster:
        return _shard(config, key)
    return config.host, config.port


def connect(config: RedisConfig, key: bytes) -> redis.Connection:
    """Open a connection to the server that holds `key`."""
    host, port = _find(config, key)
    connection = _plain_connection(config, host, port)
    connection.connect()
    if config.sentinels and _ask(connection, "ROLE")[0] != b"master":
        connection.disconnect()
        raise redis.ConnectionError(f"{host}:{port} is not the master yet")
    return connection


def client(config: RedisConfig, key: bytes) -> redis.Redis:
    """Give a redis-py client of the server that holds `key`, for commands of the user's own."""
    host, port = _find(config, key)
    kind: Any = redis.SSLConnection if config.tls else redis.Connection
    place: dict[str, Any] = {"host": host, "port": port}
    if config.unix_socket:
        kind, place = _unix, {"path": config.unix_socket}
    pool = redis.ConnectionPool(connection_class=kind, **place, **_options(config))
    return redis.Redis(connection_pool=pool)


_PASSING = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "UNBLOCKED", "NOREPLICAS")


class Channel:
    """One connection and who may use it: opened when needed, dropped at the first fault."""

    def __init__(self, config: RedisConfig, key: bytes) -> None:
        self._config = config
        self._key = key
        self._connection: Any = None
        _channels.add(self)

    @property
    def connected(self) -> bool:
        """Whether there is a connection that has shown no fault."""
        return self._connection is not None

    def forget(self) -> None:
        """Let go of the connection in a forked child: its socket is the parent's."""
        connection, self._connection = self._connection, None
        if connection is not None and connection._sock is not None:  # noqa: SLF001 - redis-py would shut it down
            with contextlib.suppress(OSError):
                os.close(connection._sock.detach())  # noqa: SLF001
            connection._sock = None  # noqa: SLF001

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def fileno(self) -> int:
        """Give the socket's descriptor, to be waited on."""
        if self._connection is None:
            raise Broken("not connected")
        return int(self._connection._sock.fileno())  # noqa: SLF001 - there is no public way

    def send(self, packed: bytes) -> None:
        """Send a packed command; the reply is read later."""
        try:
            if self._connection is None:
                self._connection = connect(self._config, self._key)
            self._connection.send_packed_command((packed,), check_health=False)
        except BaseException as error:
            raise self._fault(error) from error

    def read(self, timeout: float | None = None) -> Reply:
        """Read one reply; `timeout` replaces the socket's own, in seconds."""
        connection = self._connection
        if connection is None:
            raise Broken("not connected")
        try:
            if timeout is None:
                return connection.read_response()
            return connection.read_response(timeout=timeout)
        except redis.ResponseError as error:
            if isinstance(error, redis.exceptions.OutOfMemoryError):
                raise Full(str(error)) from error
            if _word(error) in _PASSING or isinstance(error, redis.exceptions.ReadOnlyError):
                raise self._fault(error) from error
            raise
        except BaseException as error:
            raise self._fault(error) from error

    def call(self, packed: bytes, timeout: float | None = None) -> Reply:
        """Send a packed command and read its reply."""
        self.send(packed)
        return self.read(timeout)

    def run(self, script: Script, tail: tuple[Any, ...]) -> Reply:
        """Run a script; `tail` is the number of keys, the keys and the arguments."""
        try:
            return self.call(pack((b"EVALSHA", script.sha, *tail)))
        except redis.exceptions.NoScriptError:
            return self.call(pack((b"EVAL", script.text, *tail)))

    def _fault(self, error: BaseException) -> BaseException:
        """Drop the connection, whose next reply nobody could place, and name the fault."""
        self.close()
        if isinstance(error, redis.AuthenticationError):
            return ConnectionFailed(f"the server at {self._config.address} refused the password: {error}")
        if isinstance(error, redis.exceptions.AuthorizationError):
            return ConnectionFailed(f"the server at {self._config.address} refused: {error}")
        if "certificate" in str(error).lower() or "CERTIFICATE" in str(error.__cause__ or ""):
            return ConnectionFailed(f"TLS with the server at {self._config.address} failed: {error}")
        if isinstance(error, (redis.RedisError, OSError)):
            return Broken(str(error))
        return error


def _word(error: redis.ResponseError) -> str:
    """Give the code a server's error begins with; redis-py strips it from those that it knows."""
    known = {
        redis.exceptions.MovedError: "MOVED",
        redis.exceptions.AskError: "ASK",
        redis.exceptions.ClusterDownError: "CLUSTERDOWN",
        redis.exceptions.MasterDownError: "MASTERDOWN",
        redis.exceptions.TryAgainError: "TRYAGAIN",
    }
    for kind, word in known.items():
        if isinstance(error, kind):
            return word
    return str(error).partition(" ")[0]


def pauses(config: RedisConfig) -> Iterator[float]:
    """Give growing pauses with jitter, from 20 ms to 1 s, until `retry_timeout` seconds have gone by."""
    deadline = time.monotonic() + config.retry_timeout
    for step in itertools.count():
        left = deadline - time.monotonic()
        if left <= 0:
            return
        yield min(left, min(1.0, 0.02 * 2**step) * random.uniform(0.5, 1.0))  # noqa: S311 - not for secrets


def persist(config: RedisConfig, step: Callable[[], T]) -> T:
    """Take `step` until it goes through, for as long as `retry_timeout` allows.

    Raises
    ------
    ConnectionFailed
        The server stayed out of reach.
    StoreFull
        The server stayed full.
    """
    waits = pauses(config)
    warned = False
    while True:
        try:
            result = step()
        except (Broken, Full) as fault:
            pause = next(waits, None)
            if pause is None:
                if isinstance(fault, Full):
                    raise StoreFull(
                        f"the server at {config.address} is full (maxmemory) and refused a write for "
                        f"{config.retry_timeout:g} s; make room, or raise maxmemory"
                    ) from fault
                raise ConnectionFailed(
                    f"cannot reach the server at {config.address} (tried for {config.retry_timeout:g} s): {fault}"
                ) from fault
            if not warned and pause > 0.1:
                warned = True
                log.warning("server at %s: %s; trying again", config.address, fault)
            time.sleep(pause)
        else:
            if warned:
                log.warning("server at %s: back", config.address)
            return result


class Readers:
    """Connections for reading and waiting, one for each thread."""

    def __init__(self, config: RedisConfig, key: bytes) -> None:
        self._config = config
        self._key = key
        self._local = threading.local()
        self._all: weakref.WeakSet[Channel] = weakref.WeakSet()

    def channel(self) -> Channel:
        """Give this thread's channel."""
        channel: Channel | None = getattr(self._local, "channel", None)
        if channel is None:
            channel = self._local.channel = Channel(self._config, self._key)
            self._all.add(channel)
        return channel

    def ask(self, *command: Any, timeout: float | None = None) -> Reply:
        """Send a command that changes nothing, again after a fault, and give its reply."""
        packed = pack(command)
        return persist(self._config, lambda: self.channel().call(packed, timeout))

    def run(self, script: Script, *tail: Any) -> Reply:
        """Run a script that may be run twice, again after a fault."""
        return persist(self._config, lambda: self.channel().run(script, tail))

    def close(self) -> None:
        """Close the connections of all threads."""
        for channel in list(self._all):
            channel.close()
