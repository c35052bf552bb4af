"""PBS on the commands of Torque that Slurm brings along, and rush's plugin for submitit on them."""

import os
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import submitit
from submitit.core import plugins

from rush.backends.pbs.backend import PBS
from rush.backends.pbs.executor import PBSExecutor
from rush.backends.pbs.states import Dialect, find_dialect
from rush.errors import BackendError
from rush.model import PlacementState
from tests.backends.bare_jobs import DRAIN, backends, output, start, state

pytestmark = [pytest.mark.scheduler, pytest.mark.slow]


@pytest.fixture
def pbs(cluster, tmp_path):
    with backends(PBS, tmp_path) as make:
        yield make


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Let jobs find the plugin, also where the tests run from the source folder and rush is not installed."""
    folder = tmp_path / "site"
    if not any(point.value.startswith("rush.") for point in entry_points(group="submitit")):
        plugin = folder / "plugin-1.dist-info"
        plugin.mkdir(parents=True)
        (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
        module = "rush.backends.pbs.executor"
        points = f"executor = {module}:PBSExecutor\njob_environment = {module}:PBSJobEnvironment\n"
        (plugin / "entry_points.txt").write_text(f"[submitit]\n{points}")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{Path.cwd()}:{os.environ.get('PYTHONPATH', '')}")
    for cached in (plugins._get_plugins, plugins.get_executors, plugins.get_job_environments):
        cached.cache_clear()


def test_a_slurm_site_is_not_taken_for_pbs(cluster, installed):
    assert "pbs" in plugins.get_executors()
    assert find_dialect() is Dialect.WRAPPER
    assert PBSExecutor.affinity() < 0
    assert submitit.AutoExecutor.which() == "slurm"


def test_jobs_run_and_end(pbs, wait_until):
    backend = pbs(time=5, cpus=2, setup=["echo starting >&2"])
    placed = start(backend, "import sys; print('I am', sys.argv[1])", 3)
    wait_until(lambda: all(state(backend, p) is PlacementState.ENDED for p in placed), 60)
    assert [output(p) for p in placed] == [f"I am {n}\n" for n in range(3)]
    assert backend.tail(placed[0]) == "starting\n"


def test_a_stop_lets_the_supervisor_drain(pbs, wait_until):
    backend = pbs()
    (placement,) = start(backend, DRAIN)
    wait_until(lambda: "ready" in output(placement), 30)
    assert state(PBS(), placement) is PlacementState.RUNNING
    backend.stop([placement], kill=False)
    wait_until(lambda: state(backend, placement) is PlacementState.ENDED, 30)
    assert "drained" in output(placement)


def test_a_waiting_job_is_pending_and_is_deleted_by_a_stop(pbs, wait_until):
    backend = pbs(queue="closed")
    (placement,) = start(backend, "pass")
    assert state(backend, placement) is PlacementState.PENDING
    backend.stop([placement], kill=False)
    wait_until(lambda: state(backend, placement) is PlacementState.ENDED, 30)


def test_what_qsub_refuses_is_an_error_with_its_words(pbs):
    with pytest.raises(BackendError, match="invalid partition specified: nowhere"):
        start(pbs(queue="nowhere"), "pass")


def test_submitit_runs_functions_through_the_plugin(cluster, installed, tmp_path, wait_until):
    executor = submitit.AutoExecutor(tmp_path, cluster="pbs")
    executor.update_parameters(timeout_min=5, name="sum", cpus_per_task=2, pbs_setup=["export GREETING=hello"])
    good, bad, greeting = (
        executor.submit(sum, [1, 2, 3]),
        executor.submit(int, "x"),
        executor.submit(os.getenv, "GREETING"),
    )
    wait_until(lambda: all(job.done(force_check=True) for job in (good, bad, greeting)), 60)
    assert (good.result(), greeting.result()) == (6, "hello")
    with pytest.raises(submitit.core.utils.FailedJobError, match="invalid literal"):
        bad.result()


def test_submitits_arrays_work_through_the_plugin(cluster, installed, tmp_path, wait_until):
    executor = submitit.AutoExecutor(tmp_path, cluster="pbs")
    executor.update_parameters(timeout_min=5)
    jobs = executor.map_array(abs, [-1, -2])
    wait_until(lambda: all(job.done(force_check=True) for job in jobs), 60)
    assert [job.result() for job in jobs] == [1, 2]


def test_a_job_of_submitit_that_is_cancelled_has_ended(cluster, installed, tmp_path, wait_until):
    executor = submitit.AutoExecutor(tmp_path, cluster="pbs")
    executor.update_parameters(timeout_min=5, pbs_queue="closed")
    job = executor.submit(sum, [1])
    assert not job.done(force_check=True)
    job.cancel()
    wait_until(lambda: job.done(force_check=True), 30)
