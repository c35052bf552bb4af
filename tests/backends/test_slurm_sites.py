"""Sites as they are: a Slurm that keeps no accounts, nodes that fail, devices to share, containers, signals."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rush import Rush
from rush.backends.slurm.backend import Slurm
from rush.errors import WorkerStartError
from rush.model import PlacementState
from tests.backends.job_networks import make_backend, square

pytestmark = [pytest.mark.scheduler, pytest.mark.slow]


@pytest.fixture
def plain_backend(plain_cluster, tmp_path):
    return make_backend("slurm", tmp_path)


def status(net, worker):
    placement = net.placements[worker]
    return net._backend_of(placement).poll([placement])[placement.id]


def tell(worker, variable):
    import os

    worker.push_finished_tasks([{"worker": worker.worker_id}], [{"value": os.environ.get(variable)}])
    while not worker.terminated:
        time.sleep(0.05)


def test_without_accounting_workers_run_end_and_are_seen_to(job_net, plain_backend, wait_until):
    shown = subprocess.run(["sacct"], capture_output=True, text=True, check=False, timeout=20)
    assert "disabled" in shown.stderr
    (worker,) = job_net.start_workers(square, n_workers=1, backend=plain_backend())
    job_net.wait_for_workers(1, timeout=60)
    keys = job_net.push_tasks([{"x": 3}])
    assert job_net.wait_for_tasks(keys, timeout=30)
    assert status(job_net, worker).state is PlacementState.RUNNING
    job_net.stop_workers("terminate")
    wait_until(lambda: status(job_net, worker).state is PlacementState.ENDED, 60)
    assert status(job_net, worker).reason == "COMPLETED: the job has ended"


def test_without_accounting_a_job_that_fails_before_its_worker_registers_speaks(job_net, plain_backend):
    job_net.start_workers(square, n_workers=1, backend=plain_backend(setup=["echo no module torch >&2", "exit 4"]))
    with pytest.raises(WorkerStartError, match=r"FAILED: the job failed[\s\S]*no module torch"):
        job_net.wait_for_workers(1, timeout=60)


def test_without_accounting_a_cancelled_job_hands_its_task_back(job_net, plain_backend, wait_until):
    (worker,) = job_net.start_workers(square, n_workers=1, backend=plain_backend(), nap=100, grace_period=1)
    job_net.wait_for_workers(1, timeout=60)
    job_net.push_tasks([{"x": 3}])
    wait_until(lambda: job_net.n_running_tasks == 1, 30)
    subprocess.run(["scancel", job_net.placements[worker].job_id], check=True, timeout=20)
    wait_until(lambda: not job_net.running_worker_ids, 60)
    assert job_net.n_queued_tasks == 1
    wait_until(lambda: status(job_net, worker).reason.startswith("CANCELLED"), 60)


def test_a_node_that_fails_takes_only_its_own_tasks_and_they_are_recovered(
    scattered_cluster, network_id, start_server, tmp_path, wait_until
):
    around = scattered_cluster.around
    server = start_server(settings={"bind": f"127.0.0.1 {around.address}"})
    net = Rush(network_id, replace(server.config, host=around.address))
    make = make_backend("slurm", tmp_path)
    options = {"heartbeat_period": 1, "heartbeat_expire": 4, "nap": 2}
    for host in around.hosts:
        net.start_workers(square, n_workers=1, backend=make(extra={"nodelist": host.name}, cpus=1), **options)
    net.wait_for_workers(2, timeout=60)
    table = net.worker_info.set_index("hostname")["worker_id"]
    lost, other = (table[host.name] for host in around.hosts)
    keys = net.push_tasks([{"x": n} for n in range(12)], max_tries=2)
    wait_until(lambda: net.n_running_tasks == 2, 30)
    around.hosts[0].cut()
    try:
        assert net.wait_for_tasks(keys, timeout=90, detect_lost_workers=True)
        assert net.n_finished_tasks == 12
        assert net.running_worker_ids == [other]
        reason = net.worker_info.set_index("worker_id").loc[lost, "reason"]
        assert "no heartbeat" in reason or "NODE_FAIL" in reason
        wait_until(lambda: status(net, lost).reason.startswith("NODE_FAIL"), 90)
        assert status(net, lost).interrupted
    finally:
        around.hosts[0].heal()
        net.stop_workers("kill")
        for placement in net._store.placements():
            Slurm().stop([placement], kill=True)
        net.reset()


def test_each_worker_of_a_job_has_devices_of_its_own(job_net, slurm_backend, wait_until):
    backend = slurm_backend(workers_per_job=2, gpus_per_worker=2)
    job_net.start_workers(tell, n_workers=2, backend=backend, variable="CUDA_VISIBLE_DEVICES")
    job_net.wait_for_workers(2, timeout=60)
    wait_until(lambda: job_net.n_finished_tasks == 2, 30)
    assert sorted(job_net.fetch_finished_tasks()["value"]) == ["0,1", "2,3"]


def test_python_may_stand_behind_a_container_command(job_net, slurm_backend):
    backend = slurm_backend(python=f"env CONTAINER='image one.sif' {sys.executable}")
    job_net.start_workers(tell, n_workers=1, backend=backend, variable="CONTAINER")
    job_net.wait_for_workers(1, timeout=60)
    assert list(job_net.fetch_new_tasks(timeout=30)["value"]) == ["image one.sif"]


@pytest.mark.parametrize("options", [{}, {"teardown": ["echo afterwards"]}, {"srun": True}])
def test_usr2_drains_the_workers_of_a_job(job_net, slurm_backend, wait_until, options):
    (worker,) = job_net.start_workers(square, n_workers=1, backend=slurm_backend(**options))
    job_net.wait_for_workers(1, timeout=60)
    placement = job_net.placements[worker]
    reach = placement.details["reach"].split()
    subprocess.run(["scancel", "--signal=USR2", *reach, placement.job_id], check=True, timeout=20)
    wait_until(lambda: not job_net.running_worker_ids, 30)
    assert job_net._store.ended_workers()[worker].cut == "signal"
    assert "told to stop by SIGUSR2" in Path(placement.stderr).read_text()


def test_a_worker_of_a_job_that_finds_nothing_to_do_ends_itself(job_net, slurm_backend, wait_until):
    (worker,) = job_net.start_workers(square, n_workers=1, backend=slurm_backend(), idle_timeout=2)
    job_net.wait_for_workers(1, timeout=60)
    wait_until(lambda: status(job_net, worker).reason == "COMPLETED: the job has ended", 60)
    assert job_net.running_worker_ids == []


def holders(net, worker):
    folder = Path(net.placements[worker].details["folder"])
    secret = net.config.password.encode()
    return [path.name for path in folder.iterdir() if path.is_file() and secret in path.read_bytes()]


def test_secrets_are_gone_when_a_worker_has_read_them(job_net, job_backend):
    (worker,) = job_net.start_workers(square, n_workers=1, backend=job_backend())
    job_net.wait_for_workers(1, timeout=60)
    assert holders(job_net, worker) == []


def test_secrets_of_a_job_that_never_began_go_with_it(job_net, slurm_backend):
    (worker,) = job_net.start_workers(square, n_workers=1, backend=slurm_backend(partition="closed"))
    assert holders(job_net, worker) == ["secrets-0.once"]
    job_net.stop_workers("kill")
    assert holders(job_net, worker) == []


def test_secrets_of_a_job_that_may_start_again_stay_until_it_has_ended(job_net, slurm_backend, wait_until):
    (worker,) = job_net.start_workers(square, n_workers=1, backend=slurm_backend(extra={"requeue": True}))
    job_net.wait_for_workers(1, timeout=60)
    assert holders(job_net, worker) == ["secrets-0"]
    job_net.stop_workers("terminate")
    wait_until(lambda: status(job_net, worker).state is PlacementState.ENDED, 60)
    assert holders(job_net, worker) == []
