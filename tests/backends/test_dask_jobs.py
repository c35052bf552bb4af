"""Dask clusters made of jobs of a real Slurm, by dask-jobqueue."""

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import dask.config
import psutil
import pytest

from rush import Rush
from rush.backends.dask.backend import Dask
from rush.backends.jobs import programs as job_programs
from rush.errors import BackendError
from rush.model import PlacementState

pytestmark = [pytest.mark.scheduler, pytest.mark.slow]

SOURCE = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Torque's commands leave the output of dask-jobqueue's jobs where they were submitted."""
    monkeypatch.chdir(tmp_path)


def square(worker):
    while not worker.terminated:
        task = worker.pop_task(timeout=0.5)
        if task is not None:
            worker.finish_tasks([task.key], [{"y": task.xs["x"] ** 2, "left": worker.remaining_time}])


@pytest.fixture
def net(network_id, config):
    manager = Rush(network_id, config)
    yield manager
    manager.reset()


def options(tmp_path, **changes):
    return {
        "job_name": name_of(tmp_path),
        "cores": 1,
        "processes": 1,
        "memory": "1GB",
        "walltime": "00:10:00",
        "interface": "lo",
        "death_timeout": 30,
        "local_directory": str(tmp_path),
        "log_directory": str(tmp_path),
        "scheduler_options": {"dashboard_address": ":0"},
        "job_script_prologue": [f"export PYTHONPATH={SOURCE}:$PYTHONPATH"],
    } | changes


def name_of(tmp_path):
    """Name a test's jobs: other test processes may use the same Slurm."""
    return f"dask-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:10]}"


def jobs_of(tmp_path):
    return set(job_programs.run(["squeue", "-h", "-o", "%i", "--name", name_of(tmp_path)]).stdout.split())


KINDS = {"slurm": {"job_mem": "100MB"}, "pbs": {"resource_spec": "select=1:ncpus=1"}}


@pytest.mark.parametrize("kind", KINDS)
def test_a_cluster_is_built_of_jobs_and_closed_at_the_end(net, cluster, tmp_path, kind, monkeypatch, wait_until):
    monkeypatch.setenv("RUSH_SIGNING_KEY", "ab" * 32)
    with Dask(cluster=kind, jobs=2, options=options(tmp_path, **KINDS[kind]), folder=str(tmp_path)) as backend:
        workers = net.start_workers(square, n_workers=4, backend=backend)
        net.wait_for_workers(worker_ids=workers, timeout=60)
        assert len(jobs_of(tmp_path)) == 2
        assert len({place.id for place in net.placements.values()}) == 2
        keys = net.push_tasks([{"x": n} for n in range(20)])
        assert net.wait_for_tasks(keys, timeout=30)
        assert net.fetch_finished_tasks()["left"].between(1, 601).all()
        for place in net.placements.values():
            assert "RUSH_SIGNING_KEY" not in psutil.Process(place.pid).environ()
    wait_until(lambda: not net.running_worker_ids, 30)
    assert set(net.worker_info["state"]) == {"terminated"}
    wait_until(lambda: not jobs_of(tmp_path), 30)


def test_a_job_that_is_cancelled_loses_its_workers_and_the_others_go_on(net, cluster, tmp_path, wait_until):
    with Dask(cluster="slurm", jobs=2, options=options(tmp_path, job_mem="100MB"), folder=str(tmp_path)) as backend:
        net.start_workers(square, n_workers=2, backend=backend)
        net.wait_for_workers(2, timeout=60)
        first, _ = sorted(jobs_of(tmp_path))
        job_programs.run(["scancel", "--signal=KILL", "--full", first])
        wait_until(lambda: len(net.running_worker_ids) == 1, 30)
        (key,) = net.push_tasks([{"x": 3}])
        assert net.wait_for_tasks([key], timeout=30)

        def states():
            return sorted(backend.poll([place])[place.id].state for place in net.placements.values())

        wait_until(lambda: states() == [PlacementState.ENDED, PlacementState.RUNNING], 30)


def test_options_come_from_dasks_own_configuration(cluster, tmp_path):
    ours = {name.replace("_", "-"): value for name, value in options(tmp_path, queue="debug").items()}
    with dask.config.set({f"jobqueue.slurm.{name}": value for name, value in ours.items()}):
        text = Dask(cluster="slurm").preview([])
    assert "#SBATCH -p debug" in text
    assert "#SBATCH -t 00:10:00" in text
    assert "RUSH_JOB_END_TIME=$(($(date +%s) + 600))" in text


def test_a_refused_job_is_an_error_with_the_job_systems_words(cluster, tmp_path):
    wrong = options(tmp_path, job_extra_directives=["--partition=nowhere"], job_mem="100MB")
    with pytest.raises(BackendError, match="invalid partition"):
        Dask(cluster="slurm", options=wrong).shares(1)


def test_jobs_that_wait_are_an_error_after_a_while(cluster, tmp_path):
    waiting = options(tmp_path, queue="closed", job_mem="100MB")
    with (
        Dask(cluster="slurm", options=waiting, wait=3) as backend,
        pytest.raises(BackendError, match=r"0 of 1 Dask worker\(s\) were there after 3 s"),
    ):
        backend.shares(1)


MANAGER = """
import os, pickle, sys, time
from rush.backends.dask.backend import Dask
from rush.model import WorkerCommand

if __name__ == "__main__":
    backend = Dask(cluster="slurm", options=pickle.loads(bytes.fromhex(sys.argv[1])))
    wait = "import sys; sys.stdin.readline(); sys.stdin.read()"
    (placement,) = backend.start([WorkerCommand("net", ("w1",), ("-c", wait), b"secret")])
    print(placement.pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["returns", "is killed"])
def test_a_manager_takes_the_cluster_that_it_built_along(cluster, tmp_path, wait_until, end):
    given = pickle.dumps(options(tmp_path, job_mem="100MB")).hex()
    command = [sys.executable, "-c", MANAGER, given]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as manager:
        supervisor = psutil.Process(int(manager.stdout.readline()))
        if end == "is killed":
            manager.kill()
    wait_until(lambda: not supervisor.is_running() or supervisor.status() == psutil.STATUS_ZOMBIE, 20)
    wait_until(lambda: not jobs_of(tmp_path), 60)
