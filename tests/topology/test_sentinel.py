"""Redis Sentinel: the master is killed, and the network goes on with the one that takes over."""

import time
from dataclasses import replace

import pytest

import rush
from rush.manager import Rush
from tests.conftest import patience
from tests.supervisor.conftest import end
from tests.supervisor.loops import idle, obey
from tests.topology.sentinel import SentinelGroup


@pytest.fixture
def group(tmp_path, new_network_id):
    with SentinelGroup(tmp_path) as made:
        yield made


def test_the_network_goes_on_with_the_new_master_and_loses_nobody(group, network_id):
    net = Rush(network_id, group.config.url)
    workers = net.start_workers(obey, n_workers=4, heartbeat_period=0.3, heartbeat_expire=0.9)
    net.wait_for_workers(worker_ids=workers, timeout=30)
    keys = net.push_tasks([{"how": "sleep", "value": 0.05} for _ in range(40)], max_tries=3)
    net.fetch_new_tasks(timeout=10)
    patience(group.in_step, what="the replica")
    group.stop_sentinel()
    group.master.stop(kill=True)
    keys += net.push_tasks([{"how": "sleep", "value": 0} for _ in range(10)], max_tries=3)
    assert group.replica_state()["role"] == "master"
    assert net.wait_for_tasks(keys, timeout=60)
    assert sorted(net.fetch_finished_tasks().index) == sorted(keys)
    assert net.detect_lost_workers() == []
    assert sorted(net.running_worker_ids) == sorted(workers)
    group.master.start()
    assert len(net.push_tasks([{"how": "sleep", "value": 0}])) == 1
    net.stop_workers("terminate")
    patience(lambda: net.n_running_workers == 0, what="the end of the workers")
    end(net)
    net.reset()


def test_readers_notice_what_a_failover_has_lost(group, network_id, caplog):
    net = Rush(network_id, group.config)
    net.push_finished_tasks([{"x": 1}], [{"y": 1}])
    with group.replica_cut_off():
        net.push_finished_tasks([{"x": 2}], [{"y": 2}])
        assert net.fetch_finished_tasks()["y"].tolist() == [1, 2]
    assert net.fetch_finished_tasks()["y"].tolist() == [1]
    assert caplog.text.count("reading it anew") == 1
    net.push_finished_tasks([{"x": 3}], [{"y": 3}])
    assert net.fetch_finished_tasks()["y"].tolist() == [1, 3]
    assert caplog.text.count("reading it anew") == 1
    end(net)


def test_a_worker_whose_registration_a_failover_has_lost_registers_again(group, network_id):
    net = Rush(network_id, group.config)
    net.push_tasks([{"x": 1}])
    with group.replica_cut_off():
        worker = rush.RushWorker(network_id, group.config, "w1", heartbeat_period=0.3)
    (key,) = worker.push_running_tasks([{"x": 2}])
    assert net.running_worker_ids == ["w1"]
    assert worker.finish_tasks([key], [{"y": 1}]) == [key]
    patience(lambda: net.connector.zscore(net._store.keys.beats, "w1"), what="a heartbeat")
    first = net.connector.zscore(net._store.keys.beats, "w1")
    patience(lambda: net.connector.zscore(net._store.keys.beats, "w1") > first, what="the next heartbeat")
    worker.set_terminated()
    end(net)


def test_a_task_of_which_a_failover_has_lost_the_end_is_run_again_by_its_worker(group, network_id):
    net = Rush(network_id, group.config)
    worker = rush.RushWorker(network_id, group.config, "w1")
    (key,) = net.push_tasks([{"x": 1}])
    task = worker.pop_task()
    with group.replica_cut_off():
        assert worker.finish_tasks([task.key], [{"y": 1}]) == [key]
    again = worker.pop_task()
    assert (again.key, again.xs) == (key, {"x": 1})
    assert worker.finish_tasks([again.key], [{"y": 2}]) == [key]
    assert net.fetch_finished_tasks()["y"].tolist() == [2]
    end(net)


@pytest.mark.slow
def test_a_failover_under_100_workers_loses_nobody(group, network_id):
    net = Rush(network_id, group.config)
    workers = net.start_workers(idle, n_workers=100, heartbeat_period=0.5, heartbeat_expire=1.5)
    net.wait_for_workers(worker_ids=workers, timeout=90)
    patience(group.in_step, what="the replica")
    group.master.stop(kill=True)
    group.wait_for_failover()
    began = time.monotonic()
    while time.monotonic() - began < 5:
        assert net.detect_lost_workers() == []
    assert net.n_running_workers == 100
    net.stop_workers("terminate")
    patience(lambda: net.n_running_workers == 0, 60, "the end of the workers")
    assert set(net.worker_info["state"]) == {"terminated"}
    end(net)


def test_wrong_passwords_are_refused_at_once(group, network_id):
    for wrong in ({"password": "wrong"}, {"sentinel_password": "wrong"}, {"sentinel_password": None}):
        began = time.monotonic()
        with pytest.raises(rush.ConnectionFailed, match="refused"):
            Rush(network_id, replace(group.config, **wrong))
        assert time.monotonic() - began < 5


def test_an_unknown_service_is_named(group, network_id):
    config = replace(group.config, sentinel_service="nowhere", retry_timeout=0.1)
    with pytest.raises(rush.ConnectionFailed, match=r"knows no service 'nowhere'"):
        Rush(network_id, config)
