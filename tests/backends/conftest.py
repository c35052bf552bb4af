"""The real Slurm, for the tests that ask for it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends import slurm_cluster


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Path]:
    if lacking := slurm_cluster.missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"no Slurm: {lacking}")
        pytest.skip(f"no Slurm: {lacking}")
    with slurm_cluster.in_use() as config:
        yield config


@pytest.fixture
def cluster(_cluster: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make this process a user of the real Slurm; give its configuration."""
    monkeypatch.setenv("SLURM_CONF", str(_cluster))
    return _cluster
