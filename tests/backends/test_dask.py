"""Workers beside the workers of a real Dask cluster on this machine."""

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

pytest.importorskip("distributed")

import dask.config
from distributed import Client, LocalCluster

from rush import Rush
from rush.backends import find_backend, processes
from rush.backends.dask import links as dask_links
from rush.backends.dask.backend import Dask
from rush.errors import BackendError, ConfigError, WorkerStartError
from rush.model import PlacementState, WorkerCommand

pytestmark = pytest.mark.slow

LASTING = ("-c", "import sys; sys.stdin.readline(); sys.stdin.read()")
"""A command that ends with the one who started it."""


def square(worker):
    while not worker.terminated:
        task = worker.pop_task(timeout=0.5)
        if task is not None:
            worker.finish_tasks([task.key], [{"y": task.xs["x"] ** 2}])


def hold(worker):
    worker.pop_task(timeout=None)
    while True:
        time.sleep(0.1)


def started(**options):
    return LocalCluster(
        **{"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
        | options
    )


@pytest.fixture(scope="module")
def cluster():
    with started() as made:
        yield made


@pytest.fixture
def own_cluster():
    with started() as made:
        yield made


@pytest.fixture
def net(network_id, config):
    manager = Rush(network_id, config)
    yield manager
    manager.reset()


@pytest.fixture
def placed():
    kept = []
    yield kept
    for backend, placement in kept:
        backend.stop([placement], kill=True)


def command(*arguments, secret=b"secret word", workers=("w1",)):
    return WorkerCommand("net", workers, arguments, secret)


def dask_pids(cluster):
    with Client(cluster, set_as_default=False) as client:
        return client.run(os.getpid)


def state(backend, placement):
    return backend.poll([placement])[placement.id].state


def test_workers_beside_dask_workers_share_the_tasks(net, cluster):
    workers = net.start_workers(square, n_workers=4, backend=Dask(cluster))
    net.wait_for_workers(worker_ids=workers, timeout=60)
    assert {place.details["dask_worker"] for place in net.placements.values()} == set(dask_pids(cluster))
    assert sorted(len(place.worker_ids) for place in set_of(net.placements.values())) == [2, 2]
    keys = net.push_tasks([{"x": n} for n in range(20)])
    assert net.wait_for_tasks(keys, timeout=30)
    assert sorted(net.fetch_finished_tasks()["y"]) == [n**2 for n in range(20)]
    assert set(net.worker_info["backend"]) == {"dask"}


def set_of(placements):
    return {place.id: place for place in placements}.values()


def test_dask_goes_on_with_its_own_tasks(net, cluster):
    net.start_workers(hold, n_workers=2, backend=Dask(cluster))
    net.wait_for_workers(2, timeout=60)
    with Client(cluster, set_as_default=False) as client:
        assert client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks)) == []
        assert client.gather(client.map(lambda n: n + 1, range(10))) == list(range(1, 11))


def test_a_dask_worker_that_is_busy_with_tasks_still_answers(cluster, placed):
    backend = Dask(cluster)
    with Client(cluster, set_as_default=False) as client:
        busy = client.map(time.sleep, [3, 3.1], pure=False)
        (placement,) = backend.start([command(*LASTING)])
        placed.append((backend, placement))
        assert state(backend, placement) is PlacementState.RUNNING
        assert not all(future.done() for future in busy)
        client.cancel(busy)


def test_a_dask_worker_that_is_gone_loses_its_workers(net, own_cluster, wait_until):
    backend = Dask(own_cluster)
    workers = net.start_workers(hold, n_workers=2, backend=backend, heartbeat_period=0.5, heartbeat_expire=3)
    net.wait_for_workers(2, timeout=60)
    keys = net.push_tasks([{"x": 1}, {"x": 2}])
    wait_until(lambda: net.n_running_tasks == 2)
    gone = net.placements[workers[0]]
    supervisor = psutil.Process(gone.pid)
    os.kill(dask_pids(own_cluster)[gone.details["dask_worker"]], signal.SIGKILL)
    wait_until(lambda: net.running_worker_ids == [workers[1]], 20)
    wait_until(lambda: not supervisor.is_running(), 10)
    wait_until(lambda: state(backend, gone) is PlacementState.ENDED, 10)
    assert "is gone" in backend.poll([gone])[gone.id].reason
    assert state(backend, net.placements[workers[1]]) is PlacementState.RUNNING
    own_cluster.close()
    assert net.wait_for_tasks(keys, detect_lost_workers=True, timeout=20) is False
    assert not net.running_worker_ids


def test_a_dask_worker_that_closes_in_good_order_lets_its_workers_drain(net, wait_until):
    with started(processes=False) as threads:
        net.start_workers(square, n_workers=2, backend=Dask(threads))
        net.wait_for_workers(2, timeout=60)
    wait_until(lambda: not net.running_worker_ids, 20)
    assert set(net.worker_info["state"]) == {"terminated"}
    wait_until(lambda: not any(map(processes.process_of, net.placements.values())))


def test_workers_that_have_not_registered_are_not_waited_for_once_their_dask_worker_is_gone(net, own_cluster):
    backend = Dask(own_cluster)
    net.start_workers(square, n_workers=1, backend=backend, modules=["time"])
    (placement,) = set_of(net.placements.values())
    os.kill(placement.pid, signal.SIGSTOP)
    try:
        own_cluster.scale(0)
        with pytest.raises(WorkerStartError):
            net.wait_for_workers(1, timeout=30)
    finally:
        os.kill(placement.pid, signal.SIGKILL)


def test_each_start_prefers_dask_workers_with_less_to_do(cluster, placed):
    backend = Dask(cluster)
    for _ in range(2):
        placed += [(backend, one) for one in backend.start([command(*LASTING)])]
    assert len({one.details["dask_worker"] for _, one in placed}) == 2


def test_workers_are_spread_by_threads():
    with started(n_workers=1, threads_per_worker=3) as mixed:
        mixed.new_spec = mixed.new_worker_spec()
        mixed.worker_spec["one"] = {"cls": mixed.new_spec.popitem()[1]["cls"], "options": {"nthreads": 1}}
        mixed.scale(2)
        mixed.wait_for_workers(2)
        assert Dask(mixed).shares(8) == [6, 2]


@pytest.mark.parametrize("way", ["client", "address", "scheduler_file", "configuration", "current client"])
def test_a_running_cluster_is_named_in_many_ways(cluster, way, tmp_path, placed):
    with Client(cluster, set_as_default=way == "current client") as client:
        address = cluster.scheduler_address
        if way == "client":
            backend = Dask(client)
        elif way == "address":
            backend = Dask(address)
        elif way == "scheduler_file":
            client.write_scheduler_file(str(tmp_path / "scheduler.json"))
            backend = Dask(scheduler_file=tmp_path / "scheduler.json")
        else:
            backend = Dask()
        with dask.config.set({"scheduler-address": address} if way == "configuration" else {}):
            (placement,) = backend.start([command(*LASTING)])
        assert placement.details["scheduler"] == address
        backend.stop([placement], kill=True)


def test_where_no_cluster_is_named_the_error_says_what_names_one():
    with pytest.raises(BackendError, match="DASK_SCHEDULER_ADDRESS"):
        Dask().start([command(*LASTING)])


def test_a_scheduler_that_is_not_there_is_an_error_that_names_it():
    with pytest.raises(BackendError, match=r"tcp://127\.0\.0\.1:9"):
        Dask("tcp://127.0.0.1:9").start([command(*LASTING)])
    with pytest.raises(BackendError, match="no scheduler file /no/such"):
        Dask(scheduler_file="/no/such").start([command(*LASTING)])


def test_a_cluster_without_workers_is_waited_for_and_then_an_error():
    with started(n_workers=0) as empty, pytest.raises(BackendError, match="0 of 1 Dask worker"):
        Dask(empty, wait=0.5).start([command(*LASTING)])


def test_what_cannot_be_started_is_named_with_those_that_were(cluster, placed):
    with pytest.raises(BackendError, match=r"0 of 1 were started: Dask worker tcp.*/no/such/python"):
        Dask(cluster, python="/no/such/python").start([command(*LASTING)])


def test_the_secret_shows_nowhere_in_dask(own_cluster, placed):
    word = b"9c1f-secret-word"
    with Client(own_cluster, set_as_default=False) as client:
        client.run(lambda: logging.getLogger().setLevel(logging.DEBUG))
        backend = Dask(client)
        (placement,) = backend.start([command(*LASTING, secret=word)])
        placed.append((backend, placement))
        with pytest.raises(BackendError):
            Dask(client, python="/no/such/python").start([command(*LASTING, secret=word)])
        shown = [repr(client.get_worker_logs()), repr(client.get_scheduler_logs()), repr(client.get_events())]
        shown += [repr(placement), repr(command(secret=word)), backend.preview([command(*LASTING, secret=word)])]
        shown += [*psutil.Process(placement.pid).cmdline(), repr(psutil.Process(placement.pid).environ())]
        shown.append(client.run_on_scheduler(lambda dask_scheduler: repr(dask_scheduler.tasks)))
        assert not any(word.decode() in text for text in shown)
        backend.stop([placement], kill=True)


def test_the_placements_are_polled_and_stopped_from_another_process(cluster, placed, wait_until):
    backend = Dask(cluster)
    (placement,) = backend.start([command(*LASTING)])
    placed.append((backend, placement))
    code = (
        "import sys; from rush.backends import find_backend; from rush.model import *;"
        "p = eval(sys.argv[1]); b = find_backend('dask'); print(b.poll([p])[p.id].state); b.stop([p], kill=True);"
        "print(b.poll([p])[p.id].reason)"
    )
    done = subprocess.run([sys.executable, "-c", code, repr(placement)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["running", "killed by signal 9 (SIGKILL)"], done.stderr


def test_without_its_scheduler_only_what_is_here_is_known(own_cluster, wait_until):
    backend = Dask(own_cluster)
    (placement,) = backend.start([command(*LASTING)])
    elsewhere = replace(placement, host="far", stderr="/no/such/file")
    own_cluster.close()
    wait_until(lambda: state(find_backend("dask", {}), placement) is PlacementState.ENDED, 20)
    assert state(find_backend("dask", {}), elsewhere) is PlacementState.UNKNOWN
    with pytest.raises(BackendError, match="could not stop all"):
        find_backend("dask", {}).stop([elsewhere], kill=True)
    assert backend.tail(elsewhere) == ""


def test_the_devices_of_a_host_are_divided_among_its_dask_workers(net, cluster):
    def devices(worker):
        from rush.config import visible_devices

        worker.push_finished_tasks([{"worker": worker.worker_id}], [{"devices": ",".join(visible_devices())}])

    workers = net.start_workers(devices, n_workers=4, backend=Dask(cluster, gpus_per_worker=1))
    net.wait_for_workers(worker_ids=workers, timeout=60)
    while net.running_worker_ids:
        net.fetch_new_tasks(timeout=0.2)
    assert sorted(net.fetch_finished_tasks()["devices"]) == ["0", "1", "2", "3"]


def test_arguments_that_contradict_each_other_are_errors():
    with pytest.raises(ValueError, match="give one of"):
        Dask("tcp://here:1", scheduler_file="there")
    with pytest.raises(ValueError, match="jobs must be 1 or more, got 0"):
        Dask(cluster="slurm", jobs=0)
    with pytest.raises(ValueError, match="cluster='slurm'"):
        Dask(options={"cores": 1})
    with pytest.raises(ConfigError, match=r"no Dask cluster 'slrum'; did you mean 'slurm'"):
        Dask(cluster="slrum")
    with pytest.raises(ConfigError, match=r"'walltme'; did you mean 'walltime'"):
        Dask(cluster="slurm", options={"walltme": "1:00"})


def test_workers_of_a_cluster_that_is_built_are_tied_to_its_process():
    assert "cluster" in Dask(cluster="slurm", options={"cores": 1, "memory": "1GB"}).tie()
    assert Dask("tcp://here:1").tie() == ""


def test_the_preview_shows_command_and_job_and_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSH_URL", "redis://:hidden@here")
    options = {"cores": 2, "memory": "1GB", "queue": "short", "walltime": "00:10:00"}
    text = Dask(cluster="slurm", options=options).preview([command("-m", "rush.worker", "--network", "net")])
    assert "-m rush.worker --network net --secrets - --supervised" in text
    assert "#SBATCH -p short" in text
    assert "env -u RUSH_URL sbatch" in text
    assert "export RUSH_JOB_END_TIME=$(($(date +%s) + 600))" in text
    assert "secret word" not in text
    assert "hidden" not in text


def test_a_running_cluster_describes_itself(cluster):
    backend = Dask(cluster)
    assert backend.check() == {"scheduler": cluster.scheduler_address, "Dask workers": "2", "threads": "2"}
    assert backend.reaches_loopback()
    assert backend.default_workers() == 2
    assert backend.small() is backend
    with pytest.raises(BackendError, match="submits no jobs"):
        backend.with_words(["--mem=1G"])


def test_words_for_the_job_system_stand_in_the_job(monkeypatch):
    backend = Dask(cluster="slurm", jobs=3, options={"cores": 2, "memory": "1GB"})
    text = backend.with_words(["--mem=4G", "-C", "a b"]).preview([])
    assert "#SBATCH --mem=4G -C 'a b'" in text
    assert "--mem=4G" not in backend.preview([])
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BackendError, match="sbatch is not installed here"):
        backend.check()


def test_the_folder_of_what_has_ended_is_removed(cluster, tmp_path):
    backend = Dask(cluster, folder=str(tmp_path))
    (placement,) = backend.start([command(*LASTING)])
    backend.stop([placement], kill=True)
    backend.clear([placement])
    assert not list(tmp_path.iterdir())


def test_a_refused_connection_is_not_tried_again_at_once(monkeypatch):
    monkeypatch.setattr(dask_links, "_refused", {})
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(BackendError, match="cannot connect"):
            dask_links.client_at("tcp://127.0.0.1:9")
    assert time.monotonic() - began < 1
