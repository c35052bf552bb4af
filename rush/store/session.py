"""Sessions: the writing side of the store, fenced against its own past.

All writes of a session go over one connection under a lock, and carry the session's incarnation. When the connection
breaks, nobody knows whether the server has done, will do, or never saw what was sent; so the session first opens its
next incarnation, which makes the server refuse everything that was sent before, then asks where its keys are, and
repeats only what is missing.
"""

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import redis

from rush.errors import NetworkGone, RushError, WorkerEnded
from rush.keys import Keys
from rush.model import WorkerInfo, WorkerState
from rush.store.connection import Broken, Channel, Reply, pack, persist
from rush.store.scripts import Script, script
from rush.store.store import Store

log = logging.getLogger("rush")
T = TypeVar("T")


class Fenced(Broken):
    """The session was taken over, ended or forgotten since; the call was refused and did nothing."""


@dataclass
class Registration:
    """What a worker's session registers with, and whom it tells its incarnation."""

    info: WorkerInfo
    token: str
    expire: float | None
    announce: Callable[[int], None] | None = None


@dataclass
class Flight:
    """A request whose reply has not been read yet."""

    name: str
    args: tuple[Any, ...]
    landed: bool = False
    reply: Reply = None
    fault: BaseException | None = None


def _script_keys(keys: Keys, session: str) -> dict[str, tuple[bytes, ...]]:
    """Say which keys each script of a session works on, in the order that its head lists them."""
    own = keys.own(session)
    listeners = (keys.ears, keys.events)
    moving = (keys.sessions, keys.tasks, keys.running, own, keys.tries, keys.cancels)
    return {
        "push": (keys.meta, keys.sessions, keys.tasks, keys.queue, keys.bell),
        "push_running": (keys.meta, keys.sessions, keys.tasks, keys.running, own),
        "push_finished": (keys.meta, keys.sessions, keys.log, keys.index, *listeners),
        "push_failed": (keys.meta, keys.sessions, keys.failed, *listeners),
        "pop": (keys.sessions, keys.queue, keys.tasks, keys.tries, keys.running, own, keys.bell),
        "finish": (*moving, keys.log, keys.index, *listeners),
        "finish_pop": (*moving, keys.log, keys.index, *listeners, keys.queue),
        "fail": (*moving, keys.failed, *listeners),
        "empty_queue": (keys.sessions, keys.tasks, keys.queue, keys.tries, keys.failed, *listeners),
        "cancel": (*moving, keys.failed, *listeners, keys.queue),
    }


class Session:
    """A worker's or a manager's hold on its network.

    Parameters
    ----------
    store
        The network.
    registration
        For a worker; a manager has none, and a session id of its own that no worker can have.
    """

    def __init__(self, store: Store, registration: Registration | None = None) -> None:
        self.store = store
        self.registration = registration
        self.id = registration.info.worker_id if registration else new_session_id()
        self.is_manager = registration is None
        self.held: set[str] = set()
        self.orphans: deque[str] = deque()
        self.lock = threading.RLock()
        self._channel = Channel(store.config, store.keys.meta)
        self._keys = _script_keys(store.keys, self.id)
        self._incarnation: bytes | None = None
        self._heads: dict[str, tuple[Script, tuple[Any, ...]]] = {}
        self._flight: Flight | None = None

    @property
    def incarnation(self) -> int | None:
        """The incarnation under which the session writes now; None before its first call."""
        return None if self._incarnation is None else int(self._incarnation)

    def open(self) -> None:
        """Open the session, or register the worker, now rather than at its first call."""
        persist(self.store.config, self.resume)

    def close(self) -> None:
        """Close the connection. The session itself stays open on the server."""
        self._channel.close()

    def perform(self, name: str, args: tuple[Any, ...], recover: Callable[[], T], read: Callable[[Reply], T]) -> T:
        """Run a writing script once, whatever happens to the connection.

        `read` makes the result of the script's reply. After a fault `recover` finds out what was done, does the
        rest, and makes the result of both.
        """
        faulted = False

        def step() -> T:
            nonlocal faulted
            if faulted:
                self.resume()
                return recover()
            faulted = True
            return read(self.attempt(name, args))

        return persist(self.store.config, step)

    def attempt(self, name: str, args: tuple[Any, ...]) -> Reply:
        """Run a writing script, and raise Broken when it is unknown whether it ran."""
        with self.lock:
            self._land()
            if self._incarnation is None or not self._channel.connected:
                self._open()
            step, head = self._heads.get(name) or self._make_head(name)
            try:
                return self._channel.run(step, head + args)
            except redis.ResponseError as error:
                raise self._refusal(error) from error

    def post(self, name: str, args: tuple[Any, ...]) -> Flight:
        """Send a writing script without waiting for its reply; `collect` reads it."""
        flight = Flight(name, args)
        with self.lock:
            self._land()
            try:
                if self._incarnation is None or not self._channel.connected:
                    self._open()
                step, head = self._heads.get(name) or self._make_head(name)
                self._channel.send(pack((b"EVALSHA", step.sha, *head, *args)))
                self._flight = flight
            except Broken as fault:
                flight.landed, flight.fault = True, fault
        return flight

    def collect(self, flight: Flight, recover: Callable[[], T], read: Callable[[Reply], T]) -> T:
        """Read the reply of a posted script; after a fault `recover` makes up for it as in `perform`."""
        with self.lock:
            if not flight.landed:
                self._land()
        if flight.fault is None:
            return read(flight.reply)

        def step() -> T:
            self.resume()
            return recover()

        return persist(self.store.config, step)

    def resume(self) -> None:
        """Open the next incarnation, unless the present one has shown no fault."""
        with self.lock:
            self._land()
            if self._incarnation is None or not self._channel.connected:
                self._open()

    def forget_network(self) -> None:
        """Begin anew after this session's own reset."""
        with self.lock:
            self._land()
            self._incarnation = None
            self.held.clear()
            self.orphans.clear()

    def after_fork(self) -> None:
        """Become another session in a forked child: the parent goes on as the old one."""
        self.lock = threading.RLock()
        self.id = new_session_id()
        self.is_manager = True
        self.registration = None
        self._keys = _script_keys(self.store.keys, self.id)
        self._incarnation = None
        self._flight = None
        self.held = set()
        self.orphans = deque()

    def _make_head(self, name: str) -> tuple[Script, tuple[Any, ...]]:
        keys = self._keys[name]
        entry = (script(name), (len(keys), *keys, self.id, self._incarnation))
        self._heads[name] = entry
        return entry

    def _land(self) -> None:
        """Read the reply in flight, so that the next one on the connection is the next call's."""
        flight, self._flight = self._flight, None
        if flight is None:
            return
        flight.landed = True
        try:
            flight.reply = self._channel.read()
        except redis.exceptions.NoScriptError:
            flight.reply = self.attempt(flight.name, flight.args)
        except redis.ResponseError as error:
            flight.fault = self._refusal(error)
        except Exception as error:  # noqa: BLE001 - told to whoever collects the flight
            flight.fault = error

    def _refusal(self, error: redis.ResponseError) -> Exception:
        if str(error).startswith("FENCED"):
            self._incarnation = None
            return Fenced("the session was taken over or ended")
        return error

    def _open(self) -> None:
        store = self.store
        self._heads = {}
        self._incarnation = None
        if self.registration is not None and not store.epoch:
            reply = self._register()
        else:
            keys = store.keys
            tail = (5, keys.meta, keys.sessions, keys.ended, keys.own(self.id), keys.running, self.id, store.epoch)
            reply = self._channel.run(script("open"), (*tail, new_epoch()))
            if reply[0] == b"gone":
                reply = self._reopen(tail)
            elif reply[0] == b"ended":
                reply = self._revive(reply[1])
        _, epoch, incarnation, held = reply
        store.epoch = epoch.decode()
        self._incarnation = incarnation
        if self.registration is not None and self.registration.announce is not None:
            self.registration.announce(int(incarnation))
        self.orphans.clear()
        self.orphans.extend(key for key in map(bytes.decode, held[::2]) if key not in self.held)

    def _register(self) -> Reply:
        registration, keys = self.registration, self.store.keys
        if registration is None:
            raise RushError("only a worker registers")
        expire = 0 if registration.expire is None else round(registration.expire * 1000)
        reply = self._channel.run(
            script("register"),
            (
                *(10, keys.meta, keys.sessions, keys.workers, keys.ended, keys.beats, keys.vitals, keys.suspects),
                *(keys.stops, keys.ears, keys.events, self.id, registration.token),
                *(msgspec.msgpack.encode(registration.info), expire, self.store.epoch, new_epoch()),
            ),
        )
        if reply[0] == b"taken":
            raise ValueError(f"worker_id {self.id!r} is taken by a running worker of network {self.store.network_id!r}")
        if reply[0] == b"gone":
            raise self._gone()
        return reply

    def _reopen(self, tail: tuple[Any, ...]) -> Reply:
        """Go on in the network's next epoch: a manager may, a worker belongs to the old one."""
        if self.registration is not None:
            raise self._gone()
        log.warning("network %s: was reset, or its server has lost it; starting anew", self.store.network_id)
        self.store.epoch = ""
        self.held.clear()
        return self._channel.run(script("open"), (*tail[:-1], "", new_epoch()))

    def _gone(self) -> NetworkGone:
        return NetworkGone(
            f"network {self.store.network_id!r} was reset, or its server has lost it; worker {self.id!r} cannot go on"
        )

    def _revive(self, record: bytes) -> Reply:
        """Register again after having been declared lost while alive."""
        ended = msgspec.msgpack.decode(record)
        if ended["state"] != WorkerState.LOST or self.registration is None:
            raise WorkerEnded(f"worker {self.id!r} has ended ({ended['reason']}) and cannot change tasks any more")
        log.warning("worker %s: was declared lost (%s); registering again without its tasks", self.id, ended["reason"])
        self.held.clear()
        return self._register()


def new_session_id() -> str:
    """Make a manager's session id; its first character keeps it apart from worker ids."""
    return "~" + secrets.token_hex(8)


def new_epoch() -> str:
    """Make the name of a network's next epoch."""
    return secrets.token_hex(8)
