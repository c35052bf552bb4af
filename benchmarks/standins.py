"""Stand-ins for workers: connections that ask a server for what a loop asks for, and throw away what they are told.

A loop that reads everybody's results takes far more of a processor than the server does, so on one machine the
processors are full long before the server is. What the workers of many machines would ask of one server, stand-ins ask
from one process: they register, and then fetch what is new, push a task, wait for half a second to one and a half, and
finish it, again and again. They read every byte, but decode and propose nothing. If all their waits were of one length,
they would come to ask all at once.
"""

import contextlib
import heapq
import os
import random
import select
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import cast

import msgspec

from benchmarks.bench import Bench
from rush.config import node_name
from rush.model import Ending, WorkerInfo
from rush.store import Registration, Session, Store
from rush.store.connection import Packed, pack
from rush.store.scripts import script
from rush.store.taskkeys import new_task_key
from rush.store.tasks import BORN_RUNNING, NIL, RECORDS_A_READ, body

SHORTEST, LONGEST = 0.5, 1.5
"""Seconds that an evaluation takes."""

WARM_UP = 4.0
"""Seconds until all have read what was there and have come to their third cycle, more or less."""

_XS, _RESULT = msgspec.msgpack.encode({"x1": 0.5, "x2": 0.5}), msgspec.msgpack.encode({"y": 0.5}) + NIL
_PING, _PONG = pack((b"PING",)), b"+PONG\r\n"
_BUFFER = 1 << 20


@dataclass(frozen=True)
class Load:
    """What one number of stand-ins gave; shares are of 1.

    Attributes
    ----------
    utilisation, lowest_twentieth
        Mean of the stand-ins' time waiting for an evaluation over all their time, and what nineteen of twenty reach.
    server, asking
        Share of one core that the server took, and that the process of the stand-ins took.
    """

    workers: int
    seconds: float
    utilisation: float
    lowest_twentieth: float
    server: float
    asking: float


class StandIn:
    """One worker's connection, and where its loop stands."""

    def __init__(self, bench: Bench, network_id: str, name: str) -> None:
        store = Store(bench.config, network_id)
        info = WorkerInfo(worker_id=name, pid=os.getpid(), hostname=node_name(), heartbeat=False)
        self.session = Session(store, Registration(info, name, None))
        self.session.open()
        request = self.session._request  # noqa: SLF001 - a stand-in sends what its session would send
        self._push, self._finish = request("push_running"), request("finish")
        self._log = store.keys.log
        self.socket = self.session._channel.socket  # noqa: SLF001
        self.socket.setblocking(False)  # noqa: FBT003 - the socket's own name for it
        self.life = self._live()
        self.cycles: list[tuple[float, float]] = []
        self._position = 0
        self._head = self._tail = b""

    def hear(self, chunk: memoryview) -> bool:
        """Take a part of a reply, and say whether the reply has come to its end."""
        if not self._head:
            self._head = bytes(chunk[:16])
            if self._head.startswith(b"-"):
                raise RuntimeError(f"the server refused a stand-in: {bytes(chunk)!r}")
        self._tail = (self._tail + bytes(chunk[-len(_PONG) :]))[-len(_PONG) :]
        return self._tail == _PONG

    def end(self, store: Store) -> None:
        self.session.close()
        store.bury(self.session.id, self.session.incarnation, Ending("measured", uses_try=False))

    def _live(self) -> Generator[float | None]:
        """Yield None to be gone on with at the end of a reply, else the time at which to be gone on with."""
        while True:
            began, evaluation = time.monotonic(), random.uniform(SHORTEST, LONGEST)
            yield from self._fetch()
            key = new_task_key()
            self._ask(self._push.packed((b"0", BORN_RUNNING, key, body(key, _XS))))
            yield None
            yield time.monotonic() + evaluation
            self._ask(self._finish.packed((key, "", _RESULT)))
            yield None
            self.cycles.append((evaluation, time.monotonic() - began))

    def _fetch(self) -> Iterator[None]:
        """Read the log from the last record that was read, as a worker does, in as many steps."""
        while True:
            first = max(self._position - 1, 0)
            command = ("LRANGE", self._log, first, first + RECORDS_A_READ - 1)
            self._ask(pack(cast("Packed", command)))
            yield None
            records = int(self._head[1 : self._head.index(b"\r")])
            self._position = first + records
            if records < RECORDS_A_READ:
                return

    def _ask(self, packed: bytes) -> None:
        """Send a request, and a PING whose reply shows where that of the request ends."""
        self._head = self._tail = b""
        self.socket.sendall(packed + _PING)


def measure(bench: Bench, workers: int, seconds: float) -> Load:
    """Let so many stand-ins ask for so long, on another core than the server's, once most are in their third cycle."""
    with bench.network() as net, bench.pinned():
        for name in ("push_running", "finish"):
            bench.client.script_load(script(name).text)
        stand_ins = [StandIn(bench, net.network_id, f"stand-in-{number}") for number in range(workers)]
        begun = time.monotonic()
        due = [(begun + at / workers, at) for at in range(workers)]
        _run(stand_ins, due, begun + WARM_UP)
        for stand_in in stand_ins:
            stand_in.cycles.clear()
        served, used, began = bench.server_seconds(), time.process_time(), time.monotonic()
        _run(stand_ins, due, began + seconds)
        passed = time.monotonic() - began
        server, asking = (bench.server_seconds() - served) / passed, (time.process_time() - used) / passed
        with contextlib.closing(Store(bench.config, net.network_id)) as store:
            store.learn_epoch()
            for stand_in in stand_ins:
                stand_in.end(store)
    shares = sorted(_utilisation(stand_in.cycles) for stand_in in stand_ins)
    return Load(workers, seconds, fmean(shares), shares[workers // 20], server, asking)


def _run(stand_ins: Sequence[StandIn], due: list[tuple[float, int]], until: float) -> None:
    """Go on with each stand-in when its reply has come or its time has; `due` is a heap of times and stand-ins."""
    buffer = bytearray(_BUFFER)
    view = memoryview(buffer)
    at_of = {stand_in.socket.fileno(): at for at, stand_in in enumerate(stand_ins)}

    def go_on(at: int) -> None:
        if (wake := next(stand_ins[at].life)) is not None:
            heapq.heappush(due, (wake, at))

    with select.epoll() as poll:
        for descriptor in at_of:
            poll.register(descriptor, select.EPOLLIN)
        while (now := time.monotonic()) < until:
            while due and due[0][0] <= now:
                go_on(heapq.heappop(due)[1])
            for descriptor, _ in poll.poll(max(0.0, min(due[0][0] if due else until, until) - time.monotonic())):
                at = at_of[descriptor]
                if stand_ins[at].hear(view[: stand_ins[at].socket.recv_into(buffer)]):
                    go_on(at)


def _utilisation(cycles: Sequence[tuple[float, float]]) -> float:
    """Give the share that evaluations have of whole cycles."""
    return sum(evaluation for evaluation, _ in cycles) / sum(whole for _, whole in cycles) if cycles else 0.0
