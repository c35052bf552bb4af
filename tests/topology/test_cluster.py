"""Redis Cluster: a network lives on one shard, many networks spread over all of them, and each works in full."""

import json
import logging
import threading
import time
from dataclasses import replace

import pytest

import rush
from rush.cli.main import main
from rush.manager import Rush
from rush.store import list_networks
from tests.conftest import patience
from tests.supervisor.conftest import end
from tests.supervisor.loops import obey
from tests.topology.cluster import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def spread(cluster, new_network_id):
    """Give the ids of three networks, one for each shard."""
    found = {}
    while len(found) < 3:
        name = new_network_id()
        found.setdefault(cluster.number_of(name), name)
    return [found[number] for number in range(3)]


@pytest.fixture
def command(capsys, cluster):
    """Run a command on the cluster, and give what it says as JSON."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--url", cluster.config.url, "--output", "json"])
        out, err = capsys.readouterr()
        assert not ended.value.code, err
        return json.loads(out)

    return run


def use_tasks(net):
    """Move tasks through every state, and read them in every way."""
    keys = net.push_tasks([{"x": 1}, {"x": 2}, {"x": 3}], max_tries=2)
    assert net.pop_task(timeout=0).key == keys[0]
    assert net.finish_tasks([keys[0]], [{"y": 1}]) == [keys[0]]
    assert net.cancel_tasks([keys[1]]) == [keys[1]]
    assert net.empty_queue() == [keys[2]]
    (running,) = net.push_running_tasks([{"x": 4}])
    assert net.fail_tasks([running], ["no"]) == [running]
    net.push_finished_tasks([{"x": 5}], [{"y": 5}])
    net.push_failed_tasks([{"x": 6}])
    assert net.fetch_new_tasks()["y"].tolist() == [1, 5]
    assert set(net.fetch_tasks_with_state()["state"]) == {"finished", "failed"}
    assert net.n_tasks == len(net.fetch_tasks()) == 6
    net.write_hashes(keys=["mine"], a=[1])
    assert net.read_hash("mine", ["a"]) == {"a": 1}


def use_workers(net):
    """Start a worker, wait for what it does, stop it; read a log."""
    workers = net.start_workers(obey, n_workers=1, heartbeat_period=0.2)
    net.wait_for_workers(worker_ids=workers, timeout=30)
    keys = net.push_tasks([{"how": "sleep", "value": 0}])
    assert net.wait_for_tasks(keys, timeout=30)
    handler = rush.RedisHandler(net.config, net.network_id, workers[0])
    handler.handle(logging.LogRecord("campaign", logging.INFO, __file__, 1, "a word", None, None))
    handler.close()
    assert net.read_log()["msg"].tolist() == ["a word"]
    net.stop_workers("terminate")
    patience(lambda: net.n_running_workers == 0, what="the end of the worker")
    assert net.worker_info["reason"].tolist() == ["its loop returned"]


def test_networks_on_every_shard_work_in_full(cluster, spread):
    for network in spread:
        net = Rush(network, cluster.config.url)
        use_tasks(net)
        use_workers(net)
        end(net)
        net.reset()
        assert net.n_tasks == 0


def test_all_shards_networks_are_listed_shown_and_reset(cluster, spread, command):
    for network in spread:
        Rush(network, cluster.config).push_tasks([{"x": 1}])
    assert set(spread) <= set(list_networks(cluster.config))
    one = replace(cluster.config, nodes=cluster.config.nodes[2:])
    assert set(spread) <= set(list_networks(one))
    listed = {row["network"]: row["queued"] for row in command("network", "list")}
    assert {network: listed.get(network) for network in spread} == dict.fromkeys(spread, 1)
    for network in spread:
        assert command("network", "show", network)["queued"] == 1
        assert command("network", "reset", network) == {"reset": network}
    assert Rush(spread[0], cluster.config).n_tasks == 0


def test_a_network_goes_on_while_its_slot_moves_to_another_shard(cluster, spread):
    network = spread[0]
    net, worker = Rush(network, cluster.config), rush.RushWorker(network, cluster.config, "w1")
    keys = net.push_tasks([{"x": number} for number in range(200)])
    done = []

    def work():
        for task in worker.tasks(timeout=5):
            task.finish({"y": task.xs["x"]})
            done.append(task.key)

    thread = threading.Thread(target=work)
    thread.start()
    cluster.move(network, to=1)
    thread.join(30)
    assert not thread.is_alive()
    assert sorted(done) == sorted(net.finished_tasks) == sorted(keys)
    assert sorted(net.fetch_finished_tasks()["y"]) == list(range(200))
    worker.set_terminated()
    net.reset()


def test_a_network_goes_on_when_its_shard_was_killed_and_restarted(cluster, spread):
    nets = [Rush(network, cluster.config) for network in spread]
    for net in nets:
        net.push_tasks([{"x": 1}])
    cluster.nodes[1].restart(kill=True)
    for net in nets:
        assert net.n_queued_tasks == 1
        assert len(net.push_tasks([{"x": 2}])) == 1
    first_gone = replace(cluster.config, nodes=(("127.0.0.1", 1), *cluster.config.nodes[1:]), port=1)
    assert Rush(spread[0], first_gone).n_queued_tasks == 2


def test_a_wrong_password_is_refused_at_once(cluster):
    began = time.monotonic()
    with pytest.raises(rush.ConnectionFailed, match="refused the password"):
        Rush("refused", replace(cluster.config, password="wrong"))
    assert time.monotonic() - began < 5
