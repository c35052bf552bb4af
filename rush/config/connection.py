"""How to reach a server: `RedisConfig`, its checks, and its forms as URL and as secret."""

import base64
import dataclasses
import ipaddress
import json
import os
from dataclasses import dataclass, field
from typing import Any, Self

from rush.config import urls
from rush.errors import ConfigError

Nodes = tuple[tuple[str, int], ...]

SHORTEST_KEY = 16
"""Bytes that a signing key must have at least."""


@dataclass(frozen=True)
class RedisConfig:
    """How to reach a Redis or Valkey server. No representation of it shows a password or the signing key.

    Parameters
    ----------
    host, port, db
        Where the server listens, and the number of its database.
    username, password
        What it asks for.
    unix_socket
        Path of a Unix socket, used instead of host and port.
    tls, tls_ca, tls_cert, tls_key, tls_check_hostname
        Encryption: whether, the file of trusted certificates, the client's own certificate and key, and whether the
        server's name must match its certificate. The files must stand under the same paths on the workers' hosts.
    sentinels, sentinel_service, sentinel_username, sentinel_password
        The sentinels to ask, as pairs of host and port, and the name of the service they watch.
    cluster, nodes
        Whether the server is a Redis Cluster, and the nodes to ask first, as pairs of host and port.
    retry_timeout
        Seconds for which a broken connection or a full server is tried again. Loops that a supervisor runs go on
        trying for four times as long, and two minutes at least, before they end.
    socket_timeout, connect_timeout
        Seconds to wait for a reply and for a connection.
    signing_key
        The key that signs pickled objects; by default RUSH_SIGNING_KEY or the user's own key file.

    Raises
    ------
    ConfigError
        A value is out of range or of the wrong type.
    """

    host: str = "127.0.0.1"
    port: int = 6379
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    unix_socket: str | None = None
    tls: bool = False
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_check_hostname: bool = True
    sentinels: Nodes = ()
    sentinel_service: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    cluster: bool = False
    nodes: Nodes = ()
    retry_timeout: float = 30.0
    socket_timeout: float = 5.0
    connect_timeout: float = 5.0
    signing_key: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check_types(self)
        for name in ("tls_ca", "tls_cert", "tls_key", "unix_socket"):
            if path := getattr(self, name):
                # Workers are told the same path, and run in other folders.
                object.__setattr__(self, name, os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111 - keeps links as they are
        _check_ranges(self)
        _check_combinations(self)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Read a URL: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or ``redis+cluster://``.

        Raises
        ------
        ConfigError
            The URL is not one, or has an option that does not exist.
        """
        if not isinstance(url, str):
            raise TypeError(f"url must be a str, not {type(url).__name__}")
        return cls(**urls.parse(url))

    @property
    def url(self) -> str:
        """The URL that says the same, with the password in it, without the signing key."""
        return urls.compose(self._stated(), secrets=True)

    @property
    def address(self) -> str:
        """Where the server is, for messages: no user, no password, no options."""
        return urls.compose(self._stated(), secrets=False)

    @property
    def on_loopback(self) -> bool:
        """Whether this leads to its own host wherever it is followed: by loopback, or by a Unix socket."""
        if self.unix_socket:
            return True
        places = self.sentinels or self.nodes or ((self.host, self.port),)
        return all(_is_loopback(host) for host, _ in places)

    def to_secret(self) -> bytes:
        """Write everything down as one line of JSON, secrets included, to be handed to a worker."""
        stated = {name: value for name, value in self._stated().items() if name != "signing_key"}
        if self.signing_key is not None:
            stated["signing_key"] = base64.b64encode(self.signing_key).decode()
        return json.dumps(stated).encode()

    @classmethod
    def from_secret(cls, secret: bytes) -> Self:
        """Read what `to_secret` wrote.

        Raises
        ------
        ConfigError
            It is something else.
        """
        try:
            stated = json.loads(secret)
            if "signing_key" in stated:
                stated["signing_key"] = base64.b64decode(stated["signing_key"], validate=True)
            for name in ("sentinels", "nodes"):
                if name in stated:
                    stated[name] = tuple((host, port) for host, port in stated[name])
            return cls(**stated)
        except ConfigError:
            raise
        except (ValueError, TypeError):
            # The cause quotes what it could not read, which may be a password.
            raise ConfigError("not the secrets of a worker: expected the JSON of RedisConfig.to_secret") from None

    def _stated(self) -> dict[str, Any]:
        """Give the fields that differ from their defaults, and host and port in any case."""
        values = {f.name: (getattr(self, f.name), f.default) for f in dataclasses.fields(self)}
        return {n: value for n, (value, default) in values.items() if n in {"host", "port"} or value != default}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower().rpartition(".")[2] in {"localhost", "localdomain", "ip6-localhost"}


def _check_types(config: RedisConfig) -> None:
    for name in ("username", "password", "unix_socket", "tls_ca", "tls_cert", "tls_key"):
        _require(name, getattr(config, name), (str, type(None)), "a str or None")
    for name in ("sentinel_service", "sentinel_username", "sentinel_password"):
        _require(name, getattr(config, name), (str, type(None)), "a str or None")
    for name in ("tls", "tls_check_hostname", "cluster"):
        _require(name, getattr(config, name), (bool,), "True or False")
    for name in ("port", "db"):
        _require(name, getattr(config, name), (int,), "an int")
    for name in ("retry_timeout", "socket_timeout", "connect_timeout"):
        _require(name, getattr(config, name), (int, float), "a number of seconds")
    _require("host", config.host, (str,), "a str")
    _require("signing_key", config.signing_key, (bytes, type(None)), "bytes or None")


def _require(name: str, value: object, types: tuple[type, ...], wanted: str) -> None:
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        secret = name.endswith(("password", "key"))
        shown = f"a {type(value).__name__}" if secret else repr(value)
        raise ConfigError(f"RedisConfig: {name} must be {wanted}, not {shown}")


def _check_ranges(config: RedisConfig) -> None:
    if not 0 < config.port <= 65535:
        raise ConfigError(f"RedisConfig: port must be 1 to 65535, not {config.port}")
    if config.db < 0:
        raise ConfigError(f"RedisConfig: db must be 0 or more, not {config.db}")
    if not config.host and not config.unix_socket:
        raise ConfigError("RedisConfig: host must not be empty")
    if not config.retry_timeout >= 0:
        raise ConfigError(f"RedisConfig: retry_timeout must be 0 or more seconds, not {config.retry_timeout}")
    for name in ("socket_timeout", "connect_timeout"):
        if not getattr(config, name) > 0:
            raise ConfigError(f"RedisConfig: {name} must be more than 0 seconds, not {getattr(config, name)}")
    if config.signing_key is not None and len(config.signing_key) < SHORTEST_KEY:
        raise ConfigError(f"RedisConfig: signing_key must have {SHORTEST_KEY} bytes or more")


def _check_combinations(config: RedisConfig) -> None:
    for name in ("sentinels", "nodes"):
        _check_nodes(name, getattr(config, name))
    if bool(config.sentinels) != bool(config.sentinel_service):
        raise ConfigError("RedisConfig: sentinels and sentinel_service go together")
    if config.cluster and (config.sentinels or config.unix_socket or config.db):
        raise ConfigError("RedisConfig: a cluster has no sentinels, no Unix socket and only database 0")
    if bool(config.tls_cert) != bool(config.tls_key):
        raise ConfigError("RedisConfig: tls_cert and tls_key go together")


def _check_nodes(name: str, nodes: object) -> None:
    wanted = f"RedisConfig: {name} must be a tuple of (host, port) pairs, not {nodes!r}"
    if not isinstance(nodes, tuple):
        raise ConfigError(wanted)
    for node in nodes:
        match node:
            case (str(), int()):
                continue
            case _:
                raise ConfigError(wanted)
