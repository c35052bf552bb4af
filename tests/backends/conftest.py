"""Real sshds, for the tests that ask for them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rush.backends.ssh_links import close_links
from rush.backends.ssh_tunnel import close_tunnels
from tests.backends import sshd
from tests.backends.sshd import Sshd


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
