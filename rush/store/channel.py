"""Channels: one connection each, opened when needed and dropped at the first fault; and what to do about faults.

redis-py opens the connection; requests and replies then go straight over its socket, through hiredis.
"""

import contextlib
import functools
import itertools
import logging
import os
import random
import socket
import ssl
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import hiredis
import redis

from rush.config import RedisConfig
from rush.errors import ConnectionFailed, RushError, StoreFull
from rush.store.connection import connect, pack
from rush.store.scripts import Reply, Script
from rush.store.unwelcome import TurnedAway, turned_away

log = logging.getLogger(__name__)
T = TypeVar("T")
Read = Callable[[bytearray], int]
"""Reads from a socket into a buffer, what is there or comes before the socket's timeout, and gives its size."""

_MORE: Any = object()
_BUFFER = 65_536
_LOOKS = 64
_TRIAL = 16
_TERM = 1_000
_BETTER = 0.8
_PASSING = frozenset(("BUSY", "LOADING", "MISCONF", "READONLY", "MASTERDOWN", "NOREPLICAS", "UNBLOCKED"))
_PASSING |= frozenset(("CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK"))
_UNWELCOME = frozenset(("NOAUTH", "WRONGPASS", "NOPERM"))


class Broken(Exception):
    """The connection broke, or the server cannot serve now; what was sent may have been done or not."""


class Full(Exception):
    """The server is full, and refused the write without doing any of it."""


class Refused(RushError):
    """The server's answer is an error."""

    @property
    def word(self) -> str:
        """Give the code that the error begins with."""
        return str(self).partition(" ")[0]


class Request:
    """A script's call, up to the arguments that differ from one to the next: those alone are packed each time."""

    def __init__(self, script: Script, words: tuple[Any, ...]) -> None:
        self._script = script
        self._words = words
        self._starts: dict[int, tuple[bytes, int]] = {}

    def packed(self, args: tuple[Any, ...]) -> bytes:
        """Give the whole command."""
        start, skip = self._starts.get(len(args)) or self._start(len(args))
        rest: bytes = pack(args)
        return start + rest[skip:]

    def in_full(self, args: tuple[Any, ...]) -> bytes:
        """Give the command with the script's text, for a server that does not know it yet."""
        packed: bytes = pack((b"EVAL", self._script.text, *self._words, *args))
        return packed

    def _start(self, count: int) -> tuple[bytes, int]:
        """Pack all that stands before `count` arguments, and say how many bytes of their own head it stands for."""
        packed: bytes = pack((b"EVALSHA", self._script.sha, *self._words))
        start = b"*%d%b" % (len(self._words) + 2 + count, packed[packed.index(b"\r") :])
        self._starts[count] = start, len(f"*{count}\r\n")
        return self._starts[count]


_channels: "weakref.WeakSet[Channel]" = weakref.WeakSet()


def _forget_after_fork() -> None:
    """Drop what the child inherited, without saying anything on the parent's sockets."""
    for channel in list(_channels):
        channel.forget()


os.register_at_fork(after_in_child=_forget_after_fork)


def patient(opened: socket.socket) -> Iterator[Read]:
    """Give the function for each read, which looks for a reply for some microseconds before it goes to sleep, or not.

    A server on another core answers sooner than a sleeping process wakes up; one that is further away, or waits for
    this very core, does not. Which it is shows in a trial of both ways, repeated every so many replies.
    """

    def ways() -> Iterator[Iterable[Read]]:
        wait, look = opened.recv_into, functools.partial(_look, opened)
        while True:
            sleeping: list[float] = []
            looking: list[float] = []
            yield itertools.repeat(_timed(wait, sleeping), _TRIAL)
            yield itertools.repeat(_timed(look, looking), _TRIAL)
            worth_it = sorted(looking)[_TRIAL // 2] < _BETTER * sorted(sleeping)[_TRIAL // 2]
            yield itertools.repeat(look if worth_it else wait, _TERM)

    return itertools.chain.from_iterable(ways())


def _timed(read: Read, times: list[float]) -> Read:
    def timed(buffer: bytearray) -> int:
        began = time.perf_counter()
        size = read(buffer)
        times.append(time.perf_counter() - began)
        return size

    return timed


def _look(opened: socket.socket, buffer: bytearray) -> int:
    receive = opened.recv_into
    for _ in range(_LOOKS):
        try:
            return receive(buffer, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            os.sched_yield()
    return receive(buffer)


class Channel:
    """One connection and who may use it: opened when needed, dropped at the first fault.

    Attributes
    ----------
    socket
        Open, and none has shown a fault; else None.
    """

    def __init__(self, config: RedisConfig, key: bytes) -> None:
        self._config = config
        self._key = key
        self._connection: Any = None
        self.socket: Any = None
        _channels.add(self)

    def forget(self) -> None:
        """Let go of the connection in a forked child: its socket is the parent's."""
        connection, self._connection, self.socket = self._connection, None, None
        if connection is not None and connection._sock is not None:  # noqa: SLF001 - redis-py would shut it down
            with contextlib.suppress(OSError):
                os.close(connection._sock.detach())  # noqa: SLF001
            connection._sock = None  # noqa: SLF001

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        connection, self._connection, self.socket = self._connection, None, None
        if connection is not None:
            connection.disconnect()

    def fileno(self) -> int:
        """Give the socket's descriptor, to be waited on."""
        if self.socket is None:
            raise Broken("not connected")
        return int(self.socket.fileno())

    def send(self, packed: bytes) -> None:
        """Send a packed command; the reply is read later."""
        try:
            if self.socket is None:
                self._open()
            self.socket.sendall(packed)
        except BaseException as error:
            raise self._fault(error) from error

    def read(self, timeout: float | None = None) -> Reply:
        """Read one reply; `timeout` replaces the socket's own, in seconds."""
        if self.socket is None:
            raise Broken("not connected")
        try:
            reply = self._receive() if timeout is None else self._receive_within(timeout)
        except BaseException as error:
            raise self._fault(error) from error
        if type(reply) is Refused:
            raise self._reading_of(reply)
        return reply

    def call(self, packed: bytes, timeout: float | None = None) -> Reply:
        """Send a packed command and read its reply."""
        self.send(packed)
        return self.read(timeout)

    def run(self, script: Script, tail: tuple[Any, ...]) -> Reply:
        """Run a script; `tail` is the number of keys, the keys and the arguments."""
        return self.run_request(Request(script, tail), ())

    def run_request(self, request: Request, args: tuple[Any, ...]) -> Reply:
        """Run a script whose first words are packed already."""
        try:
            if self.socket is None:
                self._open()
            self.socket.sendall(request.packed(args))
            reply = self._receive()
        except BaseException as error:
            raise self._fault(error) from error
        if type(reply) is not Refused:
            return reply
        if reply.word == "NOSCRIPT":
            return self.call(request.in_full(args))
        raise self._reading_of(reply)

    def _open(self) -> None:
        self._connection = connection = connect(self._config, self._key)
        self._buffer = bytearray(_BUFFER)
        self._reader: Any = hiredis.Reader(replyError=Refused, notEnoughData=_MORE)
        opened: Any = connection._sock  # noqa: SLF001 - there is no public way
        opened.settimeout(None)
        _limit(opened, socket.SO_SNDTIMEO, self._config.socket_timeout)
        _limit(opened, socket.SO_RCVTIMEO, self._config.socket_timeout)
        # A TLS socket cannot be looked at.
        self._reads = itertools.repeat(opened.recv_into) if self._config.tls else patient(opened)
        self.socket = opened

    def _receive(self) -> Reply:
        reader, buffer = self._reader, self._buffer
        while True:
            if not (size := next(self._reads)(buffer)):
                raise ConnectionResetError("connection closed by the server")
            reader.feed(buffer, 0, size)
            reply = reader.gets()
            if reply is not _MORE:
                return reply

    def _receive_within(self, timeout: float) -> Reply:
        reads, self._reads = self._reads, itertools.repeat(self.socket.recv_into)
        _limit(self.socket, socket.SO_RCVTIMEO, timeout)
        reply = self._receive()
        _limit(self.socket, socket.SO_RCVTIMEO, self._config.socket_timeout)
        self._reads = reads
        return reply

    def _reading_of(self, refusal: Refused) -> Exception:
        """Say what an error of the server's means for the caller."""
        word = refusal.word
        if word == "OOM":
            return Full(str(refusal))
        if word in _PASSING:
            self.close()
            return Broken(f"it answers {refusal}")
        if word in _UNWELCOME:
            self.close()
            return TurnedAway(f"the server at {self._config.address} refused this user: {refusal}")
        return refusal

    def _fault(self, error: BaseException) -> BaseException:
        """Drop the connection, whose next reply nobody could place, and name the fault."""
        self.close()
        if (turned := turned_away(error, self._config)) is not None:
            return turned
        if isinstance(error, (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)):
            return Broken("no reply in time")
        if isinstance(error, (redis.RedisError, OSError)):
            return Broken(str(error))
        return error


def _limit(opened: socket.socket, direction: int, seconds: float) -> None:
    """Have the kernel watch the time: Python's own timeouts cost a system call more for each read and write."""
    whole = int(seconds)
    opened.setsockopt(socket.SOL_SOCKET, direction, struct.pack("ll", whole, int((seconds - whole) * 1_000_000)))


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
