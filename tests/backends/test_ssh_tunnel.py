"""Tunnels: the server reaches hosts that have no route to it, also after the tunnel has broken."""

import json
import logging
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import redis

from rush import RedisConfig
from rush.backends.ssh.backend import SSH
from rush.backends.ssh.config import Target
from rush.backends.ssh.links import _slots, link_to
from rush.backends.ssh.tunnel import through_tunnel
from rush.errors import BackendError
from rush.model import PlacementState, WorkerCommand

PATIENCE = 20


@pytest.fixture
def host(start_sshd):
    return start_sshd("alpha")


@pytest.fixture
def target(host, ssh_config):
    return Target("alpha", ssh_config(host.block("alpha")))


def through(target, config):
    return RedisConfig.from_secret(through_tunnel(target, config.to_secret(), PATIENCE))


def ping(config):
    client = redis.Redis.from_url(config.url, socket_timeout=5, retry=None)
    try:
        return client.ping()
    except redis.ConnectionError:
        return False
    finally:
        client.close()


def test_the_server_is_reached_through_a_port_of_the_host(target, config):
    tunnelled = through(target, config)
    assert tunnelled.port != config.port
    assert replace(tunnelled, host=config.host, port=config.port) == config
    assert ping(tunnelled)


def test_much_goes_through_both_ways(target, config):
    client = redis.Redis.from_url(through(target, config).url)
    value = b"x" * 5_000_000
    client.set("rush:{tunnel}:big", value)
    assert client.get("rush:{tunnel}:big") == value
    client.delete("rush:{tunnel}:big")
    client.close()


def test_a_server_on_a_unix_socket_is_reached_too(target, server):
    config = RedisConfig(unix_socket=str(server.socket_path), password=server.password)
    tunnelled = through(target, config)
    assert tunnelled.unix_socket is None
    assert ping(tunnelled)


def test_a_host_has_one_tunnel_to_a_server(target, config, host):
    assert through(target, config) == through(target, config)
    assert host.log.count("Accepted publickey") == 1


def test_a_tunnel_that_breaks_is_restored_on_the_same_port(target, config, host, wait_until, caplog):
    tunnelled = through(target, config)
    with caplog.at_level(logging.WARNING):
        host.cut()
        wait_until(lambda: "is restored" in caplog.text, 20)
    assert ping(tunnelled)
    assert "alpha" in caplog.text


def test_what_is_left_of_a_broken_tunnel_does_not_keep_its_port(target, config, host, wait_until, caplog):
    """The host's end lives on, as it does when a network drops packets; it still listens on the port."""
    tunnelled = through(target, config)
    (slot,) = [slot for (_, purpose), slot in _slots.items() if purpose]
    wire = slot.link._wire
    deaf = socket.socket(fileno=wire.detach())  # the connection stays open, and nobody reads it
    with caplog.at_level(logging.WARNING):
        slot.link._transport.close()
        wait_until(lambda: "is restored" in caplog.text, 20)
    assert ping(tunnelled)
    deaf.close()


def test_a_server_that_is_away_breaks_no_tunnel(target, start_server, wait_until):
    server = start_server()
    tunnelled = through(target, server.config)
    server.stop()
    assert not ping(tunnelled)
    server.start()
    assert ping(tunnelled)


def test_a_host_that_forwards_nothing_is_an_error_that_names_it(start_sshd, ssh_config, config, tmp_path):
    host = start_sshd("beta", settings={"AllowTcpForwarding": "no"})
    backend = SSH("beta", config=ssh_config(host.block("beta")), folder=str(tmp_path), tunnel=True)
    command = WorkerCommand("net", ("w1",), ("-c", "pass"), config.to_secret())
    with pytest.raises(BackendError, match=r"0 of 1 .*'beta' does not forward"):
        backend.start([command])


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (RedisConfig(cluster=True), "one server"),
        (RedisConfig(sentinels=(("a", 1),), sentinel_service="m"), "one server"),
        (RedisConfig(tls=True), "tls_check_hostname=False"),
    ],
)
def test_what_a_tunnel_cannot_carry_is_refused(config, words):
    with pytest.raises(BackendError, match=words):
        through_tunnel(Target("nohost.invalid"), config.to_secret(), PATIENCE)


def test_workers_are_told_of_the_tunnel(target, config, host, tmp_path, wait_until):
    backend = SSH("alpha", config=target.config, folder=str(tmp_path / "out"), tunnel=True)
    assert backend.reaches_loopback()
    assert "tunnel" in backend.tie()
    assert SSH("alpha").tie() == ""
    code = "import json, sys; print(json.loads(sys.stdin.readline())['port'], flush=True)"
    (placement,) = backend.start([WorkerCommand("net", ("w1",), ("-c", code), config.to_secret())])
    wait_until(lambda: backend.poll([placement])[placement.id].state is PlacementState.ENDED)
    path = placement.stdout
    assert json.loads(link_to(target, 5).run(f"cat {path}".encode(), b"", 5).output) == through(target, config).port


def test_the_tunnel_ends_with_its_process(target, config):
    code = (
        "import sys; from rush.backends.ssh.config import Target; from rush.backends.ssh.tunnel import through_tunnel\n"
        "print(through_tunnel(Target('alpha', sys.argv[1]), sys.argv[2].encode(), 20).decode())"
    )
    argv = [sys.executable, "-c", code, target.config, config.to_secret().decode()]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert not ping(RedisConfig.from_secret(done.stdout.encode()))
