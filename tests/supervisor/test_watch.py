"""The heartbeat of a worker made by hand."""

import os
import signal
import subprocess
import sys

import pytest

from rush.manager import Rush
from rush.supervisor.watch import start_heartbeat
from rush.worker import RushWorker
from tests.supervisor.conftest import alive, reason_of, waits

WORKER = """
import sys, time
from rush.config import RedisConfig
from rush.worker import RushWorker
worker = RushWorker(sys.argv[1], RedisConfig.from_url(sys.argv[2]), "byhand", 0.5, 1.5)
worker.push_running_tasks([{"x": 1}])
print(worker.heartbeat.pid, flush=True)
time.sleep(300)
"""


@pytest.fixture
def byhand(network_id, config):
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, network_id, config.url], stdout=subprocess.PIPE, text=True
    )
    watch = int(process.stdout.readline())
    yield process, watch
    process.kill()
    process.wait()
    process.stdout.close()
    waits(lambda: not alive(watch), 10, "the end of the heartbeat")


def test_the_death_of_a_worker_made_by_hand_is_reported_and_its_task_fails(byhand, network_id, config):
    process, _ = byhand
    net = Rush(network_id, config)
    assert net.n_running_tasks == 1
    process.kill()
    assert reason_of(net, "byhand") == "its process ended"
    assert net.n_failed_tasks == 1


def test_a_worker_made_by_hand_can_be_killed(byhand, network_id, config):
    process, _ = byhand
    net = Rush(network_id, config)
    net.stop_workers("kill", ["byhand"])
    assert process.wait(10) == -signal.SIGKILL
    assert "byhand" not in net.running_worker_ids


def test_closing_the_heartbeat_ends_its_process_and_reports_no_death(network_id, config):
    worker = RushWorker(network_id, config, "here", 0.5, 1.5)
    heartbeat = worker.heartbeat
    assert heartbeat.alive
    worker.set_terminated()
    assert not heartbeat.alive
    assert reason_of(worker, "here") == "its loop returned"


def test_a_stopped_worker_keeps_its_heartbeat(byhand, network_id, config):
    process, _ = byhand
    net = Rush(network_id, config)
    process.send_signal(signal.SIGSTOP)
    assert net.detect_lost_workers() == []
    process.send_signal(signal.SIGCONT)


def test_start_heartbeat_gives_the_process(network_id, config):
    worker = RushWorker(network_id, config, "other")
    beat = start_heartbeat(worker._store, "other", worker._session.incarnation, os.getpid(), 0.5, 1.5)
    assert alive(beat.pid)
    beat.close()
    assert not alive(beat.pid)
    worker.set_terminated()
