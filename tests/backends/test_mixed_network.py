"""One network over several backends at once, each with a loop of its own."""

import logging
import sys
from pathlib import Path

import pytest

from rush import Rush
from rush.backends import SSH, Dask, Local, Slurm

pytestmark = [pytest.mark.scheduler, pytest.mark.slow]

SOURCE = f"export PYTHONPATH={Path.cwd()}:$PYTHONPATH"


def double(worker):
    for task in worker.tasks(timeout=None):
        task.finish({"y": 2 * task.xs["x"], "by": "double"})


def square(worker, offset):
    while not worker.terminated:
        task = worker.pop_task(timeout=0.5)
        if task is not None:
            worker.finish_tasks([task.key], [{"y": task.xs["x"] ** 2 + offset, "by": "square"}])


def propose(worker):
    n = 0
    while not worker.terminated:
        if worker.n_queued_tasks < 5:
            worker.push_tasks([{"x": n}])
            n += 1


def best(worker):
    import time

    while not worker.terminated:
        found = worker.fetch_finished_tasks()
        if len(found):
            worker.write_hashes(keys=["best"], y=float(found["y"].max()))
        time.sleep(0.1)


@pytest.fixture
def dask_cluster():
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, dashboard_address=":0", silence_logs=logging.CRITICAL) as made:
        yield made


@pytest.fixture
def net(network_id, config):
    manager = Rush(network_id, config)
    yield manager
    manager.reset()


def test_groups_on_four_backends_share_one_network_and_each_is_stopped_alone(
    net, cluster, dask_cluster, start_sshd, ssh_config, tmp_path, wait_until
):
    hosts = ssh_config(start_sshd("alpha").block("alpha"))
    slurm = Slurm(folder=str(tmp_path / "slurm"), python=sys.executable, setup=[SOURCE])
    ssh = SSH(["alpha"], config=hosts, folder=str(tmp_path / "ssh"), setup=[SOURCE])
    groups = {
        "slurm": net.start_workers(square, n_workers=2, backend=slurm, offset=0.5),
        "ssh": net.start_workers(double, n_workers=2, backend=ssh),
        "dask": net.start_workers(best, n_workers=1, backend=Dask(dask_cluster)),
        "local": net.start_workers(propose, n_workers=1, backend=Local()),
    }
    everyone = {worker for group in groups.values() for worker in group}
    net.wait_for_workers(worker_ids=sorted(everyone), timeout=60)
    info = net.worker_info.set_index("worker_id")["backend"]
    assert {name: {info[worker] for worker in group} for name, group in groups.items()} == {n: {n} for n in groups}

    def finished():
        found = net.fetch_finished_tasks()
        return found if len(found) else None

    wait_until(lambda: finished() is not None and {*finished()["worker_id"]} == {*groups["slurm"], *groups["ssh"]}, 30)
    wait_until(lambda: net.read_hash("best", ["y"]), 30)
    shown = finished()
    assert (
        shown["y"] == shown["x"].where(shown["by"] == "square", 2).mul(shown["x"]).add(0.5 * (shown["by"] == "square"))
    ).all()

    left = set(everyone)
    for name, kind in (("slurm", "terminate"), ("local", "kill"), ("dask", "kill"), ("ssh", "terminate")):
        net.stop_workers(kind, groups[name])
        left -= {*groups[name]}
        wait_until(lambda: {*net.running_worker_ids} == left, 30)  # noqa: B023 - waited for at once
        before = net.n_finished_tasks
        if name == "slurm":
            wait_until(lambda: net.n_finished_tasks > before + 5, 30)  # noqa: B023 - as above
    assert set(net.worker_info["state"]) == {"terminated"}
    assert net.n_failed_tasks == net.n_running_tasks == 0
