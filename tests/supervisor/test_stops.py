"""Stopping workers: by order, by signal, by the clock."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import patience
from tests.supervisor import loops
from tests.supervisor.conftest import alive, loop_of, reason_of, start, supervisor_of, waits


def test_terminate_wakes_a_loop_that_blocks_in_a_pop(net):
    (worker,) = start(net, loops.idle)
    began = time.monotonic()
    net.stop_workers("terminate")
    assert reason_of(net, worker) == "its loop returned"
    assert time.monotonic() - began < 1


def test_terminate_reaches_one_worker_of_a_supervisor_alone(net):
    first, second = start(net, loops.idle, 2)
    net.stop_workers("terminate", [first])
    reason_of(net, first)
    assert net._store.running_workers() == {second}


def test_kill_ends_a_loop_that_does_not_listen(net):
    first, second = start(net, loops.stubborn, 2)
    pid = loop_of(net, first)
    began = time.monotonic()
    net.stop_workers("kill", [first])
    assert time.monotonic() - began < 1
    assert reason_of(net, first) == "killed by stop_workers"
    waits(lambda: not alive(pid))
    assert net._store.running_workers() == {second}


def test_terminated_costs_no_round_trip(net):
    net.start_workers(loops.cost_of_terminated)
    waits(lambda: net.n_finished_tasks == 1)
    assert net.fetch_finished_tasks()["seconds"].iloc[0] < 15e-6  # a round trip takes 20 us at least


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
def test_a_signal_drains(net, number):
    workers = start(net, loops.idle, 2)
    supervisor = supervisor_of(net, workers[0])
    os.kill(supervisor, number)
    for worker in workers:
        assert reason_of(net, worker) == "its loop returned"
    waits(lambda: not alive(supervisor))


def test_a_loop_that_does_not_drain_is_killed_after_the_grace_period_and_uses_no_try(net, tmp_path):
    (key,) = net.push_tasks([{"how": "sleep_at", "value": str(tmp_path / "began")}])
    (worker,) = start(net, loops.obey, grace_period=0.3)
    waits((tmp_path / "began").exists)
    os.kill(supervisor_of(net, worker), signal.SIGTERM)
    assert "grace period" in reason_of(net, worker)
    assert net.queued_tasks == [key]


def test_a_second_sigterm_kills_at_once(net):
    (worker,) = start(net, loops.stubborn)
    supervisor, loop = supervisor_of(net, worker), loop_of(net, worker)
    os.kill(supervisor, signal.SIGTERM)
    waits(lambda: "draining" in Path(net.placements[worker].stderr).read_text(), what="the drain")
    began = time.monotonic()
    os.kill(supervisor, signal.SIGTERM)
    assert "SIGTERM" in reason_of(net, worker)
    assert time.monotonic() - began < 1
    waits(lambda: not alive(loop) and not alive(supervisor))


def test_the_time_limit_drains_in_time(net, tmp_path):
    (worker,) = start(net, loops.tell_terminated, time_limit=2.0, drain_margin=1.5, folder=str(tmp_path))
    began = time.monotonic()
    assert reason_of(net, worker) == "its loop returned"
    assert time.monotonic() - began < 1.5
    assert (tmp_path / "terminated").exists()


def test_remaining_time_is_what_is_left_of_the_limit(net):
    start(net, loops.tell_process, time_limit=600.0)
    waits(lambda: net.n_finished_tasks == 1)
    assert 590 < net.fetch_finished_tasks()["remaining"].iloc[0] < 600


def test_a_task_that_had_nine_tenths_of_the_limit_pays_for_hitting_it(net, tmp_path):
    (key,) = net.push_tasks([{"how": "sleep_at", "value": str(tmp_path / "began")}], max_tries=1)
    (worker,) = start(net, loops.obey, time_limit=6.0, drain_margin=4.0, grace_period=0.5)
    assert "its time limit is near" in reason_of(net, worker)
    waits(lambda: net.is_failed_task([key])[0])


def test_a_task_that_began_late_pays_nothing_for_hitting_the_limit(net, tmp_path):
    (worker,) = start(net, loops.obey, time_limit=3.0, drain_margin=1.5, grace_period=0.1)
    soon = time.monotonic() + 0.6
    waits(lambda: time.monotonic() > soon)
    (key,) = net.push_tasks([{"how": "sleep_at", "value": str(tmp_path / "began")}])
    assert "its time limit is near" in reason_of(net, worker)
    assert (tmp_path / "began").exists()
    assert net.queued_tasks == [key]


def test_a_task_whose_worker_is_killed_by_order_keeps_its_try_and_the_stop_is_counted(net, tmp_path):
    (key,) = net.push_tasks([{"how": "sleep_at", "value": str(tmp_path / "began")}])
    (worker,) = start(net, loops.obey)
    waits((tmp_path / "began").exists)
    net.stop_workers("kill", [worker])
    assert net.queued_tasks == [key]
    task = net.pop_task(timeout=0)
    assert (task.tries, task.key.attempt) == (1, 2)


def test_a_loop_that_returns_gives_its_running_task_back(net):
    (key,) = net.push_tasks([{"x": 1}])
    (worker,) = net.start_workers(loops.pops_and_returns)
    assert reason_of(net, worker) == "its loop returned"
    assert net.queued_tasks == [key]
    task = net.pop_task(timeout=0)
    assert (task.tries, task.key.attempt) == (1, 2)


def test_idle_workers_end_after_idle_timeout_and_busy_ones_do_not(net, tmp_path):
    net.push_tasks([{"how": "sleep_at", "value": str(tmp_path / "began")}])
    (busy,) = start(net, loops.obey)
    waits((tmp_path / "began").exists)
    began = time.monotonic()
    (idle,) = start(net, loops.idle, idle_timeout=0.7)
    assert reason_of(net, idle) == "its loop returned"
    assert 0.5 < time.monotonic() - began < 4
    assert busy in net._store.running_workers()


def test_a_busy_worker_is_not_idle(net, tmp_path):
    net.push_tasks([{"how": "sleep_at", "value": str(tmp_path / "began")}])
    (busy,) = start(net, loops.obey, idle_timeout=0.5)
    waits((tmp_path / "began").exists)
    end = time.monotonic() + 1.5
    patience(lambda: time.monotonic() > end)
    assert busy in net._store.running_workers()


MANAGER = """
import sys, time
from rush.config import RedisConfig
from rush.manager import Rush
from tests.supervisor import loops
net = Rush(sys.argv[1], RedisConfig.from_secret(sys.stdin.readline().encode()))
workers = net.start_local_workers(loops.stubborn, n_workers=2, supervise=sys.argv[2] == "yes")
net.wait_for_workers(2, timeout=30)
print(*(info.pid for info in net._store.workers()), net.placements[workers[0]].pid, flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("supervise", [True, False])
def test_supervised_workers_end_with_their_manager_and_others_do_not(net, config, supervise):
    manager = subprocess.Popen(
        [sys.executable, "-c", MANAGER, net.network_id, "yes" if supervise else "no"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with manager:
        manager.stdin.write(net._secret() + b"\n")
        manager.stdin.flush()
        pids = [int(word) for word in manager.stdout.readline().split()]
        manager.kill()
    if supervise:
        waits(lambda: not any(alive(pid) for pid in pids), 5, "the end of the whole tree")
        assert {end.reason for end in net._store.ended_workers().values()} == {"the process that it is tied to ended"}
    else:
        end = time.monotonic() + 0.5
        patience(lambda: time.monotonic() > end)
        assert all(alive(pid) for pid in pids)
        assert net.n_running_workers == 2


def test_workers_end_when_their_network_is_reset(net):
    workers = start(net, loops.stubborn, 2, heartbeat_period=0.2, heartbeat_expire=5.0)
    pids = [loop_of(net, worker) for worker in workers]
    supervisor = supervisor_of(net, workers[0])
    from rush.store.session import new_epoch

    net._session.open()
    net._store.reset(new_epoch())
    waits(lambda: not any(alive(pid) for pid in [*pids, supervisor]))
