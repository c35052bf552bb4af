"""The system's own ssh as client, with and without a connection that the user shares."""

import logging
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest
import redis

from rush import RedisConfig
from rush.backends.ssh import openssh as ssh_openssh
from rush.backends.ssh.backend import SSH
from rush.backends.ssh.config import Target
from rush.backends.ssh.links import close_links, link_to
from rush.backends.ssh.tunnel import close_tunnels, through_tunnel
from rush.errors import BackendError
from rush.model import PlacementState, WorkerCommand

CODE = "import sys, time; print(len(sys.stdin.readline()), file=sys.stderr, flush=True); time.sleep(300)"
COMMAND = WorkerCommand("net", ("w1",), ("-c", CODE), b"secret word")


@pytest.fixture
def host(start_sshd):
    return start_sshd("alpha")


@pytest.fixture
def config(host, ssh_config):
    return ssh_config(host.block("alpha"))


@pytest.fixture
def shared(host, ssh_config, tmp_path_factory):
    """Log in by hand over a connection that others share, which is then the only way in; give the configuration."""
    socket = tmp_path_factory.mktemp("s") / "control"
    path = ssh_config(host.block("alpha", ControlMaster="auto", ControlPath=socket))
    master = subprocess.Popen(
        ["ssh", "-F", path, "-M", "-N", "alpha"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    check = ["ssh", "-F", path, "-O", "check", "alpha"]
    while subprocess.run(check, capture_output=True, check=False).returncode != 0:
        assert master.poll() is None
    (host.folder / "authorized_keys").write_text("")
    yield path
    close_tunnels()
    master.terminate()
    master.wait()


@pytest.fixture
def backend(tmp_path):
    def make(config, **options):
        return SSH("alpha", client="openssh", config=config, folder=str(tmp_path / "out"), **options)

    return make


def test_workers_are_started_watched_and_killed(backend, config, host, wait_until):
    chosen = backend(config)
    (placement,) = chosen.start([COMMAND])
    assert placement.details["client"] == "openssh"
    assert chosen.poll([placement])[placement.id].state is PlacementState.RUNNING
    wait_until(lambda: chosen.tail(placement) == "12\n")
    assert not any("secret word" in " ".join(process.cmdline()) for process in host.visitors())
    assert SSH().poll([placement])[placement.id].state is PlacementState.RUNNING
    chosen.stop([placement], kill=True)
    assert chosen.poll([placement])[placement.id].reason == "killed by signal 9 (SIGKILL)"
    wait_until(lambda: not host.visitors())


def test_a_shared_connection_is_the_way_in(backend, shared, host, wait_until):
    (placement,) = backend(shared).start([COMMAND])
    assert backend(shared).poll([placement])[placement.id].state is PlacementState.RUNNING
    wait_until(lambda: backend(shared).tail(placement) == "12\n")
    assert host.log.count("Accepted publickey") == 1


def test_without_it_the_error_says_what_ssh_says_and_how_to_see_it(backend, config, host):
    (host.folder / "authorized_keys").write_text("")
    with pytest.raises(BackendError, match="Permission denied") as caught:
        backend(config).start([COMMAND])
    assert f"by hand: ssh -F {config} alpha" in str(caught.value)


def test_an_unknown_host_is_refused(backend, host, ssh_config, tmp_path):
    config = ssh_config(host.block("alpha", UserKnownHostsFile=tmp_path / "none"))
    with pytest.raises(BackendError, match="Host key verification failed"):
        backend(config).start([COMMAND])


def test_a_host_that_cannot_be_reached_is_unknown(backend, config, host, wait_until):
    (placement,) = backend(config).start([COMMAND])
    host.stop()
    wait_until(lambda: backend(config).poll([placement])[placement.id].state is PlacementState.UNKNOWN)
    with pytest.raises(BackendError, match="'alpha'"):
        backend(config).stop([placement], kill=True)


def test_a_host_that_does_not_answer_is_given_up(config, host):
    with pytest.raises(BackendError, match="did not answer ssh within 1 s"):
        link_to(Target("alpha", config, "openssh"), 20).run(b"sleep 30", b"", 1)


def test_a_shared_connection_without_room_is_an_error_that_says_so(start_sshd, ssh_config, backend, tmp_path_factory):
    host = start_sshd("beta", settings={"MaxSessions": "1"})
    socket = tmp_path_factory.mktemp("s") / "control"
    path = ssh_config(host.block("alpha", ControlMaster="auto", ControlPath=socket))
    by_hand = subprocess.Popen(
        ["ssh", "-F", path, "-M", "alpha", "echo in; cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert by_hand.stdout.readline() == b"in\n"
    (host.folder / "authorized_keys").write_text("")
    try:
        with pytest.raises(BackendError, match=r"'alpha'.*(refused|denied)"):
            backend(path).start([COMMAND])
    finally:
        by_hand.communicate()


def test_without_the_program_it_is_an_error_that_says_so(backend, config, monkeypatch):
    monkeypatch.setattr(ssh_openssh.shutil, "which", lambda _: None)
    with pytest.raises(BackendError, match="ssh is not installed"):
        backend(config).start([COMMAND])


@pytest.fixture(params=["alone", "shared"])
def target(request):
    return Target(
        "alpha", request.getfixturevalue("config_of_ssh" if request.param == "alone" else "shared"), "openssh"
    )


@pytest.fixture
def config_of_ssh(host, ssh_config):
    return ssh_config(host.block("alpha"))


def through(target, config):
    return RedisConfig.from_secret(through_tunnel(target, config.to_secret(), 20))


def ping(config):
    client = redis.Redis.from_url(config.url, socket_timeout=5, retry=None)
    try:
        return client.ping()
    except redis.ConnectionError:
        return False
    finally:
        client.close()


@pytest.fixture
def redis_config(server):
    return server.config


def test_a_tunnel_carries_the_server_and_ends_when_it_is_closed(target, redis_config, wait_until):
    tunnelled = through(target, redis_config)
    assert tunnelled.port != redis_config.port
    assert replace(tunnelled, port=redis_config.port) == redis_config
    assert ping(tunnelled)
    close_tunnels()
    wait_until(lambda: not ping(tunnelled))


def test_a_server_on_a_unix_socket_is_reached_too(config_of_ssh, server):
    config = RedisConfig(unix_socket=str(server.socket_path), password=server.password)
    assert ping(through(Target("alpha", config_of_ssh, "openssh"), config))


def test_a_tunnel_that_breaks_is_restored_on_the_same_port(config_of_ssh, redis_config, host, wait_until, caplog):
    tunnelled = through(Target("alpha", config_of_ssh, "openssh"), redis_config)
    with caplog.at_level(logging.WARNING):
        host.cut()
        wait_until(lambda: "is restored" in caplog.text, 20)
    assert ping(tunnelled)


def test_a_host_that_forwards_nothing_is_an_error(start_sshd, ssh_config, redis_config):
    host = start_sshd("beta", settings={"AllowTcpForwarding": "no"})
    with pytest.raises(BackendError, match=r"'beta' does not forward.*remote port forwarding failed"):
        through(Target("beta", ssh_config(host.block("beta")), "openssh"), redis_config)


def test_the_tunnel_ends_with_its_process_even_if_that_had_forked(config_of_ssh, redis_config, host, wait_until):
    code = (
        "import os, sys, time; from rush.backends.ssh.config import Target\n"
        "from rush.backends.ssh.tunnel import through_tunnel\n"
        "secret = through_tunnel(Target('alpha', sys.argv[1], 'openssh'), sys.argv[2].encode(), 20).decode()\n"
        "child = os.fork()\n"
        "if child == 0: os.close(1); time.sleep(300)\n"
        "print(secret); print(child, flush=True); os.kill(os.getpid(), 9)"
    )
    argv = [sys.executable, "-c", code, config_of_ssh, redis_config.to_secret().decode()]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False, timeout=60)
    secret, child = done.stdout.splitlines()
    wait_until(lambda: not ping(RedisConfig.from_secret(secret.encode())))
    psutil.Process(int(child)).kill()


def test_links_are_closed_twice_without_harm(config):
    link = link_to(Target("alpha", config, "openssh"), 20)
    assert link.is_open()
    assert not link.is_alive(1), "there is no tunnel to ask"
    link.close()
    close_links()
