"""Rush's own backends pass the tests that it gives to those who write others."""

import logging
import sys
from pathlib import Path

import pytest

import rush
from rush import Rush
from rush.backends import Local, find_backend, registry
from rush.testing import BackendContract

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SOURCE = f"export PYTHONPATH={Path.cwd()}:$PYTHONPATH"


class Contract(BackendContract):
    @pytest.fixture
    def net(self, network_id, config):
        return Rush(network_id, config)


class TestLocal(Contract):
    @pytest.fixture
    def backend(self, tmp_path):
        return Local(folder=str(tmp_path))


@pytest.fixture(scope="module")
def dask_cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, dashboard_address=":0", silence_logs=logging.CRITICAL
    ) as cluster:
        yield cluster


class TestExample(Contract):
    @pytest.fixture
    def backend(self, monkeypatch):
        monkeypatch.syspath_prepend(EXAMPLES)
        from nice_backend import Nice

        monkeypatch.setattr(registry, "_registered", {})
        rush.register_backend("nice", Nice)
        return find_backend("nice")


@pytest.mark.slow
class TestSSH(Contract):
    @pytest.fixture(params=["paramiko", "openssh"])
    def backend(self, request, start_sshd, ssh_config, tmp_path):
        from rush.backends import SSH

        config = ssh_config(start_sshd("alpha").block("alpha"))
        return SSH("alpha", config=config, folder=str(tmp_path / "out"), client=request.param)


@pytest.mark.slow
class TestDask(Contract):
    @pytest.fixture
    def backend(self, dask_cluster, tmp_path):
        from rush.backends import Dask

        return Dask(dask_cluster, folder=str(tmp_path))


@pytest.mark.slow
@pytest.mark.scheduler
class TestJobs(Contract):
    @pytest.fixture(params=["slurm", "pbs"])
    def backend(self, request, cluster, tmp_path):
        from rush.backends import PBS, Slurm

        kind = {"slurm": Slurm, "pbs": PBS}[request.param]
        return kind(folder=str(tmp_path), python=sys.executable, setup=[SOURCE], workers_per_job=2, gpus=0)
