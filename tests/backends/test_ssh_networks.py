"""Whole networks whose workers run on hosts: network namespaces with an address, a name and an sshd of their own."""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from rush import Rush
from rush.backends.ssh import tunnel as ssh_tunnel
from rush.backends.ssh.backend import SSH
from rush.errors import BackendError, ConfigError, WorkerStartError
from rush.model import PlacementState
from tests.backends.sshd import Sshd
from tests.namespaces import Host

pytestmark = pytest.mark.slow

SOURCE = f"export PYTHONPATH={Path.cwd()}:$PYTHONPATH"


def square(worker):
    while not worker.terminated:
        task = worker.pop_task(timeout=0.5)
        if task is not None:
            worker.finish_tasks([task.key], [{"y": task.xs["x"] ** 2, "host": os.uname().nodename}])


def hold(worker):
    worker.pop_task(timeout=None)
    while True:
        time.sleep(0.1)


@dataclass(frozen=True)
class Farm:
    address: str
    hosts: dict[str, Host]
    daemons: dict[str, Sshd]
    config: str


@pytest.fixture
def farm(neighbourhood, start_sshd, ssh_config):
    """Bring up two hosts with an sshd each, called one and two in the SSH configuration."""
    around = neighbourhood(2)
    hosts = dict(zip(("one", "two"), around.hosts, strict=True))
    daemons = {
        name: start_sshd(name, address=host.address, port=22, prefix=host.command()) for name, host in hosts.items()
    }
    config = ssh_config(*(daemon.block(name) for name, daemon in daemons.items()))
    return Farm(around.address, hosts, daemons, config)


@pytest.fixture
def reachable(farm, start_server):
    """Start a server that the hosts reach."""
    return start_server(settings={"bind": f"127.0.0.1 {farm.address}"})


@pytest.fixture
def backend(farm, tmp_path):
    def make(hosts=("one", "two"), **options):
        return SSH(hosts, **{"config": farm.config, "folder": str(tmp_path / "out"), "setup": [SOURCE]} | options)

    return make


@pytest.fixture
def network(network_id, server, start_server, farm):
    made = []

    def make(server, host="127.0.0.1"):
        made.append(Rush(network_id, f"redis://:{server.password}@{host}:{server.port}"))
        return made[-1]

    yield make
    for net in made:
        net.reset()


@pytest.fixture
def net(network, reachable, farm):
    return network(reachable, farm.address)


def test_workers_on_hosts_share_the_tasks(net, backend, farm, wait_until):
    workers = net.start_workers(square, n_workers=4, backend=backend())
    net.wait_for_workers(4, timeout=60)
    assert set(net.running_worker_ids) == set(workers)
    assert set(net.worker_info["hostname"]) == {host.name for host in farm.hosts.values()}
    keys = net.push_tasks([{"x": n} for n in range(40)])
    assert net.wait_for_tasks(keys, timeout=30)
    finished = net.fetch_finished_tasks()
    assert sorted(finished["y"]) == [n**2 for n in range(40)]
    assert set(finished["host"]) <= {host.name for host in farm.hosts.values()}
    net.stop_workers("terminate")
    wait_until(lambda: not net.running_worker_ids, 30)


def test_too_many_workers_are_refused_before_anything_is_written(net, backend, reachable):
    with pytest.raises(ValueError, match="the hosts take 2"):
        net.start_workers(square, n_workers=3, backend=backend(workers=1))
    with reachable.connected() as client:
        assert not [key for key in client.scan_iter() if b"loops" in key]


def test_hosts_are_filled_where_no_number_is_asked_for(net, backend):
    assert len(net.start_workers(square, backend=backend({"one": 2, "two": 1}))) == 3
    net.wait_for_workers(3, timeout=60)
    assert sorted(net.worker_info["hostname"].value_counts()) == [1, 2]


def test_a_worker_that_dies_before_it_registers_speaks(net, backend):
    net.start_workers(square, n_workers=1, backend=backend("one", setup=["echo no module torch >&2", "exit 4"]))
    with pytest.raises(WorkerStartError, match=r"(?s)exited with code 4.*no module torch"):
        net.wait_for_workers(1, timeout=60)


def test_a_host_that_is_down_is_named_and_the_other_works(net, backend, farm):
    farm.hosts["two"].cut()
    with pytest.raises(BackendError, match=r"1 of 2 .*'two'"):
        net.start_workers(square, n_workers=2, backend=backend(timeout=3))
    net.wait_for_workers(1, timeout=60)
    assert net.wait_for_tasks(net.push_tasks([{"x": 2}]), timeout=20)


def test_a_killed_supervisor_is_noticed_over_ssh_and_its_task_recovered(net, backend, farm, wait_until):
    (worker,) = net.start_workers(hold, n_workers=1, backend=backend("one"), heartbeat_period=60, heartbeat_expire=600)
    net.wait_for_workers(1, timeout=60)
    net.push_tasks([{"x": 1}], max_tries=2)
    wait_until(lambda: net.n_running_tasks == 1, 20)
    placement = net.placements[worker]
    os.kill(placement.pid, 9)
    wait_until(lambda: net.detect_lost_workers() == [worker], 20)
    assert net.n_queued_tasks == 1
    reason = net.worker_info.set_index("worker_id").loc[worker, "reason"]
    assert "killed by signal 9 (SIGKILL)" in reason


def test_another_manager_finds_and_kills_the_workers(net, network, backend, reachable, farm, wait_until):
    net.start_workers(square, n_workers=2, backend=backend(), heartbeat_period=60, heartbeat_expire=600)
    net.wait_for_workers(2, timeout=60)
    other = network(reachable, farm.address)
    polled = other._backend_of(next(iter(other.placements.values()))).poll(list(other.placements.values()))
    assert {status.state for status in polled.values()} == {PlacementState.RUNNING}
    other.stop_workers("kill")
    assert not other.running_worker_ids
    wait_until(lambda: not any(daemon.visitors() for daemon in farm.daemons.values()), 20)


def test_a_host_that_is_cut_off_is_unknown_and_goes_on_when_it_is_healed(net, backend, farm, wait_until):
    chosen = backend("one", timeout=3)
    (worker,) = net.start_workers(square, n_workers=1, backend=chosen, heartbeat_expire=120)
    net.wait_for_workers(1, timeout=60)
    placement = net.placements[worker]
    farm.hosts["one"].cut()
    wait_until(lambda: chosen.poll([placement])[placement.id].state is PlacementState.UNKNOWN, 20)
    assert net.detect_lost_workers() == []
    began = time.monotonic()
    chosen.poll([placement])
    assert time.monotonic() - began < 1, "a host that is away is not waited for at every look"
    farm.hosts["one"].heal()
    wait_until(lambda: chosen.poll([placement])[placement.id].state is PlacementState.RUNNING, 60)
    assert net.wait_for_tasks(net.push_tasks([{"x": 3}]), timeout=60)


def test_a_server_on_loopback_is_refused_without_a_tunnel(network, backend, server):
    with pytest.raises(ConfigError, match="on other hosts"):
        network(server).start_workers(square, n_workers=1, backend=backend())


def test_a_tunnel_carries_a_server_that_hosts_have_no_route_to(network, backend, server, farm, wait_until, caplog):
    net = network(server)
    net.start_workers(square, n_workers=2, backend=backend(tunnel=True))
    net.wait_for_workers(2, timeout=60)
    assert net.wait_for_tasks(net.push_tasks([{"x": n} for n in range(20)]), timeout=30)
    assert set(net.worker_info["hostname"]) == {host.name for host in farm.hosts.values()}


def test_workers_survive_a_broken_tunnel(network, backend, server, farm, wait_until, caplog):
    net = network(server)
    (worker,) = net.start_workers(
        square, n_workers=1, backend=backend("one", tunnel=True), heartbeat_period=1, heartbeat_expire=60
    )
    net.wait_for_workers(1, timeout=60)
    with caplog.at_level(logging.WARNING):
        farm.daemons["one"].cut()
        keys = net.push_tasks([{"x": n} for n in range(10)])
        wait_until(lambda: "is restored" in caplog.text, 30)
    assert net.wait_for_tasks(keys, timeout=60)
    assert net.running_worker_ids == [worker]
    assert set(net.fetch_finished_tasks()["y"]) == {n**2 for n in range(10)}


@pytest.mark.parametrize("client", ["paramiko", "openssh"])
def test_a_tunnel_to_a_host_that_is_cut_off_is_restored_when_it_is_healed(
    network, backend, server, farm, wait_until, caplog, monkeypatch, client
):
    """The host is not told that the connection broke, and goes on listening on the tunnel's port."""
    monkeypatch.setattr(ssh_tunnel, "_ASK", 1.0)
    net = network(server)
    chosen = backend("one", tunnel=True, timeout=5, client=client)
    (worker,) = net.start_workers(square, n_workers=1, backend=chosen, heartbeat_period=1, heartbeat_expire=100)
    net.wait_for_workers(1, timeout=60)
    with caplog.at_level(logging.WARNING):
        farm.hosts["one"].cut()
        wait_until(lambda: "has broken" in caplog.text, 30)
        farm.hosts["one"].heal()
        wait_until(lambda: "is restored" in caplog.text, 60)
    assert net.wait_for_tasks(net.push_tasks([{"x": n} for n in range(10)]), timeout=60)
    assert net.running_worker_ids == [worker]


def test_hosts_are_reached_through_one_of_them(net, farm, ssh_config, tmp_path):
    config = ssh_config(farm.daemons["one"].block("one"), farm.daemons["two"].block("two", ProxyJump="one"))
    backend = SSH("two", config=config, folder=str(tmp_path / "out"), setup=[SOURCE])
    net.start_workers(square, n_workers=1, backend=backend)
    net.wait_for_workers(1, timeout=60)
    assert list(net.worker_info["hostname"]) == [farm.hosts["two"].name]
    assert "Accepted publickey" in farm.daemons["one"].log


def test_each_worker_has_its_own_device(net, backend):
    def look(worker):
        while not worker.terminated:
            task = worker.pop_task(timeout=0.5)
            if task is not None:
                worker.finish_tasks([task.key], [{"device": os.environ["CUDA_VISIBLE_DEVICES"]}])
                time.sleep(1)

    chosen = backend("one", gpus_per_worker=2, setup=[SOURCE, "export CUDA_VISIBLE_DEVICES=4,5,6,7"])
    net.start_workers(look, n_workers=2, backend=chosen)
    net.wait_for_workers(2, timeout=60)
    assert net.wait_for_tasks(net.push_tasks([{}, {}]), timeout=30)
    assert set(net.fetch_finished_tasks()["device"]) == {"4,5", "6,7"}
