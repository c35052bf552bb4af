"""Whole networks whose workers are jobs of a real Slurm."""

import sys
import time
from pathlib import Path

import pytest

from rush import Rush
from rush.backends.slurm.backend import Slurm
from rush.errors import WorkerStartError
from tests.backends.job_networks import square

pytestmark = [pytest.mark.scheduler, pytest.mark.slow]


def test_workers_as_jobs_share_the_tasks(job_net, job_backend):
    workers = job_net.start_workers(square, n_workers=4, backend=job_backend(workers_per_job=2))
    job_net.wait_for_workers(4, timeout=60)
    assert set(job_net.running_worker_ids) == set(workers)
    keys = job_net.push_tasks([{"x": n} for n in range(20)])
    assert job_net.wait_for_tasks(keys, timeout=30)
    assert sorted(job_net.fetch_finished_tasks()["y"]) == [n**2 for n in range(20)]


def test_workers_end_when_they_are_told(job_net, job_backend, wait_until):
    job_net.start_workers(square, n_workers=1, backend=job_backend())
    job_net.wait_for_workers(1, timeout=60)
    job_net.stop_workers("terminate")
    wait_until(lambda: not job_net.running_worker_ids, 30)


def test_a_job_that_fails_before_its_worker_registers_speaks(job_net, job_backend):
    job_net.start_workers(square, n_workers=1, backend=job_backend(setup=["echo no such module: torch >&2", "exit 4"]))
    with pytest.raises(WorkerStartError, match="no such module: torch"):
        job_net.wait_for_workers(1, timeout=60)


def test_a_job_that_waits_is_shown_with_its_reason(job_net, job_backend):
    closed = {"partition": "closed"} if isinstance(job_backend(), Slurm) else {"queue": "closed"}
    (worker,) = job_net.start_workers(square, n_workers=1, backend=job_backend(**closed))
    row = job_net.worker_info.set_index("worker_id").loc[worker]
    assert row["state"] == "pending"
    assert "waits in the queue" in row["reason"]


def test_a_cancelled_job_hands_its_task_back(job_net, job_backend, wait_until):
    def hold(worker):
        worker.pop_task(timeout=None)
        while True:
            time.sleep(0.1)

    job_net.start_workers(
        hold, n_workers=1, backend=job_backend(), heartbeat_period=0.5, heartbeat_expire=3, grace_period=1
    )
    job_net.wait_for_workers(1, timeout=60)
    job_net.push_tasks([{"x": 1}])
    wait_until(lambda: job_net.n_running_tasks == 1, 20)
    (placement,) = job_net._store.placements()
    job_net._backend_of(placement).stop([placement], kill=False)
    wait_until(lambda: not job_net.running_worker_ids, 30)
    assert job_net.n_queued_tasks == 1


def test_workers_stop_in_time_before_the_jobs_limit(job_net, cluster, tmp_path, wait_until):
    setup = [f"export PYTHONPATH={Path.cwd()}:$PYTHONPATH"]
    backend = Slurm(folder=str(tmp_path), python=sys.executable, setup=setup, time=1)
    (worker,) = job_net.start_workers(square, n_workers=1, backend=backend)
    job_net.wait_for_workers(1, timeout=30)
    wait_until(lambda: not job_net.running_worker_ids, 50)
    placement = job_net.placements[worker]
    wait_until(lambda: backend.poll([placement])[placement.id].reason == "COMPLETED: the job has ended", 20)


def test_another_manager_sees_and_stops_the_jobs(job_net, job_backend, config, network_id, wait_until):
    job_net.start_workers(square, n_workers=2, backend=job_backend())
    job_net.wait_for_workers(2, timeout=60)
    other = Rush(network_id, config)
    other.stop_workers("kill")
    assert not other.running_worker_ids


@pytest.mark.parametrize("kind", ["slurm", "pbs"])
def test_a_job_script_by_hand_is_ready_to_be_submitted(job_net, cluster, kind):
    script = job_net.worker_script(square, template=kind)
    assert f"--network {job_net.network_id}" in script
    assert job_net.config.password not in script
    assert "/FOLDER" not in script
    assert "{{" not in script
