"""Where a server listens on hosts with real interfaces of their own."""

import subprocess
import sys

import pytest

from rush.config import RedisConfig
from rush.server import running_server
from rush.server.probe import probe

RUSH = "from rush.cli.main import main; main()"


@pytest.fixture
def host(neighbourhood):
    (found,) = neighbourhood(1).hosts
    yield found
    on(found, "server", "stop")


def on(host, *words):
    command = host.command(sys.executable, "-c", RUSH, *words)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def readdress(host, address):
    for words in (("flush", "dev", "eth0"), ("add", f"{address}/24", "dev", "eth0")):
        subprocess.run(["ip", "-n", host.name, "addr", *words], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("bind", ["auto", "eth0"])
def test_a_server_on_the_shared_network_is_found_and_reached_from_its_neighbour(host, bind):
    started = on(host, "server", "start", "--bind", bind)
    assert started.returncode == 0, started.stderr
    config = running_server()
    assert config.host == host.address
    assert probe(config).ok
    assert not probe(RedisConfig(port=config.port, password=config.password)).ok


@pytest.mark.slow
def test_auto_takes_no_public_address_of_a_real_interface(host):
    readdress(host, "8.8.4.4")
    refused = on(host, "server", "start", "--bind", "auto")
    assert refused.returncode == 1
    assert "bind auto found no private address" in refused.stderr
    assert "eth0 (8.8.4.4)" in refused.stderr
    asked = on(host, "server", "start", "--bind", "eth0")
    assert asked.returncode == 0
    assert "8.8.4.4, a public address" in asked.stderr


@pytest.mark.slow
def test_a_server_on_loopback_says_on_its_neighbour_how_to_move_it(host):
    assert on(host, "server", "start").returncode == 0
    with pytest.raises(ConnectionError, match=rf"runs on host {host.name} and listens only on loopback.*--bind auto"):
        running_server()
