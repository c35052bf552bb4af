"""The server that stays until it is stopped."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import redis

from rush.config import RedisConfig, signing_key_for
from rush.errors import ConfigError, ConnectionFailed, RushError
from rush.server import running_server, server_status, start_server, stop_server
from rush.server.addresses import interfaces
from rush.server.record import address_file, read_record, write_record
from tests.servers import binary


@pytest.fixture
def stopped():
    yield
    stop_server()


def _dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.smoke
def test_started_found_and_stopped(stopped):
    assert running_server() is None
    assert not server_status().running
    config = start_server()
    assert running_server() == config
    assert start_server() == config
    status = server_status()
    assert status.running
    assert status.address == config.address
    assert stop_server()
    assert not stop_server()
    assert running_server() is None
    assert not psutil.pid_exists(status.pid) or psutil.Process(status.pid).status() == "zombie"


def test_debian_redis_serves_as_well(stopped):
    program = binary("redis")
    if program is None:
        pytest.skip("redis-server is missing")
    start_server(program=program)
    assert server_status().program.startswith("Redis 7")


def test_address_file_is_the_owners_alone(stopped):
    start_server()
    assert address_file().stat().st_mode & 0o777 == 0o600
    assert [path.name for path in address_file().parent.glob("server.json*")] == ["server.json"]
    address_file().chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        running_server()
    address_file().chmod(0o600)


def test_address_file_that_is_none_is_named_not_quoted():
    address_file().parent.mkdir(parents=True)
    address_file().write_text('{"password": "s3cr3t"}')
    address_file().chmod(0o600)
    with pytest.raises(ConfigError, match="not an address file") as caught:
        running_server()
    assert "s3cr3t" not in str(caught.value)
    assert stop_server(forget=True)


@pytest.mark.parametrize(
    "change", [{"boot_id": "another"}, {"start": "1"}, {"pid": None}], ids=["other boot", "reused pid", "dead pid"]
)
def test_stale_address_file_is_removed(stopped, change):
    start_server()
    record = read_record()
    changed = {"pid": _dead_pid()} if "pid" in change else change
    write_record(dataclasses.replace(record, **changed))
    assert running_server() is None
    assert not address_file().exists()
    write_record(record)


def test_address_file_of_another_host_says_what_helps(stopped):
    start_server()
    record = read_record()
    write_record(dataclasses.replace(record, host="login7"))
    for call in (running_server, start_server, stop_server, server_status):
        with pytest.raises(ConnectionFailed, match=r"runs on host login7 .*rush server start --bind auto"):
            call()
    write_record(record)


def test_reachable_server_on_another_host_is_used(stopped, server):
    start_server()
    record = read_record()
    # A way of writing 127.0.0.1 that does not look like loopback.
    away = dataclasses.replace(record, host="login7", url=f"redis://:{server.password}@127.1:{server.port}/0")
    write_record(away)
    assert running_server().port == server.port
    write_record(dataclasses.replace(away, url="redis://:x@127.1:1/0"))
    with pytest.raises(ConnectionFailed, match="does not answer here"):
        running_server()
    write_record(record)


def test_two_starters_get_one_server(stopped):
    with ThreadPoolExecutor(4) as pool:
        configs = list(pool.map(lambda _: start_server(), range(4)))
    assert len({config.port for config in configs}) == 1


def test_data_and_address_are_there_for_the_next(stopped, tmp_path):
    folder = tmp_path / "my data"
    first = start_server(folder=folder)
    with redis.Redis(port=first.port, password=first.password) as client:
        client.set("name", "value")
    stop_server()
    second = start_server(folder=folder)
    assert second == first
    assert (folder / "access.json").stat().st_mode & 0o777 == 0o600
    with redis.Redis(port=second.port, password=second.password) as client:
        assert client.get("name") == b"value"


def test_former_port_that_is_taken_is_given_up(stopped, tmp_path):
    first = start_server(folder=tmp_path)
    stop_server()
    with socket.create_server(("127.0.0.1", first.port)):
        second = start_server(folder=tmp_path)
    assert second.port != first.port
    assert second.password == first.password


def test_signing_key_is_the_users_own(stopped):
    assert start_server().signing_key == signing_key_for()


@pytest.mark.parametrize("content", ["", "{}", '{"password": "s3cr3t", "signing_key": "x", "port": "y"}'])
def test_damaged_access_is_named_not_quoted(tmp_path, content):
    (tmp_path / "access.json").write_text(content)
    with pytest.raises(ConfigError, match="was not written by rush") as caught:
        start_server(folder=tmp_path)
    assert "s3cr3t" not in str(caught.value)


def test_access_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "access.json").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        start_server(folder=tmp_path)


def test_folder_serves_one_server_at_a_time(stopped, tmp_path):
    start_server(folder=tmp_path / "data")
    record = read_record()
    stop_server(forget=True)
    with pytest.raises(RushError, match="a server runs in"):
        start_server(folder=tmp_path / "data")
    write_record(record)


def test_survives_its_starter_and_ctrl_c(stopped, wait_until):
    code = "from rush.server import start_server; start_server(); print('up', flush=True); input()"
    starter = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True, text=True,
    )  # fmt: skip
    assert starter.stdout.readline() == "up\n"
    os.killpg(starter.pid, signal.SIGINT)
    os.killpg(starter.pid, signal.SIGHUP)
    starter.communicate()
    assert server_status().running


def test_password_stands_in_no_command_line(stopped):
    config = start_server()
    process = psutil.Process(read_record().pid)
    assert config.password not in " ".join(process.cmdline()) + str(process.environ())


def test_port_that_is_taken_is_an_error(stopped, server):
    with pytest.raises(ConnectionFailed, match="did not start"):
        start_server(port=server.port)


def test_record_reads_back(stopped):
    config = start_server()
    assert isinstance(read_record().config, RedisConfig)
    assert read_record().config == config
    assert json.loads(address_file().read_text())["pid"] == read_record().pid


def test_a_running_server_is_not_given_as_one_that_listens_elsewhere(stopped):
    config = start_server()
    assert start_server(bind="lo", port=config.port) == config
    with pytest.raises(RushError, match=r"runs already, at .*rush server stop"):
        start_server(port=config.port % 60000 + 1024)
    bind = next((a for found in interfaces().values() for a in found if a not in {"127.0.0.1", "::1"}), None)
    if bind is None:
        pytest.skip("this host has loopback only")
    with pytest.raises(RushError, match=r"runs already, at .*rush server stop"):
        start_server(bind=bind)
