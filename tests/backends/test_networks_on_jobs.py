"""Whole networks whose workers are jobs of a real Slurm."""

import sys
import time
from pathlib import Path

import pytest

from rush import Rush
from rush.backends.pbs import PBS
from rush.backends.slurm import Slurm
from rush.errors import WorkerStartError

pytestmark = [pytest.mark.scheduler, pytest.mark.slow]


def square(worker):
    while not worker.terminated:
        task = worker.pop_task(timeout=0.5)
        if task is not None:
            worker.finish_tasks([task.key], [{"y": task.xs["x"] ** 2}])


@pytest.fixture(params=["slurm", "pbs"])
def backend(request, cluster, tmp_path):
    kind = {"slurm": Slurm, "pbs": PBS}[request.param]
    source = f"export PYTHONPATH={Path.cwd()}:$PYTHONPATH"
    return lambda **options: kind(**{"folder": str(tmp_path), "python": sys.executable, "setup": [source]} | options)


@pytest.fixture
def net(network_id, config, wait_until):
    manager = Rush(network_id, config)
    yield manager
    manager.stop_workers("kill")
    placed = manager._store.placements()
    for placement in placed:
        manager._backend_of(placement).stop([placement], kill=True)
    manager.reset()


def test_workers_as_jobs_share_the_tasks(net, backend):
    workers = net.start_workers(square, n_workers=4, backend=backend(workers_per_job=2))
    net.wait_for_workers(4, timeout=60)
    assert set(net.running_worker_ids) == set(workers)
    keys = net.push_tasks([{"x": n} for n in range(20)])
    assert net.wait_for_tasks(keys, timeout=30)
    assert sorted(net.fetch_finished_tasks()["y"]) == [n**2 for n in range(20)]


def test_workers_end_when_they_are_told(net, backend, wait_until):
    net.start_workers(square, n_workers=1, backend=backend())
    net.wait_for_workers(1, timeout=60)
    net.stop_workers("terminate")
    wait_until(lambda: not net.running_worker_ids, 30)


def test_a_job_that_fails_before_its_worker_registers_speaks(net, backend):
    net.start_workers(square, n_workers=1, backend=backend(setup=["echo no such module: torch >&2", "exit 4"]))
    with pytest.raises(WorkerStartError, match="no such module: torch"):
        net.wait_for_workers(1, timeout=60)


def test_a_job_that_waits_is_shown_with_its_reason(net, backend):
    closed = {"partition": "closed"} if isinstance(backend(), Slurm) else {"queue": "closed"}
    (worker,) = net.start_workers(square, n_workers=1, backend=backend(**closed))
    row = net.worker_info.set_index("worker_id").loc[worker]
    assert row["state"] == "pending"
    assert "waits in the queue" in row["reason"]


def test_a_cancelled_job_hands_its_task_back(net, backend, wait_until):
    def hold(worker):
        worker.pop_task(timeout=None)
        while True:
            time.sleep(0.1)

    net.start_workers(hold, n_workers=1, backend=backend(), heartbeat_period=0.5, heartbeat_expire=3, grace_period=1)
    net.wait_for_workers(1, timeout=60)
    net.push_tasks([{"x": 1}])
    wait_until(lambda: net.n_running_tasks == 1, 20)
    (placement,) = net._store.placements()
    net._backend_of(placement).stop([placement], kill=False)
    wait_until(lambda: not net.running_worker_ids, 30)
    assert net.n_queued_tasks == 1


def test_workers_stop_in_time_before_the_jobs_limit(net, cluster, tmp_path, wait_until):
    setup = [f"export PYTHONPATH={Path.cwd()}:$PYTHONPATH"]
    backend = Slurm(folder=str(tmp_path), python=sys.executable, setup=setup, time=1)
    (worker,) = net.start_workers(square, n_workers=1, backend=backend)
    net.wait_for_workers(1, timeout=30)
    wait_until(lambda: not net.running_worker_ids, 50)
    placement = net.placements[worker]
    wait_until(lambda: backend.poll([placement])[placement.id].reason == "COMPLETED: the job has ended", 20)


def test_another_manager_sees_and_stops_the_jobs(net, backend, config, network_id, wait_until):
    net.start_workers(square, n_workers=2, backend=backend())
    net.wait_for_workers(2, timeout=60)
    other = Rush(network_id, config)
    other.stop_workers("kill")
    assert not other.running_worker_ids


@pytest.mark.parametrize("kind", ["slurm", "pbs"])
def test_a_job_script_by_hand_is_ready_to_be_submitted(net, cluster, kind):
    script = net.worker_script(square, template=kind)
    assert f"--network {net.network_id}" in script
    assert net.config.password not in script
    assert "/FOLDER" not in script
    assert "{{" not in script
