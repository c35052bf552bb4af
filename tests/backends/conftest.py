"""Real sshds, Slurms, and networks on their jobs, for the tests that ask for them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rush import Rush
from rush.backends.jobs.system import JobSystem
from rush.backends.ssh.links import close_links
from rush.backends.ssh.tunnel import close_tunnels
from rush.config import RedisConfig
from tests.backends import slurm_cluster, sshd
from tests.backends.job_networks import make_backend
from tests.backends.sshd import Sshd
from tests.conftest import need_slurm
from tests.namespaces import Neighbourhood


@pytest.fixture
def start_sshd(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Start sshds that belong to one test: ``start_sshd("alpha", settings={"MaxSessions": "1"})``."""
    if lacking := sshd.missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"no sshd: {lacking}")
        pytest.skip(f"no sshd: {lacking}")
    started: list[Sshd] = []

    def start(name: str = "alpha", **options: Any) -> Sshd:
        daemon = Sshd(tmp_path / f"sshd-{name}", **options)
        daemon.start()
        started.append(daemon)
        return daemon

    yield start
    close_tunnels()
    close_links()
    for daemon in started:
        daemon.stop()


@pytest.fixture
def ssh_config(tmp_path: Path) -> Callable[..., str]:
    """Write an SSH configuration of these blocks and give its path."""

    def write(*blocks: str) -> str:
        path = tmp_path / "ssh_config"
        path.write_text("\n".join(blocks))
        return str(path)

    return write


@pytest.fixture(scope="session")
def _plain_cluster() -> Iterator[Path]:
    need_slurm()
    with slurm_cluster.PLAIN.in_use() as config:
        yield config


@pytest.fixture
def plain_cluster(_plain_cluster: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make this process a user of the real Slurm that keeps no accounts; give its configuration."""
    monkeypatch.setenv("SLURM_CONF", str(_plain_cluster))
    return _plain_cluster


@pytest.fixture
def scattered_cluster(
    neighbourhood: Callable[[int], Neighbourhood], monkeypatch: pytest.MonkeyPatch
) -> Iterator[slurm_cluster.Cluster]:
    """Give a real Slurm of the test's own, without accounting, with each of its two nodes on a host that can be cut off."""
    need_slurm()
    around = neighbourhood(2)
    cluster = slurm_cluster.Cluster(Path("/tmp", around.hosts[0].name), accounting=False, around=around)
    monkeypatch.setenv("SLURM_CONF", str(cluster.config))
    with cluster.running():
        yield cluster


@pytest.fixture(params=["slurm", "pbs"])
def job_backend(request: pytest.FixtureRequest, cluster: Path, tmp_path: Path) -> Callable[..., JobSystem]:
    """Make backends on the real Slurm: its own, and PBS on the commands of Torque that it brings along."""
    return make_backend(request.param, tmp_path)


@pytest.fixture
def slurm_backend(cluster: Path, tmp_path: Path) -> Callable[..., JobSystem]:
    """Make Slurm backends on the real Slurm."""
    return make_backend("slurm", tmp_path)


@pytest.fixture
def job_net(network_id: str, config: RedisConfig) -> Iterator[Rush]:
    """Give a network whose jobs are ended after the test."""
    manager = Rush(network_id, config)
    yield manager
    manager.stop_workers("kill")
    for placement in manager._store.placements():
        if placement.job_id and (backend := manager._backend_of(placement)) is not None:
            backend.stop([placement], kill=True)
    manager.reset()
