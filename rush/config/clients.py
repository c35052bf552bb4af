"""How to reach a server, read from whatever says so: a config, a URL, or a client of redis-py."""

from typing import TYPE_CHECKING, Any

from rush.config.connection import Nodes, RedisConfig

if TYPE_CHECKING:
    import redis

_SAME_NAMES = ("host", "port", "db", "username", "password", "socket_timeout")
_OTHER_NAMES = {
    "path": "unix_socket",
    "ssl_ca_certs": "tls_ca",
    "ssl_certfile": "tls_cert",
    "ssl_keyfile": "tls_key",
    "ssl_check_hostname": "tls_check_hostname",
    "socket_connect_timeout": "connect_timeout",
}


def as_config(value: "RedisConfig | str | redis.Redis") -> RedisConfig:
    """Make a `RedisConfig` of whatever says how to reach a server: one, a URL, or a `redis.Redis`.

    Raises
    ------
    ConfigError
        A URL is wrong.
    TypeError
        It is something else.
    """
    if isinstance(value, RedisConfig):
        return value
    if isinstance(value, str):
        return RedisConfig.from_url(value)
    if type(value).__module__.partition(".")[0] == "redis" or hasattr(value, "connection_pool"):
        return _client_config(value)
    raise TypeError(f"config must be a RedisConfig, a URL or a redis.Redis, not {type(value).__name__}")


def _client_config(client: object) -> RedisConfig:
    # Whoever has a client has imported redis already.
    import redis
    from redis.cluster import RedisCluster
    from redis.sentinel import SentinelConnectionPool

    if isinstance(client, RedisCluster):
        return _cluster_config(client)
    if not isinstance(client, redis.Redis):
        raise TypeError(f"config must be a RedisConfig, a URL or a redis.Redis, not {type(client).__name__}")
    pool = client.connection_pool
    fields = _fields(pool.connection_kwargs)
    fields["tls"] = issubclass(pool.connection_class, redis.SSLConnection)
    if isinstance(pool, SentinelConnectionPool):
        fields |= _sentinel_fields(pool)
    return RedisConfig(**fields)


def _fields(options: dict[str, Any]) -> dict[str, Any]:
    found = {name: options.get(name) for name in _SAME_NAMES}
    found |= {field: options.get(name) for name, field in _OTHER_NAMES.items()}
    if (provider := options.get("credential_provider")) is not None:
        *username, found["password"] = provider.get_credentials()
        found["username"] = username[0] if username else None
    return {name: value for name, value in found.items() if value is not None}


def _sentinel_fields(pool: Any) -> dict[str, Any]:
    manager = pool.sentinel_manager
    sentinels = [sentinel.connection_pool.connection_kwargs for sentinel in manager.sentinels]
    return {
        "sentinels": tuple((options["host"], options["port"]) for options in sentinels),
        "sentinel_service": pool.service_name,
        "sentinel_username": manager.sentinel_kwargs.get("username"),
        "sentinel_password": manager.sentinel_kwargs.get("password"),
    }


def _cluster_config(client: Any) -> RedisConfig:
    manager = client.nodes_manager
    nodes: Nodes = tuple((node.host, node.port) for node in manager.startup_nodes.values())
    fields = _fields(manager.connection_kwargs) | {"cluster": True, "nodes": nodes, "db": 0}
    fields["host"], fields["port"] = nodes[0]
    return RedisConfig(**fields)
