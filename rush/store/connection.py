"""Opening connections: finding the server of a network, directly, by sentinels or in a cluster.

redis-py does the connecting, TLS and passwords. None of its own retries are used: they would repeat writes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from rush.config import RedisConfig
from rush.config.connection import Nodes
from rush.store.scripts import Reply
from rush.store.unwelcome import tls_mismatch, turned_away

Place = tuple[str, int]
Packed = tuple[str | int | float | bytes | memoryview]
_unix: Any = redis.UnixDomainSocketConnection
pack = hiredis.pack_command


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


def _place(
    config: RedisConfig, places: Nodes, wanted: str, command: Sequence[str], read: Callable[[Reply], Place | None]
) -> Place:
    """Ask servers, one after the other, where something is; `read` reads the place out of an answer."""
    turned, faults = None, []
    for host, port in places:
        one = replace(config, host=host, port=port)
        connection = _plain_connection(one, host, port)
        try:
            place = read(_ask(connection, *command))
        except (redis.RedisError, OSError) as error:
            turned = turned or turned_away(error, one)
            faults.append(f"{host}:{port}: {error}")
            continue
        finally:
            connection.disconnect()
        if place is not None:
            return place[0] or host, place[1]
        faults.append(f"{host}:{port} knows no {wanted}")
    raise turned or redis.ConnectionError(f"{wanted} cannot be found: " + "; ".join(faults))


def _sentinel_master(config: RedisConfig) -> Place:
    """Ask the sentinels where the master is."""
    sentinel = replace(
        config,
        sentinels=(),
        sentinel_service=None,
        db=0,
        username=config.sentinel_username,
        password=config.sentinel_password,
    )
    service = config.sentinel_service or ""

    def read(found: Reply) -> Place | None:
        return (found[0].decode(), int(found[1])) if found else None

    command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
    return _place(sentinel, config.sentinels, f"service {service!r}", command, read)


def _shard(config: RedisConfig, key: bytes) -> Place:
    """Ask the nodes of a cluster which of them serves `key`."""
    slot = key_slot(key)

    def read(slots: Reply) -> Place | None:
        for first, last, master, *_ in slots:
            if first <= slot <= last:
                return master[0].decode(), int(master[1])
        return None

    nodes = config.nodes or ((config.host, config.port),)
    return _place(replace(config, nodes=nodes), nodes, f"master of slot {slot}", ("CLUSTER", "SLOTS"), read)


def _find(config: RedisConfig, key: bytes) -> Place:
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
    try:
        connection.connect()
    except (redis.RedisError, OSError) as error:
        mismatch = tls_mismatch(error, config, host, port)
        if mismatch is not None:
            raise mismatch from error
        raise
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
