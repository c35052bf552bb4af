"""A hundred workers and a server that goes away for a while: none of them is lost by it, and who really died is found."""

import contextlib
import os
import signal
import time

from rush.manager import Rush
from rush.model import WorkerState
from tests.conftest import patience
from tests.supervisor import loops
from tests.supervisor.conftest import end, loop_of, start, supervisor_of

HEARTBEAT = {"heartbeat_period": 1.0, "heartbeat_expire": 5.0}
SUPERVISORS, LOOPS = 4, 25


def survive(server, network_id, how, seconds):
    """Go through one outage; give the seconds after its end in which the worker was found that died in it."""
    net = Rush(network_id, server.config)
    workers = {worker for _ in range(SUPERVISORS) for worker in start(net, loops.steady, LOOPS, **HEARTBEAT)}
    (doomed,) = start(net, loops.steady, **HEARTBEAT)
    processes = {worker: loop_of(net, worker) for worker in workers}
    supervisor = supervisor_of(net, doomed)
    net._started.clear()  # this manager is not to notice: heartbeats have to tell
    with OUTAGES[how](server):
        os.kill(supervisor, signal.SIGKILL)
        time.sleep(seconds)
    began = time.monotonic()
    patience(lambda: doomed in net._store.ended_workers(), 60, "the true loss")
    took = time.monotonic() - began
    assert Rush(network_id, server.config).detect_lost_workers() == []
    assert {worker for worker, end in net._store.ended_workers().items() if end.state is WorkerState.LOST} == {doomed}
    assert net._store.running_workers() == workers
    assert {worker: loop_of(net, worker) for worker in workers} == processes
    before = work_of(net)
    patience(lambda: all(work_of(net)[w] > before.get(w, 0) for w in workers), 60, "more work of every worker")
    end(net)
    return took


def work_of(net):
    """Give the number of tasks that each worker has finished."""
    return net.fetch_finished_tasks()["worker_id"].value_counts()


@contextlib.contextmanager
def down(server):
    server.stop(kill=True)
    yield
    server.start()


@contextlib.contextmanager
def full(server):
    with server.connected() as client:
        client.config_set("maxmemory", "1mb")
        yield
        client.config_set("maxmemory", "0")


OUTAGES = {"down": down, "stopped": lambda server: server.stalled(), "full": full}
