"""Workers of jobs that were cut short, or held back, are submitted again: by their manager, or from any other shell."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rush import Rush
from rush.cli.main import main
from rush.manager import keeping
from rush.model import PlacementState
from tests.backends.job_networks import square

pytestmark = [pytest.mark.scheduler, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    monkeypatch.setattr(keeping, "PERIOD", 0.5)
    monkeypatch.setattr(keeping, "RETRY", 1.0)


def hold(worker):
    """Make tasks of its own for as long as it may."""
    while not worker.terminated:
        (key,) = worker.push_running_tasks([{"x": 1}])
        time.sleep(0.2)
        worker.finish_tasks([key], [{"y": 1}])


def once(worker):
    task = worker.pop_task(timeout=20)
    worker.finish_tasks([task.key], [{"y": 1}])


def reasons(net):
    return net.worker_info.set_index("worker_id")["reason"]


def has_ended(net, placement):
    return net._backend_of(placement).poll([placement])[placement.id].state is PlacementState.ENDED


def others(net, worker):
    return [name for name in net.worker_ids if name != worker]


def test_a_worker_that_stopped_before_its_limit_comes_again_until_it_may_no_more(job_net, job_backend, wait_until):
    backend = job_backend(resubmit=True, max_resubmits=1)
    (first,) = job_net.start_workers(square, n_workers=1, backend=backend, time_limit=6, nap=0.1)
    keys = job_net.push_tasks([{"x": n} for n in range(1000)])
    wait_until(lambda: len(job_net.worker_ids) == 2, 60)
    (second,) = others(job_net, first)
    assert job_net.placements[first].details["next"] == job_net.placements[second].id
    assert job_net.wait_for_tasks(keys, timeout=60) is False
    assert len(job_net.worker_ids) == 2
    assert job_net.n_finished_tasks > 0
    assert job_net.n_failed_tasks == 0


def test_a_worker_whose_loop_returned_does_not_come_again(job_net, job_backend, wait_until):
    backend = job_backend(resubmit=True)
    (worker,) = job_net.start_workers(once, n_workers=1, backend=backend)
    job_net.push_tasks([{"x": n} for n in range(2)])
    job_net.wait_for_workers(1, timeout=60)
    wait_until(lambda: has_ended(job_net, job_net.placements[worker]), 60)
    assert job_net.keep_workers() == []
    assert job_net.worker_ids == [worker]
    assert job_net.n_queued_tasks == 1


def test_without_work_a_worker_that_was_cut_short_does_not_come_again(job_net, slurm_backend, wait_until):
    job_net.start_workers(square, n_workers=1, backend=slurm_backend(resubmit=True), time_limit=2)
    job_net.wait_for_workers(1, timeout=60)
    wait_until(lambda: not job_net.running_worker_ids, 30)
    (placement,) = job_net._store.placements()
    wait_until(lambda: has_ended(job_net, placement), 30)
    assert job_net.keep_workers() == []
    job_net.push_tasks([{"x": 1}])
    wait_until(lambda: job_net.n_finished_tasks == 1, 60)


def test_a_job_that_slurm_ends_at_its_limit_is_followed_by_another(job_net, slurm_backend, wait_until):
    (first,) = job_net.start_workers(hold, n_workers=1, backend=slurm_backend(resubmit=True, time=10))
    job_net.wait_for_workers(1, timeout=60)
    wait_until(lambda: job_net.n_finished_tasks > 2, 20)
    job = job_net.placements[first].job_id
    subprocess.run(["scontrol", "update", f"JobId={job}", "EndTime=now+2"], check=True, timeout=20)
    wait_until(lambda: len(job_net.running_worker_ids) == 1 and others(job_net, first), 90)
    (placement,) = [p for p in job_net._store.placements() if first in p.worker_ids]
    backend = job_net._backend_of(placement)
    assert backend.poll([placement])[placement.id].reason.startswith("TIMEOUT")


def test_a_preempted_worker_comes_again_when_there_is_room(job_net, slurm_backend, wait_until):
    (first,) = job_net.start_workers(hold, n_workers=1, backend=slurm_backend(resubmit=True, partition="low"))
    job_net.wait_for_workers(1, timeout=60)
    words = ["sbatch", "--parsable", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 100"]
    urgent = subprocess.run(words, check=True, timeout=20, capture_output=True, text=True).stdout.strip()
    try:
        wait_until(lambda: any(p.job_id and not set(p.worker_ids) & {first} for p in job_net._store.placements()), 60)
        assert "told to stop by SIGTERM" in reasons(job_net)[first] or "returned" in reasons(job_net)[first]
    finally:
        subprocess.run(["scancel", "--signal=KILL", urgent], check=True, timeout=20)
    wait_until(lambda: others(job_net, first), 60)


def test_a_cancelled_worker_does_not_come_again(job_net, slurm_backend, wait_until):
    (worker,) = job_net.start_workers(hold, n_workers=1, backend=slurm_backend(resubmit=True))
    job_net.wait_for_workers(1, timeout=60)
    subprocess.run(["scancel", job_net.placements[worker].job_id], check=True, timeout=20)
    wait_until(lambda: job_net.placements[worker].details.get("next") == "", 60)
    assert len(job_net._store.placements()) == 1


def test_what_a_limit_holds_back_is_submitted_when_there_is_room(job_net, slurm_backend, wait_until):
    backend = slurm_backend(qos="few", submit_timeout=0)
    names = job_net.start_workers(once, n_workers=4, backend=backend)
    assert len(names) == 4
    job_net.wait_for_workers(2, timeout=60)
    held = [reason for reason in reasons(job_net) if str(reason).startswith("held back")]
    assert len(held) == 2
    assert "MaxSubmitJob" in held[0]
    keys = job_net.push_tasks([{"x": n} for n in range(4)])
    assert job_net.wait_for_tasks(keys, timeout=90)
    assert set(job_net.worker_ids) == set(names)


def test_a_stop_ends_what_is_held_back_and_what_would_come_again(job_net, slurm_backend, wait_until):
    backend = slurm_backend(qos="few", submit_timeout=0, resubmit=True)
    job_net.start_workers(square, n_workers=3, backend=backend)
    job_net.wait_for_workers(2, timeout=60)
    job_net.push_tasks([{"x": 1}])
    job_net.stop_workers("kill")
    assert job_net.keep_workers() == []
    assert not job_net._has_pending_workers()
    stopped = [reason for reason in reasons(job_net) if reason == "it was stopped before it was submitted"]
    assert len(stopped) == 1


MANAGER = """
import sys
from rush import Rush
from rush.backends.registry import backend_class
from tests.backends.job_networks import square

network, url, name, folder, setup = sys.argv[1:]
net = Rush(network, url)
backend = backend_class(name)(folder=folder, python=sys.executable, setup=[setup], resubmit=True)
net.start_workers(square, n_workers=1, backend=backend, time_limit=24, nap=0.1)
net.push_tasks([{"x": n} for n in range(2000)])
net.wait_for_workers(1, timeout=60)
print("started", flush=True)
net.wait_for_tasks(net.tasks)
"""


def test_from_another_shell_workers_are_kept_listed_and_stopped(
    job_net, job_backend, config, tmp_path, capsys, wait_until
):
    backend = job_backend()
    words = [
        sys.executable,
        "-c",
        MANAGER,
        job_net.network_id,
        config.url,
        backend.name,
        str(tmp_path),
        backend.setup[0],
    ]

    def rush(verb, *options):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["worker", verb, job_net.network_id, "--url", config.url, *options])
        assert ended.value.code == 0
        return capsys.readouterr().out

    manager = subprocess.Popen(words, stdout=subprocess.PIPE, cwd=Path.cwd())
    assert manager.stdout.readline() == b"started\n"
    manager.kill()
    manager.wait()
    manager.stdout.close()
    wait_until(lambda: not job_net.running_worker_ids, 60)

    def kept():
        return json.loads(rush("keep", "--once", "--output", "json"))["submitted"]

    found = []
    wait_until(lambda: found.extend(kept()) or found, 60)
    wait_until(lambda: found[0] in job_net.running_worker_ids, 60)
    listed = {row["worker_id"]: row["state"] for row in json.loads(rush("list", "--output", "json"))}
    assert listed[found[0]] == "running"
    assert found[0] in rush("stop")
    wait_until(lambda: not job_net.running_worker_ids, 30)
    assert kept() == []


def test_a_manager_that_leaves_ends_the_successors_too(network_id, config, slurm_backend, wait_until):
    with Rush(network_id, config) as net:
        (first,) = net.start_workers(hold, n_workers=1, backend=slurm_backend(resubmit=True), time_limit=4)
        wait_until(lambda: others(net, first), 90)
    assert not net.running_worker_ids
    wait_until(lambda: all(has_ended(net, placement) for placement in net._store.placements()), 90)
    net.reset()
