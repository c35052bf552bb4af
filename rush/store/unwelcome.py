"""Why a server turns a client away, in words that say what to change. No repeating mends it."""

import contextlib
import socket
import ssl
from collections.abc import Iterator

import redis

from rush.config import RedisConfig
from rush.errors import ConnectionFailed

_PROBE_TIMEOUT = 1.0
_REPLIES = (b"+", b"-")
_TLS_RECORDS = (b"\x15", b"\x16")
"""What an answer begins with: a reply or an error, in TLS an alert or a handshake."""


class TurnedAway(ConnectionFailed):
    """The server is there and turns this client away: trying again cannot help."""


def turned_away(error: BaseException, config: RedisConfig) -> TurnedAway | None:
    """Say why the client was turned away; None for a fault that may pass."""
    if isinstance(error, TurnedAway):
        return error
    if isinstance(error, redis.AuthenticationError):
        return TurnedAway(f"the server at {config.address} refused the password: {error}")
    if isinstance(error, (redis.exceptions.AuthorizationError, redis.exceptions.NoPermissionError)):
        return TurnedAway(f"the server at {config.address} refused this user: {error}")
    why = _tls_refusal(error, config) if config.tls else None
    return None if why is None else TurnedAway(f"TLS with the server at {config.address} failed: {why}")


def tls_mismatch(error: BaseException, config: RedisConfig, host: str, port: int) -> TurnedAway | None:
    """Say whether a connection could not be opened because only one of both ends speaks TLS."""
    cut = (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, TimeoutError)
    if config.unix_socket or not any(isinstance(cause, cut) for cause in _causes(error)):
        return None
    if config.tls and _answer(host, port, b"PING\r\n") in _REPLIES:
        return TurnedAway(f"the server at {config.address} does not speak TLS; use redis:// or RedisConfig(tls=False)")
    if not config.tls and _answer(host, port, _tls_hello(host)) in _TLS_RECORDS:
        return TurnedAway(f"the server at {config.address} speaks TLS; use rediss:// or RedisConfig(tls=True)")
    return None


def _tls_refusal(error: BaseException, config: RedisConfig) -> str | None:
    """Say what is wrong with a certificate, or with the file of one."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            if "mismatch" in cause.verify_message:
                return f"{cause.verify_message}; the certificate is for another host (see tls_check_hostname)"
            trusted = config.tls_ca or "the system's authorities"
            return f"certificate verify failed: {cause.verify_message} (tls_ca: {trusted})"
        if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
            own = f"{config.tls_cert} as tls_cert" if config.tls_cert else "no tls_cert"
            return f"{cause.reason}: it does not accept this client, which has {own}"
        if isinstance(cause, (ssl.SSLError, FileNotFoundError, PermissionError)) and (named := _bad_file(config)):
            return named
    return None


def _bad_file(config: RedisConfig) -> str | None:
    """Name the first of the TLS files that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if config.tls_ca is not None:
        try:
            context.load_verify_locations(config.tls_ca)
        except OSError as error:
            return f"tls_ca: cannot use {config.tls_ca!r}: {error.strerror}"
    for name, path in (("tls_cert", config.tls_cert), ("tls_key", config.tls_key)):
        try:
            if path is not None:
                open(path, "rb").close()  # noqa: PTH123 - only whether it can be read
        except OSError as error:
            return f"{name}: cannot use {path!r}: {error.strerror}"
    if config.tls_cert is not None:
        try:
            context.load_cert_chain(config.tls_cert, config.tls_key)
        except OSError as error:
            return f"tls_cert, tls_key: cannot use {config.tls_cert!r} with {config.tls_key!r}: {error.strerror}"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give an error and what it came from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _answer(host: str, port: int, greeting: bytes) -> bytes:
    """Give the first byte that a server answers to a greeting; none if it does not."""
    try:
        with socket.create_connection((host, port), timeout=_PROBE_TIMEOUT) as probe:
            probe.sendall(greeting)
            return probe.recv(1)
    except OSError:
        return b""


def _tls_hello(host: str) -> bytes:
    """Give what a TLS client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=host).do_handshake()
    return outgoing.read()
