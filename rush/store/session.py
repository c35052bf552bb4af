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
from typing import Any

import msgspec

from rush.errors import NetworkGone, RushError, WorkerEnded
from rush.keys import Keys
from rush.model import WorkerInfo, WorkerState
from rush.store.channel import Broken, Channel, Full, Refused, Request, persist
from rush.store.scripts import Reply, script
from rush.store.store import Store

log = logging.getLogger("rush")


class Fenced(Broken):
    """The session was taken over, ended or forgotten since; the call was refused and did nothing."""


@dataclass
class Registration:
    """What a worker's session registers with, and whom it tells its incarnation."""

    info: WorkerInfo
    token: str
    expire: float | None
    announce: Callable[[int], None] | None = None


@dataclass(slots=True)
class Flight:
    """A request whose reply has not been read yet."""

    name: str
    args: tuple[Any, ...]
    landed: bool = False
    reply: Reply = None
    fault: BaseException | None = None


_TAKING = frozenset(("pop", "finish_pop"))


def _script_keys(keys: Keys) -> dict[str, tuple[bytes, ...]]:
    """Say which keys each script of a session works on, in the order that its head lists them."""
    making = (keys.sessions, keys.meta)
    told = (keys.sessions, keys.events)
    moving = (*told, keys.running, keys.cancels)
    return {
        "push": (*making, keys.queued, keys.queue, keys.bell),
        "push_running": (*making, keys.running),
        "push_finished": (*told, keys.meta, keys.log),
        "push_failed": (*told, keys.meta, keys.failed),
        "pop": (keys.sessions, keys.queue, keys.queued, keys.running, keys.bell),
        "finish": (*moving, keys.log),
        "finish_pop": (*moving, keys.log, keys.queued, keys.queue),
        "fail": (*moving, keys.failed),
        "empty_queue": (*told, keys.queued, keys.queue, keys.failed),
        "cancel": (*moving, keys.failed, keys.queued, keys.queue),
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
        self.noted_own_tasks = self.is_manager
        self.held: set[str] = set()
        self.orphans: deque[str] = deque()
        self.lock = threading.RLock()
        self._channel = Channel(store.config, store.keys.meta)
        self._keys = _script_keys(store.keys)
        self._incarnation: bytes | None = None
        self._requests: dict[str, Request] = {}
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

    def perform(
        self, name: str, args: tuple[Any, ...], recover: Callable[..., Reply] | None = None, *about: Any
    ) -> Reply:
        """Run a writing script once, whatever happens to the connection, and give its reply.

        After a fault ``recover(*about)`` finds out what was done, does the rest, and makes up the reply. Without it the
        fault is raised: whether the script ran is unknown.
        """
        try:
            with self.lock:
                channel = self._channel
                request = self._requests.get(name)
                if request is None or self._flight is not None or channel.socket is None:
                    request = self._request(name)
                try:
                    reply = channel.run_request(request, args)
                except Refused as refusal:
                    raise self._reason(refusal) from refusal
                if name in _TAKING:
                    self._hold(reply)
                return reply
        except (Broken, Full):
            if recover is None:
                raise
            return self._make_up(recover, about)

    def post(self, name: str, args: tuple[Any, ...]) -> Flight:
        """Send a writing script without waiting for its reply; `collect` reads it."""
        flight = Flight(name, args)
        with self.lock:
            try:
                self._channel.send(self._request(name).packed(args))
                self._flight = flight
            except Broken as fault:
                flight.landed, flight.fault = True, fault
        return flight

    def collect(self, flight: Flight, recover: Callable[..., Reply], *about: Any) -> Reply:
        """Read the reply of a posted script; after a fault `recover` makes it up as in `perform`."""
        with self.lock:
            if not flight.landed:
                self._land()
        return flight.reply if flight.fault is None else self._make_up(recover, about)

    def adopt(self) -> str | None:
        """Take one of the tasks that an earlier, broken call has taken for this session; None if there is none."""
        with self.lock:
            while self.orphans:
                key = self.orphans.popleft()
                if key not in self.held:
                    self.held.add(key)
                    return key
        return None

    def put_back(self, key: str) -> None:
        """Keep a task that nobody has begun for the next `adopt`."""
        with self.lock:
            self.held.discard(key)
            self.orphans.append(key)

    def resume(self) -> None:
        """Open the next incarnation, unless the present one has shown no fault."""
        with self.lock:
            self._land()
            if self._incarnation is None or self._channel.socket is None:
                self._open()

    def forget_network(self) -> None:
        """Begin anew after this session's own reset."""
        with self.lock:
            self._land()
            self._drop_incarnation()
            self.held.clear()
            self.orphans.clear()

    def _drop_incarnation(self) -> None:
        self._incarnation = None
        self._requests = {}
        self.noted_own_tasks = self.is_manager

    def after_fork(self) -> None:
        """Become another session in a forked child: the parent goes on as the old one."""
        self.lock = threading.RLock()
        self.id = new_session_id()
        self.is_manager = True
        self.registration = None
        self._drop_incarnation()
        self._flight = None
        self.held = set()
        self.orphans = deque()

    def _request(self, name: str) -> Request:
        """Give what a script's call begins with, on a channel that is ready for it."""
        if self._flight is not None:
            self._land()
        if self._incarnation is None or self._channel.socket is None:
            self._open()
        request = self._requests.get(name)
        if request is None:
            keys = self._keys[name]
            request = self._requests[name] = Request(script(name), (len(keys), *keys, self.id, self._incarnation))
        return request

    def _make_up(self, recover: Callable[..., Reply], about: tuple[Any, ...]) -> Reply:
        """Go on after a fault, in the next incarnation."""

        def step() -> Reply:
            self.resume()
            return recover(*about)

        return persist(self.store.config, step)

    def _land(self) -> None:
        """Read the reply in flight, so that the next one on the connection is the next call's."""
        flight, self._flight = self._flight, None
        if flight is None:
            return
        flight.landed = True
        try:
            flight.reply = self._reply_to(flight)
        except Exception as error:  # noqa: BLE001 - told to whoever collects the flight
            flight.fault = error

    def _reply_to(self, flight: Flight) -> Reply:
        """Read the reply to a posted script; one that the server did not know has not run, and is sent again."""
        try:
            reply = self._channel.read()
        except Refused as refusal:
            if refusal.word == "NOSCRIPT":
                return self.perform(flight.name, flight.args)
            raise self._reason(refusal) from refusal
        if flight.name in _TAKING:
            self._hold(reply)
        return reply

    def _hold(self, reply: bytes) -> None:
        """Note the task that was taken, before another thread that resumes takes it for one that nobody received."""
        if key := reply[2:18]:
            self.held.add(key.decode())

    def _reason(self, refusal: Refused) -> Exception:
        if refusal.word == "FENCED":
            self._drop_incarnation()
            return Fenced("the session was taken over or ended")
        return refusal

    def _open(self) -> None:
        store = self.store
        self._drop_incarnation()
        if self.registration is not None and not store.epoch:
            reply = self._register()
        else:
            keys = store.keys
            tail = (4, keys.meta, keys.sessions, keys.ended, keys.running, self.id, store.epoch)
            reply = self._channel.run(script("open"), (*tail, new_epoch()))
            if reply[0] == b"gone":
                reply = self._reopen(tail)
            elif reply[0] == b"ended":
                reply = self._revive(reply[1])
            elif reply[0] == b"unknown":
                log.warning("worker %s: the server has lost its registration; registering again", self.id)
                self.held.clear()
                reply = self._register()
        _, epoch, incarnation, held = reply
        store.epoch = epoch.decode()
        self._incarnation = incarnation
        if self.registration is not None and self.registration.announce is not None:
            self.registration.announce(int(incarnation))
        self.orphans.clear()
        self.orphans.extend(key for key in map(bytes.decode, held) if key not in self.held)

    def _register(self) -> Reply:
        registration, keys = self.registration, self.store.keys
        if registration is None:
            raise RushError("only a worker registers")
        expire = 0 if registration.expire is None else round(registration.expire * 1000)
        reply = self._channel.run(
            script("register"),
            (
                *(9, keys.sessions, keys.events, keys.meta, keys.workers, keys.ended, keys.beats, keys.vitals),
                *(keys.suspects, keys.stops, self.id, registration.token),
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
