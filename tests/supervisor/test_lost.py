"""Who is lost: what dies, vanishes or stands still, how soon it is noticed, and who only seems to be lost."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import psutil
import pytest

from rush.backends import processes
from rush.errors import ConnectionFailed
from rush.manager import Rush, watching
from rush.store import Beat
from rush.store.store import SHORTEST_SIGHT
from rush.worker import RushWorker
from tests.conftest import patience
from tests.proxy import CuttingProxy
from tests.supervisor import loops
from tests.supervisor.conftest import alive, condition_of, end, loop_of, reason_of, start, supervisor_of, waits
from tests.supervisor.memory_group import memory_group

BRIEF = {"heartbeat_period": 2.0, "heartbeat_expire": 3.0}


def tree_of(net, worker):
    """Give a worker's supervisor and all that descends from it."""
    supervisor = psutil.Process(supervisor_of(net, worker))
    return [supervisor, *supervisor.children(recursive=True)]


@contextlib.contextmanager
def standing_still(processes):
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def seconds_left(net, worker):
    """Give the seconds until a worker's heartbeat runs out, by the server's own clock."""
    client = net.connector
    return (client.zscore(net._store.keys.beats, worker) - server_time(client)) / 1000


def lateness(net, worker, look=lambda: None):
    """Say how long after the end of its heartbeat a worker that stands still is found lost."""
    due = time.monotonic() + seconds_left(net, worker)
    while worker in net._store.running_workers():
        assert time.monotonic() < due + 20
        look()
        time.sleep(0.005)
    return time.monotonic() - due


def test_the_kernels_want_of_memory_is_named(net):
    with memory_group(64 * 2**20) as group:
        if group is None:
            pytest.skip("no memory control group can be made here")
        (worker,) = start(net, loops.eat, group=str(group))
        assert reason_of(net, worker) == "killed by signal 9 (SIGKILL), it seems because memory ran out"
        (key,) = net.failed_tasks
        assert "memory ran out" in condition_of(net, key)["message"]


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGBUS, signal.SIGUSR1, signal.SIGXCPU, signal.SIGALRM])
def test_any_signal_that_kills_a_loop_is_named(net, number):
    (worker,) = net.start_workers(loops.ends, how="signal", value=int(number))
    assert reason_of(net, worker) == f"killed by signal {int(number)} ({number.name})"


def test_the_manager_notices_a_dead_supervisor_within_100_ms_and_recovers_its_tasks(net):
    took = []
    for _ in range(3):
        (worker,) = start(net, loops.own_task)
        waits(lambda: net.n_running_tasks == 1)
        (key,) = net.running_tasks
        loop = loop_of(net, worker)
        began = time.monotonic()
        os.kill(supervisor_of(net, worker), signal.SIGKILL)
        while net._store.running_workers():
            assert time.monotonic() < began + 5
            time.sleep(0.001)
        took.append(time.monotonic() - began)
        assert condition_of(net, key)["message"] == (
            "worker lost: its supervisor is gone (killed by signal 9 (SIGKILL))"
        )
        waits(lambda loop=loop: not alive(loop), what="the end of the orphan")
        net._store.reset("")
    assert min(took) < 0.1


def test_a_supervisor_that_died_before_it_was_watched_is_noticed(net):
    (worker,) = start(net, loops.idle)
    net._started, kept = [], net._started  # nobody is to notice at first
    placement = net.placements[worker]
    os.kill(placement.pid, signal.SIGKILL)
    processes._children[placement.pid].wait()
    net._started = kept
    watching.watch(net, [placement])
    waits(lambda: not net._store.running_workers(), 2, "the loss")


@pytest.mark.slow
def test_a_manager_that_looks_finds_a_missed_heartbeat_within_a_period(net):
    (worker,) = start(net, loops.idle, **BRIEF)
    with standing_still(tree_of(net, worker)):
        assert lateness(net, worker, net.detect_lost_workers) < BRIEF["heartbeat_period"]
    assert net._store.ended_workers()[worker].reason == "worker lost: no heartbeat for 3 s"


@pytest.mark.slow
@pytest.mark.parametrize("hurry", [True, False])
def test_a_manager_that_waits_for_tasks_finds_a_missed_heartbeat(net, hurry):
    (key,) = net.push_tasks([{"how": "sleep", "value": 60.0}])
    (worker,) = start(net, loops.obey, **BRIEF)
    waits(lambda: net.n_running_tasks)
    with standing_still(tree_of(net, worker)):
        due = time.monotonic() + seconds_left(net, worker)
        assert net.wait_for_tasks([key], detect_lost_workers=hurry, timeout=30)
        assert time.monotonic() - due < BRIEF["heartbeat_period"]
    assert condition_of(net, key)["message"] == "worker lost: no heartbeat for 3 s"


@pytest.mark.slow
def test_another_workers_supervisor_finds_a_missed_heartbeat_within_a_period(net):
    start(net, loops.idle, **BRIEF)
    (worker,) = start(net, loops.idle, **BRIEF)
    with standing_still(tree_of(net, worker)):
        assert lateness(net, worker) < BRIEF["heartbeat_period"]


@pytest.mark.slow
def test_who_stood_still_for_longer_than_its_heartbeat_goes_on_without_its_task(net, tmp_path):
    start(net, loops.idle_without_tasks, **BRIEF)
    (key,) = net.push_tasks([{"how": "wait_for", "value": str(tmp_path / "go")}], max_tries=2)
    (worker,) = start(net, loops.obey, **BRIEF)
    waits(lambda: net.n_running_tasks == 1)
    loop = loop_of(net, worker)
    with standing_still(tree_of(net, worker)):
        waits(lambda: net.queued_tasks == [key], what="the loss")
        task = net.pop_task(timeout=0)
        assert (task.key, task.tries) == (key, 2)
    loops.touch(tmp_path / "go")
    waits(lambda: worker in net._store.running_workers(), what="its return")
    assert net.running_tasks == [key]
    assert net.finish_tasks([key], [{"pid": 0}]) == [key]
    (other,) = net.push_tasks([{"how": "nothing"}])
    net.wait_for_tasks([other], timeout=20)
    assert net.fetch_finished_tasks()["pid"].tolist() == [0, loop]


@pytest.mark.slow
def test_a_host_that_is_cut_off_is_lost_and_its_old_results_are_dropped(network_id, config):
    with CuttingProxy(config.port) as proxy:
        net, behind = Rush(network_id, config), Rush(network_id, replace(config, port=proxy.port))
        start(net, loops.idle_without_tasks, **BRIEF)
        (worker,) = start(behind, loops.own_task, seconds=4.0, **BRIEF)
        waits(lambda: net.n_running_tasks == 1)
        (key,) = net.running_tasks
        proxy.silent.set()
        assert lateness(net, worker) < BRIEF["heartbeat_period"]
        assert net.failed_tasks == [key]
        proxy.silent.clear()
        waits(lambda: worker in net._store.running_workers(), what="its return")
        assert net.failed_tasks == [key]
        end(net)
        end(behind)


@pytest.mark.slow
def test_one_whose_connection_keeps_breaking_does_not_keep_the_lost_from_being_found(network_id, config):
    with CuttingProxy(config.port) as proxy, Rush(network_id, config) as net:
        behind = Rush(network_id, replace(config, port=proxy.port))
        (flapping,) = start(behind, loops.idle_without_tasks, **BRIEF)
        (worker,) = start(net, loops.idle, **BRIEF)
        net._started.clear()  # this manager shall not notice
        due = time.monotonic() + seconds_left(net, worker)
        os.kill(supervisor_of(net, worker), signal.SIGKILL)
        while worker in net._store.running_workers():
            assert time.monotonic() < due + 3 * BRIEF["heartbeat_expire"]
            proxy.cut_after = 0
            time.sleep(1.0)
        proxy.cut_after = None
        assert net._store.running_workers() == {flapping}
        end(behind)


@pytest.mark.slow
def test_a_loop_that_holds_the_interpreters_lock_is_not_lost(net, config):
    (key,) = net.push_tasks([{"how": "hold", "value": 7.0}])
    (worker,) = start(net, loops.obey, **BRIEF)
    by_hand = subprocess.Popen([sys.executable, "-c", HOLDER, net.network_id], stdin=subprocess.PIPE)
    with by_hand:
        by_hand.stdin.write(net._secret() + b"\n")
        by_hand.stdin.close()
        began = time.monotonic()
        net.wait_for_tasks([key], detect_lost_workers=True, timeout=60)
        assert time.monotonic() - began > 2 * BRIEF["heartbeat_expire"]
        by_hand.wait(60)
    assert by_hand.returncode == 0
    assert net.is_failed_task([key]) == [False]
    assert net.fetch_finished_tasks()["worker_id"].tolist().count("holder") == 1
    assert net._store.running_workers() == {worker}


HOLDER = """
import sys
from rush.config import RedisConfig
from rush.worker import RushWorker
from tests.supervisor import loops
with RushWorker(sys.argv[1], RedisConfig.from_secret(sys.stdin.readline().encode()), "holder", 1.0, 3.0) as worker:
    (key,) = worker.push_running_tasks([{"x": 1}])
    loops.hold(5)
    assert worker.finish_tasks([key], [{"pid": 0}]) == [key]
"""


@pytest.mark.slow
def test_a_loop_whose_modules_take_long_to_import_is_not_lost(net):
    options = {"heartbeat_period": 0.3, "heartbeat_expire": 1.0, "max_restarts": 1}
    forked = net.start_workers(loops.idle, modules=["tests.supervisor.slow"], **options)
    (spawned,) = net.start_workers(loops.idle, modules=["tests.supervisor.slow"], fork=False, **options)
    patience(lambda: net.detect_lost_workers() == [] and net.n_running_workers == 2, 40, "their start")
    first = loop_of(net, spawned)
    os.kill(first, signal.SIGKILL)
    waits(lambda: not alive(first))
    while loop_of(net, spawned) == first:  # the fresh loop imports, too, and the worker is there all the while
        assert net.detect_lost_workers() == []
        assert net._store.running_workers() == {*forked, spawned}
        time.sleep(0.1)


def test_a_long_expiry_gives_a_long_second_sight(net):
    """A worker that comes back 2 s after a server that stood still is not lost by somebody who did not notice."""
    worker = RushWorker(net.network_id, net.config, "w1")
    net._session.open()
    client, keys = net.connector, net._store.keys
    client.zadd(keys.beats, {"w1": 1})
    client.hset(keys.vitals, "w1", "10000 token")
    assert net._store.scan().lost == []
    began = time.monotonic()
    waits(lambda: net._store.scan().lost)
    assert time.monotonic() - began > 1.9
    worker.set_terminated()


def test_nobody_is_lost_within_an_expiry_after_nobodys_heartbeat_came_for_that_long(net):
    """The heartbeat of one whose expiry is long ends the silence, and a shorter silence does not hide it."""
    workers = [RushWorker(net.network_id, net.config, name) for name in ("w1", "w2")]
    net._session.open()
    client, keys, store = net.connector, net._store.keys, net._store
    client.hset(keys.vitals, "w1", "1500 token")
    now = server_time(client)
    client.zadd(keys.beats, {"w1": now - 1000})
    client.hset(keys.meta, "pulse", now - 4000)
    beat = Beat("w2", workers[1]._session.incarnation, 60.0)
    began = time.monotonic()
    while True:
        store.beat([beat])
        if store.scan().lost:
            break
        assert time.monotonic() < began + 10
        time.sleep(0.05)
    assert 1.5 + SHORTEST_SIGHT - 0.1 < time.monotonic() - began < 5
    for worker in workers:
        worker.set_terminated()


def server_time(client):
    seconds, micros = client.time()
    return seconds * 1000 + micros // 1000


@pytest.mark.slow
def test_loops_wait_longer_for_their_server_than_one_call_would(start_server, new_network_id, monkeypatch):
    server = start_server(settings={"appendfsync": "always"})
    net = Rush(new_network_id(), replace(server.config, retry_timeout=0.5))
    (key,) = net.push_tasks([{"how": "sleep", "value": 0.5}])
    (worker,) = start(net, loops.obey, **BRIEF)
    waits(lambda: net.n_running_tasks == 1)
    server.stop()
    threading.Event().wait(3.0)
    server.start()
    patience(lambda: server_answers(net))
    assert net.wait_for_tasks([key], timeout=20)
    assert net.is_failed_task([key]) == [False]
    assert net._store.running_workers() == {worker}
    end(net)


def server_answers(net):
    with contextlib.suppress(ConnectionFailed):
        return net.n_tasks == 1
