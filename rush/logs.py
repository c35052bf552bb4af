"""Log records in the server: a handler that writes them, and how a worker installs it."""

import logging
import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from rush.errors import RushError
from rush.keys import check_id
from rush.plan import find_config
from rush.store import Store

if TYPE_CHECKING:
    import redis

    from rush.config import RedisConfig

COLUMNS = ("worker_id", "level", "timestamp", "logger", "caller", "msg")
MOST_KEPT = 10_000
PATIENCE = 2.0
SHORTEST_PAUSE = 0.5
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_pack = msgspec.msgpack.Encoder().encode


_handlers: "weakref.WeakSet[RedisHandler]" = weakref.WeakSet()


def _forget_after_fork() -> None:
    """Leave to the parent what it has collected."""
    for handler in list(_handlers):
        handler.forget()


os.register_at_fork(after_in_child=_forget_after_fork)


def filter_custom_fields(record: logging.LogRecord) -> logging.LogRecord:
    """Give a copy of a record with the standard fields only: what was passed by ``extra=`` is left out."""
    return logging.makeLogRecord({name: value for name, value in vars(record).items() if name in _STANDARD})


class RedisHandler(logging.Handler):
    """Writes log records to a network's server, where `Rush.read_log` finds them.

    While the server is away records are kept, the newest 10,000 of them, and written with the first record after it is
    back, or at exit. A handler never raises into the program that logs, and takes a tenth of its time at most.

    Parameters
    ----------
    config
        The server; found as `rsh` finds it if None.
    network_id, worker_id
        Whose log it is.
    level
        Lowest level that is handled.
    formatter
        Makes the text of a record; by default its message.
    buffer_size
        Records to collect: 0 writes each at once, n writes all when one more than n have come.
    flush_level
        A record of this level or above is written at once with all before it.
    should_flush
        Called with each record; True writes everything at once.
    filters
        Filters as `logging.Handler.addFilter` takes them.
    """

    def __init__(
        self,
        config: "RedisConfig | str | redis.Redis | None",
        network_id: str,
        worker_id: str,
        level: int | str = logging.NOTSET,
        *,
        formatter: logging.Formatter | None = None,
        buffer_size: int = 0,
        flush_level: int | str = logging.ERROR,
        should_flush: Callable[[logging.LogRecord], bool] | None = None,
        filters: Iterable["logging.Filter | Callable[[logging.LogRecord], bool]"] = (),
    ) -> None:
        super().__init__(level)
        if isinstance(buffer_size, bool) or not isinstance(buffer_size, int) or buffer_size < 0:
            raise ValueError(f"buffer_size must be an int of 0 or more, got {buffer_size!r}")
        check_id(worker_id, "worker_id")
        server = find_config(config)
        brief = replace(
            server,
            retry_timeout=0.0,
            socket_timeout=min(PATIENCE, server.socket_timeout),
            connect_timeout=min(PATIENCE, server.connect_timeout),
        )
        self._store = Store(brief, network_id)
        self._retry_at = 0.0
        self._worker_id = worker_id
        self._buffer_size = buffer_size
        self._flush_level = _level_number(flush_level)
        self._should_flush = should_flush
        self._records: deque[bytes] = deque(maxlen=MOST_KEPT)
        _handlers.add(self)
        self.setFormatter(formatter)
        for entry in filters:
            self.addFilter(entry)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or keep it for later."""
        try:
            plain = filter_custom_fields(record)
            self._records.append(
                _pack(
                    (
                        *(self._worker_id, plain.levelname, round(plain.created * 1000), plain.name),
                        *(f"{plain.module}.{plain.funcName}:{plain.lineno}", self.format(plain)),
                    )
                )
            )
            urgent = record.levelno >= self._flush_level or (
                self._should_flush is not None and self._should_flush(record)
            )
            if (urgent or len(self._records) > self._buffer_size) and time.monotonic() >= self._retry_at:
                self.flush()
        except Exception:  # noqa: BLE001 - logging must not break what logs
            self.handleError(record)

    def flush(self) -> None:
        """Write what was collected; what cannot be written now is kept."""
        with self.lock or _no_lock:
            if not self._records:
                return
            records = list(self._records)
            began = time.monotonic()
            try:
                self._store.append_logs(records)
            except (RushError, OSError):
                now = time.monotonic()
                self._retry_at = now + max(SHORTEST_PAUSE, 10 * (now - began))
                return
            for _ in records:
                self._records.popleft()

    def forget(self) -> None:
        """Drop what was collected."""
        self._records.clear()

    def close(self) -> None:
        """Write what was collected and close the connection."""
        self.flush()
        self._store.close()
        super().close()


def _level_number(level: int | str) -> int:
    if isinstance(level, int):
        return level
    known = logging.getLevelNamesMapping()
    if level not in known:
        raise ValueError(f"flush_level must be an int or one of {', '.join(known)}, got {level!r}")
    return known[level]


class _NoLock:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


_no_lock = _NoLock()


def install(
    config: "RedisConfig", network_id: str, worker_id: str, log_levels: Mapping[str, str], buffer_size: int = 0
) -> RedisHandler:
    """Send what the named loggers log from their levels on to the server."""
    handler = RedisHandler(config, network_id, worker_id, buffer_size=buffer_size)
    for name, level in log_levels.items():
        logger = _named(name)
        logger.setLevel(level)
        logger.addHandler(handler)
    return handler


def remove(handler: RedisHandler, log_levels: Mapping[str, str]) -> None:
    """Undo `install`, but for the loggers' levels, and write what was collected."""
    for name in log_levels:
        _named(name).removeHandler(handler)
    handler.close()


def _named(name: str) -> logging.Logger:
    return logging.getLogger(None if name in {"", "root"} else name)
