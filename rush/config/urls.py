"""Redis URLs: what they say, and how to write one down. Pure text, no connection, no secret in any message."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from rush.errors import ConfigError
from rush.spelling import unknown_name

FORMS = (
    "redis://[user:password@]host[:port][/db], rediss://... (TLS), unix://[user:password@]/path/to/socket[?db=N], "
    "redis+sentinel://host[:port][,host...]/service[/db] or redis+cluster://host[:port][,host...]"
)
_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[A-Za-z0-9._-]*)(?::(?P<port>\d{1,5}))?")
_HIGHEST_PORT = 65535


def _boolean(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    return words[text.lower()]


_OPTIONS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "db": ("db", int),
    "retry_timeout": ("retry_timeout", float),
    "socket_timeout": ("socket_timeout", float),
    "connect_timeout": ("connect_timeout", float),
    "tls_ca": ("tls_ca", str),
    "tls_cert": ("tls_cert", str),
    "tls_key": ("tls_key", str),
    "tls_check_hostname": ("tls_check_hostname", _boolean),
    "sentinel_username": ("sentinel_username", str),
    "sentinel_password": ("sentinel_password", str),
    # The names that redis-py gives to the same things, so that its URLs work as they stand.
    "socket_connect_timeout": ("connect_timeout", float),
    "ssl_ca_certs": ("tls_ca", str),
    "ssl_certfile": ("tls_cert", str),
    "ssl_keyfile": ("tls_key", str),
    "ssl_check_hostname": ("tls_check_hostname", _boolean),
}


def parse(url: str) -> dict[str, Any]:
    """Read a URL into the fields of a `RedisConfig`.

    Raises
    ------
    ConfigError
        The URL is not one; the message shows it without its password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ConfigError(f"{masked(url)!r} is not a Redis URL; known forms: {FORMS}")
    rest, _, query = rest.partition("?")
    userinfo, _, place = rest.rpartition("@")
    fields = _user(userinfo)
    base, _, kind = scheme.partition("+")
    if base == "rediss":
        fields["tls"] = True
    if base == "unix":
        fields["unix_socket"] = _socket_path(place, url)
    else:
        netloc, _, path = place.partition("/")
        reader = {"": _single, "sentinel": _sentinel, "cluster": _cluster}[kind]
        fields |= reader(netloc, path.rstrip("/"), url)
    return fields | _options(query, url)


def masked(url: str) -> str:
    """Write a URL, or what was meant as one, without anything that could be a secret."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url if re.fullmatch(r"[A-Za-z0-9._/-]*(:\d{1,5})?", url) else "***"
    rest = rest.partition("?")[0]
    userinfo, at, place = rest.rpartition("@")
    netloc, slash, path = place.partition("/")
    hosts = ",".join(part if _HOST.fullmatch(part) else "***" for part in netloc.split(","))
    return f"{scheme}://{'***' if userinfo else ''}{at}{hosts}{slash}{path}"


def compose(fields: Mapping[str, Any], *, secrets: bool) -> str:
    """Write the fields of a `RedisConfig` as a URL; what stands at its default is left out.

    With ``secrets=False`` neither user, password nor options are in it: it is then an address for messages.
    """
    base = "rediss" if fields.get("tls") else "redis"
    user = _userinfo(fields) if secrets else ""
    options = {name: fields[name] for name, (field, _) in _OPTIONS.items() if name == field and name in fields}
    db = options.pop("db", 0)
    if path := fields.get("unix_socket"):
        options["db"] = db
        head = f"unix://{user}{quote(path)}"
    elif service := fields.get("sentinel_service"):
        head = f"{base}+sentinel://{user}{_netloc(fields['sentinels'])}/{quote(service, safe='')}/{db}"
    elif fields.get("cluster"):
        head = f"{base}+cluster://{user}{_netloc(fields['nodes'])}"
    else:
        head = f"{base}://{user}{_netloc([(fields['host'], fields['port'])])}/{db}"
    if not secrets:
        return head
    query = "&".join(f"{name}={quote(_text(value), safe='/')}" for name, value in options.items() if value is not None)
    return f"{head}?{query}" if query else head


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _userinfo(fields: Mapping[str, Any]) -> str:
    username, password = fields.get("username"), fields.get("password")
    if username is None and password is None:
        return ""
    return f"{quote(username or '', safe='')}" + (f":{quote(password, safe='')}" if password else "") + "@"


def _netloc(nodes: Sequence[tuple[str, int]]) -> str:
    return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in nodes)


def _user(userinfo: str) -> dict[str, Any]:
    username, colon, password = userinfo.partition(":")
    fields = {}
    if username:
        fields["username"] = unquote(username)
    if colon and password:
        fields["password"] = unquote(password)
    return fields


def _nodes(netloc: str, default_port: int, url: str) -> tuple[tuple[str, int], ...]:
    nodes = []
    for part in netloc.split(","):
        match = _HOST.fullmatch(part)
        port = int(match["port"] or default_port) if match else 0
        if match is None or not 0 < port <= _HIGHEST_PORT:
            raise ConfigError(
                f"{masked(url)!r} has no valid host and port (1 to {_HIGHEST_PORT}); "
                "special characters of a password are written as %XX"
            )
        nodes.append((match["host"].strip("[]") or "127.0.0.1", port))
    return tuple(nodes)


def _database(text: str, url: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text):
        raise ConfigError(f"{masked(url)!r}: the database must be a number, not {text!r}")
    return int(text)


def _socket_path(place: str, url: str) -> str:
    path = unquote(place)
    if not path.startswith("/"):
        raise ConfigError(f"{masked(url)!r}: the path of a Unix socket must be absolute, as in unix:///run/redis.sock")
    return path


def _single(netloc: str, path: str, url: str) -> dict[str, Any]:
    nodes = _nodes(netloc, 6379, url)
    if len(nodes) > 1:
        raise ConfigError(f"{masked(url)!r} names several hosts; that is for redis+sentinel:// and redis+cluster://")
    ((host, port),) = nodes
    fields: dict[str, Any] = {"host": host, "port": port}
    return fields | {"db": _database(path, url)} if path else fields


def _sentinel(netloc: str, path: str, url: str) -> dict[str, Any]:
    service, _, db = path.partition("/")
    if not service:
        raise ConfigError(f"{masked(url)!r} names no service, as in redis+sentinel://host:26379/mymaster")
    fields: dict[str, Any] = {"sentinels": _nodes(netloc, 26379, url), "sentinel_service": unquote(service)}
    return fields | {"db": _database(db, url)} if db else fields


def _cluster(netloc: str, path: str, url: str) -> dict[str, Any]:
    if path not in {"", "0"}:
        raise ConfigError(f"{masked(url)!r}: a cluster has only database 0, not {path!r}")
    nodes = _nodes(netloc, 6379, url)
    host, port = nodes[0]
    return {"cluster": True, "nodes": nodes, "host": host, "port": port}


def _options(query: str, url: str) -> dict[str, Any]:
    fields = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise ConfigError(f"{masked(url)!r}: {unknown_name('option', name, _OPTIONS)}")
        field, convert = _OPTIONS[name]
        try:
            fields[field] = convert(text)
        except (ValueError, KeyError):
            shown = "" if field.endswith("password") else f" {text!r}"
            raise ConfigError(f"{masked(url)!r}: option {name} cannot be{shown}") from None
    return fields
