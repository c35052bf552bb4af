"""The way to a server, tried from here and from where workers run."""

import dataclasses
import json
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from rush.backends import Backend, Local
from rush.cli.main import main
from rush.config import RedisConfig
from rush.errors import BackendError
from rush.model import Placement, PlacementState, PlacementStatus
from rush.server.check import check_way
from rush.server.probe import Probe, probe
from rush.server.reach import remedy
from tests.servers import free_port


class Hosts(Backend):
    """Places commands on a host of the tests."""

    name = "hosts"

    def __init__(self, host, folder):
        self.host, self.folder, self.processes = host, folder, {}

    def start(self, commands):
        return [self._start(command) for command in commands]

    def _start(self, command):
        path = self.folder / secrets.token_hex(4)
        with path.open("wb") as stderr:
            words = self.host.command(*command.argv(sys.executable))
            process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=stderr)
        process.communicate(command.secret + b"\n")
        placement = Placement("hosts", path.name, command.worker_ids, stderr=str(path))
        self.processes[placement.id] = process
        return placement

    def poll(self, placements):
        return {p.id: PlacementStatus(PlacementState.ENDED) for p in placements}

    def stop(self, placements, *, kill):
        pass

    def preview(self, commands):
        return ""

    def tail(self, placement, lines=50):
        return Path(placement.stderr).read_text()


def steps(found):
    return [(step.step, step.ok) for step in found.steps]


def test_a_server_that_is_reached_answers(server):
    found = probe(server.config)
    assert found.ok
    assert found.failed is None
    assert steps(found) == [("resolve", True), ("connect", True), ("answer", True)]
    assert found.address == "127.0.0.1"
    assert "Valkey 9" in found.steps[-1].detail
    assert server.password not in found.to_line()
    assert Probe.find(f"some line\n{found.to_line()}\nanother") == found
    assert Probe.find("no report") is None


def test_a_closed_port_fails_at_connecting():
    found = probe(RedisConfig(port=free_port(), password="s3cr3t"))
    assert not found.ok
    assert steps(found) == [("resolve", True), ("connect", False)]
    assert "refused" in found.failed.detail.lower()


def test_an_unknown_name_fails_at_resolving():
    found = probe(RedisConfig("no-such-host.invalid"))
    assert steps(found) == [("resolve", False)]
    assert "address instead of its name" in remedy(RedisConfig("no-such-host.invalid"), found.failed)


def test_a_wrong_password_fails_at_the_answer(server):
    config = dataclasses.replace(server.config, password="wrong")
    found = probe(config)
    assert steps(found) == [("resolve", True), ("connect", True), ("answer", False)]
    assert "refused the password" in found.failed.detail
    assert "does not serve" in remedy(RedisConfig("10.1.2.3"), found.failed)


def test_a_socket_is_only_asked_for_an_answer(server):
    assert steps(probe(RedisConfig(unix_socket=str(server.socket_path), password=server.password))) == [
        ("answer", True)
    ]
    assert steps(probe(RedisConfig(unix_socket="/nowhere"))) == [("answer", False)]


def test_one_sentinel_that_is_away_does_no_harm(server):
    config = RedisConfig("127.0.0.1", server.port, password=server.password, cluster=False)
    nodes = (("127.0.0.1", free_port()), ("127.0.0.1", server.port))
    found = probe(dataclasses.replace(config, nodes=nodes))
    assert found.ok
    assert ("connect", False) in steps(found)


def test_a_job_tries_the_way_and_leaves_nothing(server, tmp_path):
    found = check_way(server.config, Local(folder=str(tmp_path)), 60, lambda _: None)
    assert found.ok
    assert not list(tmp_path.iterdir())


def test_a_job_that_cannot_try_speaks(server, tmp_path, monkeypatch):
    monkeypatch.setattr("rush.server.check.LAST_WORDS", 0.1)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no such interpreter here >&2\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(BackendError, match=r"without a report: exited with code 3\nno such interpreter here"):
        check_way(server.config, Local(python=str(python)), 60, lambda _: None)


def test_a_job_that_does_not_run_in_time_is_taken_back(server, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 100\n")
    python.chmod(0o755)
    with pytest.raises(TimeoutError, match=r"did not run within 0\.5 s"):
        check_way(server.config, Local(python=str(python)), 0.5, lambda _: None)


def test_another_host_reaches_the_address_that_it_shares_and_no_loopback(neighbourhood, start_server, tmp_path):
    around = neighbourhood(1)
    (host,) = around.hosts
    server = start_server(settings={"bind": f"127.0.0.1 {around.address}"})
    backend = Hosts(host, tmp_path)
    reached = check_way(dataclasses.replace(server.config, host=around.address), backend, 60, lambda _: None)
    assert reached.ok
    assert (reached.host, reached.address) == (host.name, host.address)
    alone = check_way(server.config, backend, 60, lambda _: None)
    assert alone.host == host.name
    assert "refused" in alone.failed.detail.lower()


def test_another_host_behind_a_firewall_gets_no_answer(neighbourhood, start_server, tmp_path):
    around = neighbourhood(1)
    (host,) = around.hosts
    server = start_server(settings={"bind": f"127.0.0.1 {around.address}"})
    host.cut()
    config = dataclasses.replace(server.config, host=around.address, connect_timeout=0.5)
    found = check_way(config, Hosts(host, tmp_path), 60, lambda _: None)
    assert found.failed.step == "connect"
    assert "no answer within 0.5 s" in found.failed.detail or "route" in found.failed.detail
    assert "rush server start --bind IFACE|ADDR. This host has " in remedy(config, found.failed)


def check(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["server", "check", *arguments])
    return ended.value.code or 0, *capsys.readouterr()


def test_the_command_says_from_where_to_where(server, capsys):
    code, out, _ = check(capsys, "--url", server.url)
    assert code == 0
    assert out.count(f"to redis://127.0.0.1:{server.port}") == 2
    assert "  answer   ok  Valkey" in out
    code, out, _ = check(capsys, "--url", server.url, "--backend", "local", "--output", "json")
    assert json.loads(out)["there"]["steps"][-1]["ok"] is True


def test_the_command_fails_with_what_to_do(capsys):
    code, out, err = check(capsys, "--url", f"redis://127.0.0.1:{free_port()}", "--output", "json")
    assert code == 1
    assert json.loads(out)["ok"] is False
    assert "workers of local do not reach the server" in err
    assert "name or address" in err


@pytest.mark.scheduler
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["slurm", "pbs"])
def test_a_real_job_tries_the_way(kind, cluster, server, start_server, neighbourhood, capsys, tmp_path, monkeypatch):
    (tmp_path / "rush.toml").write_text(f"""
[profiles.site]
backend = "{kind}"
folder = "{tmp_path}/jobs"
setup = ["export PYTHONPATH={Path.cwd()}:$PYTHONPATH"]
""")
    monkeypatch.chdir(tmp_path)
    code, out, err = check(capsys, "--backend", "site", "--url", server.url, "--output", "json")
    assert code == 0, err
    assert json.loads(out)["ok"] is True
    assert [step["step"] for step in json.loads(out)["there"]["steps"]] == ["resolve", "connect", "answer"]
    assert not list((tmp_path / "jobs").iterdir())
    (host,) = neighbourhood(1).hosts
    port = free_port()
    listening = subprocess.Popen(
        host.command(sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        code, out, err = check(capsys, "--backend", "site", "--url", f"redis://127.0.0.1:{port}")
    finally:
        listening.terminate()
        listening.wait()
    assert code == 1
    assert "connect  failed  127.0.0.1" in out
    assert "do not reach the server" in err
