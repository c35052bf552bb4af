"""A worker whose version of rush or Python does not fit the manager's is refused, with both versions named."""

import platform
import subprocess
import sys
from dataclasses import replace

import pytest

import rush
from rush.manager import Rush
from rush.manager.loops import rush_version
from tests.supervisor.loops import idle, returns

OURS = {"python": platform.python_version(), "rush": rush_version()}
OTHERS = [("python", "3.9.18"), ("python", "2.7.18"), ("rush", "99.1.0")]


@pytest.fixture
def stored(network_id, config, request):
    """Store a loop as a manager of another version would, and give its network."""
    field, version = request.param
    net = Rush(network_id, config)
    net.worker_script(idle)
    spec = net._store.read_loop()
    net._store.put_loop("of-another", replace(spec, **{field: version}))
    return net, (field, version)


@pytest.mark.parametrize("stored", OTHERS, indirect=True)
def test_a_supervisor_refuses_for_its_workers(stored):
    net, (field, version) = stored
    command = [sys.executable, "-m", "rush.worker", "--network", net.network_id, "--worker", "w1", "--secrets", "-"]
    done = subprocess.run(command, input=net._secret() + b"\n", capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    for text in (done.stderr.decode(), net._store.ended_workers()["w1"].reason):
        assert version in text
        assert OURS[field] in text
    assert net.worker_ids == []
    with pytest.raises(rush.WorkerStartError, match=version.replace(".", r"\.")):
        net.wait_for_workers(worker_ids=["w1"], timeout=5)


@pytest.mark.parametrize("stored", OTHERS, indirect=True)
def test_a_process_that_becomes_a_worker_is_refused(stored):
    net, (field, version) = stored
    with pytest.raises(rush.RushError) as caught:
        rush.start_worker(net.network_id, config=net.config)
    assert version in str(caught.value)
    assert OURS[field] in str(caught.value)
    assert net.worker_ids == []


def test_another_patch_level_fits(network_id, config):
    net = Rush(network_id, config)
    net.worker_script(returns)
    series = {field: ".".join(version.split(".")[:2]) + ".99" for field, version in OURS.items()}
    net._store.put_loop("of-another", replace(net._store.read_loop(), **series))
    rush.start_worker(network_id, config=config, worker_id="w1")
    assert net.worker_ids == ["w1"]


def test_a_network_of_another_protocol_is_refused(network_id, config):
    net = Rush(network_id, config)
    net.push_tasks([{"x": 1}])
    net.connector.hset(net._store.keys.meta, "protocol", 7)
    for join in (Rush, rush.RushWorker):
        with pytest.raises(rush.RushError, match=r"speaks protocol 7 of rush, this version speaks 1"):
            join(network_id, config)
