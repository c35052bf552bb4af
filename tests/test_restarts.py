"""The server is killed, restarted, emptied, filled up or rolled back: who works goes on, who reads notices."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import rush
from rush.backends import Local
from rush.manager import Rush
from tests.conftest import patience
from tests.supervisor.conftest import alive, end, supervisors
from tests.supervisor.loops import idle, obey


@pytest.fixture
def always(start_server):
    """Give a server that has written down what it answers."""
    return start_server(settings={"appendfsync": "always"})


def test_workers_carry_on_by_themselves_when_the_server_was_killed_and_restarted(always, network_id):
    net = Rush(network_id, always.config)
    workers = net.start_workers(obey, n_workers=3, heartbeat_period=0.3, heartbeat_expire=0.9)
    net.wait_for_workers(worker_ids=workers, timeout=30)
    pids = set(net.worker_info["pid"])
    keys = net.push_tasks([{"how": "sleep", "value": 0.05} for _ in range(60)])
    for _ in range(3):
        before = set(net.fetch_new_tasks(timeout=10).index)
        always.restart(kill=True)
        assert before <= set(net.finished_tasks)
    assert net.wait_for_tasks(keys, timeout=60)
    assert sorted(net.finished_tasks) == sorted(keys)
    assert net.detect_lost_workers() == []
    assert set(net.worker_info["state"]) == {"running"}
    assert set(net.worker_info["pid"]) == pids
    end(net)


def test_workers_of_a_server_that_has_lost_its_data_end_and_say_why(start_server, network_id, tmp_path):
    server = start_server(settings={"appendonly": "no"})
    net = Rush(network_id, server.config)
    workers = net.start_workers(idle, n_workers=2, heartbeat_period=0.3, message_log=tmp_path)
    net.wait_for_workers(worker_ids=workers, timeout=30)
    (placement,) = {place.id: place for place in net.placements.values()}.values()
    pids = [placement.pid, *net.worker_info["pid"]]
    server.restart(kill=True)
    patience(lambda: not any(map(alive, pids)), 20, "the end of the workers")
    said = Local().tail(placement)
    assert "was reset, or its server has lost it" in said
    assert network_id in said


def test_a_loop_learns_that_its_network_is_gone(start_server, network_id):
    server = start_server(settings={"appendonly": "no"})
    worker = rush.RushWorker(network_id, server.config, "w1")
    (key,) = worker.push_running_tasks([{"x": 1}])
    server.restart(kill=True)
    with pytest.raises(rush.NetworkGone, match=f"{network_id}.*w1"):
        worker.finish_tasks([key], [{"y": 1}])
    with pytest.raises(rush.NetworkGone):
        worker.pop_task(timeout=None)


def test_a_manager_begins_anew_with_one_warning_when_the_server_has_lost_everything(start_server, network_id, caplog):
    server = start_server(settings={"appendonly": "no"})
    net = Rush(network_id, server.config)
    net.push_finished_tasks([{"x": 1}], [{"y": 1}])
    assert len(net.fetch_finished_tasks()) == 1
    server.restart(kill=True)
    assert net.fetch_finished_tasks().empty
    assert len(net.push_tasks([{"x": 2}])) == 1
    assert net.n_tasks == 1
    assert caplog.text.count("reading it anew") == 1
    assert caplog.text.count("starting anew") == 1


def test_a_write_that_a_full_server_refused_goes_through_once_there_is_room(start_server, network_id, caplog):
    server = start_server(settings={"maxmemory": "20mb", "maxmemory-policy": "noeviction"})
    net = Rush(network_id, replace(server.config, retry_timeout=20))
    worker = rush.RushWorker(network_id, server.config, "w1")
    (mine,) = worker.push_running_tasks([{"x": 0}])
    with server.connected() as client:
        client.config_set("maxmemory", "1mb")
        pushed = []
        thread = threading.Thread(target=lambda: pushed.extend(net.push_tasks([{"x": 1}])))
        thread.start()
        patience(lambda: "trying again" in caplog.text, what="the warning")
        assert worker.finish_tasks([mine], [{"y": 0}]) == [mine]
        client.config_set("maxmemory", "0")
        thread.join(20)
    assert net.queued_tasks == pushed
    assert net.n_finished_tasks == 1


def test_a_full_server_is_told_from_one_that_is_away(start_server, network_id):
    server = start_server(settings={"maxmemory": "1mb", "maxmemory-policy": "noeviction"})
    net = Rush(network_id, replace(server.config, retry_timeout=0.2))
    for write in (
        lambda: net.push_tasks([{"x": 1}]),
        lambda: net.push_running_tasks([{"x": 1}]),
        lambda: net.push_finished_tasks([{"x": 1}], [{"y": 1}]),
        lambda: net.push_failed_tasks([{"x": 1}]),
        lambda: net.write_hashes(keys=["mine"], a=[1]),
        lambda: net.start_workers(idle),
    ):
        with pytest.raises(rush.StoreFull, match=r"full \(maxmemory\).*make room"):
            write()
    assert net.n_tasks == 0


def test_a_server_that_cannot_write_to_its_disk_is_waited_for(start_server, network_id, caplog):
    server = start_server(settings={"appendonly": "no", "save": "3600 1"})
    net = Rush(network_id, replace(server.config, retry_timeout=20))
    (worker,) = net.start_workers(obey, heartbeat_period=0.2, heartbeat_expire=0.6)
    net.wait_for_workers(1, timeout=30)
    in_the_way = server.folder / "dump.rdb" / "in-the-way"
    with server.connected() as client:

        def save():
            client.bgsave()
            patience(lambda: not client.info("persistence")["rdb_bgsave_in_progress"], what="the end of the snapshot")
            return client.info("persistence")["rdb_last_bgsave_status"]

        in_the_way.mkdir(parents=True)
        assert save() == "err"
        pushed = []
        thread = threading.Thread(target=lambda: pushed.extend(net.push_tasks([{"how": "at once"}])))
        thread.start()
        patience(lambda: "MISCONF" in caplog.text, what="the warning")
        hurried = Rush(network_id, replace(server.config, retry_timeout=0.2))
        with pytest.raises(rush.ConnectionFailed, match="answers MISCONF"):
            hurried.push_tasks([{"x": 1}])
        due = client.zscore(net._store.keys.beats, worker) / 1000
        patience(lambda: client.time()[0] > due + 1, what="the end of the heartbeat")
        in_the_way.rmdir()
        in_the_way.parent.rmdir()
        assert save() == "ok"
        thread.join(20)
    assert net.wait_for_tasks(pushed, timeout=30)
    assert net.running_worker_ids == [worker]
    net.stop_workers(type="kill")


@pytest.mark.parametrize(
    ("maxmemory", "policy", "warned"),
    [("50mb", "allkeys-lru", True), ("50mb", "volatile-lru", False), ("0", "allkeys-lfu", False)],
)
def test_a_server_that_would_evict_is_warned_of(start_server, network_id, caplog, maxmemory, policy, warned):
    server = start_server(settings={"maxmemory": maxmemory, "maxmemory-policy": policy})
    Rush(network_id, server.config)
    assert (f"maxmemory-policy {policy}); set it to noeviction" in caplog.text) == warned


@pytest.mark.parametrize("change", ["shorter", "other", "gone"])
def test_readers_notice_once_that_the_log_was_rolled_back(config, network_id, caplog, change):
    net = Rush(network_id, config)
    net.push_finished_tasks([{"x": 1}, {"x": 2}, {"x": 3}], [{"y": 1}, {"y": 2}, {"y": 3}])
    assert net.fetch_new_tasks()["y"].tolist() == [1, 2, 3]
    client, log = net.connector, net._store.keys.log
    if change == "shorter":
        client.rpop(log)
    elif change == "other":
        client.lset(log, 2, client.lindex(log, 0))
    else:
        client.delete(log)
    left = {"shorter": [1, 2], "other": [1, 2, 1], "gone": []}[change]
    assert net.fetch_new_tasks()["y"].tolist() == left if left else net.fetch_new_tasks().empty
    assert net.fetch_new_tasks().empty
    assert len(net.fetch_finished_tasks()) == len(left)
    assert caplog.text.count("reading it anew") == 1


def test_readers_notice_a_reset_by_somebody_else(config, network_id, caplog):
    net, other = Rush(network_id, config), Rush(network_id, config)
    net.push_finished_tasks([{"x": 1}], [{"y": 1}])
    assert len(net.fetch_finished_tasks()) == 1
    other.reset()
    assert net.fetch_finished_tasks().empty
    assert caplog.text.count("reading it anew") == 1
    other.push_finished_tasks([{"x": 2}], [{"y": 2}])
    assert net.fetch_finished_tasks()["y"].tolist() == [2]


def test_a_campaign_whose_server_and_workers_died_goes_on_from_the_append_only_file(always, network_id):
    net = Rush(network_id, always.config)
    options = {"heartbeat_period": 0.2, "heartbeat_expire": 0.6}
    first = net.start_workers(obey, n_workers=2, **options)
    net.wait_for_workers(worker_ids=first, timeout=30)
    quick = net.push_tasks([{"how": "sleep", "value": 0} for _ in range(10)])
    slow = net.push_tasks([{"how": "sleep", "value": 1.0} for _ in range(2)], max_tries=2)
    assert net.wait_for_tasks(quick, timeout=30)
    patience(lambda: net.n_running_tasks == 2, what="the slow tasks")
    trees = [psutil.Process(pid) for pid in supervisors(net)]
    trees += [child for tree in trees for child in tree.children(recursive=True)]
    always.stop(kill=True)
    for process in trees:
        process.kill()
    psutil.wait_procs(trees, 10)
    always.start()

    again = Rush(network_id, always.config)
    assert sorted(again.finished_tasks) == sorted(quick)
    assert again.worker_ids == net.worker_ids
    second = again.start_workers(obey, n_workers=2, **options)
    assert again.wait_for_tasks(slow, detect_lost_workers=True, timeout=60)
    assert sorted(again.finished_tasks) == sorted(quick + slow)
    states = again.worker_info.set_index("worker_id")["state"].to_dict()
    assert states == dict.fromkeys(first, "lost") | dict.fromkeys(second, "running")
    end(again)
    net._store.close()


MANAGER = """
import sys
import rush
from tests.supervisor.loops import obey
net = rush.rsh(sys.argv[1], sys.argv[2])
workers = net.start_workers(obey, n_workers=2, log_levels={"campaign": "INFO"})
net.wait_for_workers(worker_ids=workers, timeout=30)
keys = net.push_tasks([{"how": "sleep", "value": 0.02} for _ in range(50)])
net.fetch_new_tasks(timeout=30)
print(*workers, flush=True)
net.wait_for_tasks(keys)
sys.stdin.read()
"""


def test_a_manager_that_was_killed_is_replaced_by_another_process(config, network_id):
    root = str(Path(__file__).parent.parent)
    first = subprocess.Popen(
        [sys.executable, "-c", MANAGER, network_id, config.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
    )
    with first:
        workers = first.stdout.readline().split()
        assert len(workers) == 2
        first.kill()

    net = Rush(network_id, config.url)
    assert sorted(net.worker_ids) == sorted(net.running_worker_ids) == sorted(workers)
    assert sorted(net.placements) == sorted(workers)
    patience(lambda: net.n_finished_tasks == 50, 30, "the tasks")
    assert len(net.fetch_finished_tasks()) == len(net.fetch_new_tasks()) == 50
    assert set(net.read_log().columns) >= {"worker_id", "msg"}
    added = net.start_workers(obey, n_workers=1)
    net.wait_for_workers(worker_ids=added, timeout=30)
    net.stop_workers("terminate", workers[:1])
    patience(lambda: workers[0] in net.terminated_worker_ids, what="the end of the first worker")
    net.stop_workers("kill", workers[1:])
    assert sorted(net.terminated_worker_ids) == sorted(workers)
    keys = net.push_tasks([{"how": "sleep", "value": 0} for _ in range(5)])
    assert net.wait_for_tasks(keys, timeout=30)
    assert set(net.fetch_finished_tasks().loc[keys, "worker_id"]) == set(added)
    end(net)
