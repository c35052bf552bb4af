"""One campaign from its first task to the count of what is left of it."""

import contextlib
import logging
import re
import secrets
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from rush.manager import Rush
from rush.store import Store
from tests.chaos import loops, tally
from tests.chaos.breaker import Breaker
from tests.chaos.crowd import Crowd, wait_for_end
from tests.proxy import CuttingProxy
from tests.servers import TestServer

MAX_TRIES = 50
BATCH = 50
PUSHING = 0.8
_STUCK = 60.0
_END_WITHIN = 30.0
_END = re.compile(r"\S+ \S+ worker \S+: (.*)")
_EXPECTED = re.compile(
    r"killed by signal (9|11) |told to stop by SIGTERM|killed after its grace period|its loop returned|its zygote"
    r"|was declared lost"
)


@dataclass
class Outcome:
    """What was done to a campaign, and what became of it."""

    done: Counter
    tally: tally.Tally
    groups: int
    odd_ends: list[str]
    seconds: float


def run(n_tasks, seconds, seed):
    """Break a campaign of `n_tasks` in the queue for `seconds`, then let it come to its end."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rush-chaos-") as folder, contextlib.ExitStack() as stack:
        stack.enter_context(_errors_only())
        tempfile.tempdir = folder
        try:
            server = stack.enter_context(TestServer("valkey", Path(folder) / "server", {"appendfsync": "always"}))
            proxy = stack.enter_context(CuttingProxy(server.port))
            return _run(server, proxy, Path(folder), n_tasks, seconds, seed, began)
        finally:
            tempfile.tempdir = None


@contextlib.contextmanager
def _errors_only():
    logger = logging.getLogger("rush")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _run(server, proxy, folder, n_tasks, seconds, seed, began):
    behind = replace(server.config, port=proxy.port, retry_timeout=60.0)
    network = f"chaos-{secrets.token_hex(4)}"
    (folder / loops.LEDGER).touch()
    net, pusher = Rush(network, behind), _Pusher(Rush(network, behind), n_tasks, PUSHING * seconds / n_tasks)
    crowd = Crowd(net, folder, seconds=seconds * 2 / n_tasks)
    store = Store(replace(server.config, retry_timeout=1.0), network)
    crowd.fill()
    store.learn_epoch()
    breaker = Breaker(seed, server, proxy, crowd, store)
    pusher.start()
    try:
        breaker.run(seconds)
    finally:
        breaker.mend()
    pusher.join()
    (folder / loops.HURRY).touch()
    manager = Rush(network, server.config)
    left = _end(manager, _finish(manager, crowd))
    for process in left:
        process.kill()
    with server.connected() as client:
        result = tally.take(client, store.keys, pusher.keys, folder)
    odd = _odd_ends(folder)
    result.counts["loops that failed by themselves"] = len(odd)
    result.counts["processes left"] = len(left)
    return Outcome(breaker.done, result, crowd.started, odd, time.monotonic() - began)


class _Pusher(threading.Thread):
    """Fills the queue while things break."""

    def __init__(self, net, n_tasks, pause):
        super().__init__(daemon=True)
        self._net = net
        self._n_tasks = n_tasks
        self._pause = pause
        self.keys = []

    def run(self):
        for first in range(0, self._n_tasks, BATCH):
            xss = [{"x": x} for x in range(first, min(first + BATCH, self._n_tasks))]
            self.keys += self._net.push_tasks(xss, max_tries=MAX_TRIES)
            time.sleep(self._pause * BATCH)


def _finish(net, crowd):
    """Let the queue run empty, and stop all workers; give their supervisors."""
    explorers = crowd.retire(loops.explore)
    workers = [worker for group in explorers for worker in group.workers]
    supervisors = [group.supervisor for group in explorers]
    changed, before = time.monotonic(), None
    while time.monotonic() < changed + _STUCK:
        crowd.fill()
        net.detect_lost_workers()
        _terminate(net, workers)
        now = net.n_queued_tasks, net.n_running_tasks, net.n_finished_tasks + net.n_failed_tasks
        if not now[0] and not now[1]:
            break
        if now != before:
            changed, before = time.monotonic(), now
        time.sleep(0.1)
    return supervisors + crowd.supervisors()


def _end(net, supervisors):
    """Stop all workers, and wait for their supervisors; give those that stay."""
    deadline = time.monotonic() + _END_WITHIN
    while supervisors and time.monotonic() < deadline:
        _terminate(net, net.worker_ids)
        supervisors = wait_for_end(supervisors, 1)
    return supervisors


def _terminate(net, workers):
    """Tell those of these workers that run to end. One that was just declared lost registers again, and is told later."""
    running = set(net.running_worker_ids)
    if told := [worker for worker in workers if worker in running]:
        net.stop_workers("terminate", told)


def _odd_ends(folder):
    """Give the lines in which supervisors report an end that nobody has brought about."""
    found = []
    for path in folder.glob("rush-*/supervisor.err"):
        ends = filter(None, map(_END.match, path.read_text().splitlines()))
        found += [end[0] for end in ends if not _EXPECTED.match(end[1])]
    return found
