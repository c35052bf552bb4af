"""The servers that all other tests stand on."""

import subprocess
import sys

import pytest
import redis


def test_answers_with_its_password_only(server):
    with server.connected() as client:
        assert client.ping()
    stranger = redis.Redis(port=server.port, retry=None)
    with pytest.raises(redis.AuthenticationError):
        stranger.ping()
    stranger.close()


def test_oldest_and_newest_server_run(any_server, any_config):
    with any_server.connected() as client:
        version = client.info("server")["redis_version"]
    assert int(version.split(".")[0]) >= 7
    assert any_config.port == any_server.port


def test_data_survives_a_crash_of_the_server(start_server):
    server = start_server(settings={"appendfsync": "always"})
    with server.connected() as client:
        client.set("kept", 1)
    server.restart(kill=True)
    with server.connected() as client:
        assert client.get("kept") == b"1"
        client.flushall()


def test_keys_of_the_asked_network_may_stay(server, network_id):
    with server.connected() as client:
        client.set(f"rush:{{{network_id}}}:meta", 1)


def test_condition_is_waited_for(wait_until):
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    wait_until(lambda: process.poll() is not None, what="the end of the process")
