"""What goes wrong around the user's server: locks, dead files, servers that do not end, foreign data."""

import errno
import fcntl
import os
import signal
import stat
import time

import pytest

from rush.errors import ConfigError, ConnectionFailed, RushError
from rush.server import folders, launch, running_server, shared, start_server, stop_server
from rush.server.record import address_file, locked, read_record, record_of, write_record
from tests.conftest import need_server
from tests.servers import binary


@pytest.fixture
def stopped():
    yield
    stop_server()


def test_server_that_does_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(shared, "STOP_TIMEOUT", 0.2)
    start_server()
    os.kill(read_record().pid, signal.SIGSTOP)
    assert stop_server()
    assert running_server() is None


def test_stale_file_stays_while_somebody_starts_a_server():
    start_server()
    record = read_record()
    stop_server()
    write_record(record)
    with locked():
        assert running_server() is None
        assert address_file().exists()
    assert running_server() is None
    assert not address_file().exists()


def test_starter_under_lock_removes_a_stale_file(stopped):
    start_server()
    record = read_record()
    stop_server()
    write_record(record)
    start_server()
    assert read_record().pid != record.pid


def test_lock_is_waited_for_and_then_given_up():
    began = time.monotonic()
    with locked(), pytest.raises(TimeoutError, match="has been starting the server"), locked(timeout=0.1):
        pass
    assert time.monotonic() - began >= 0.1


def test_address_file_open_to_others_is_refused(stopped):
    start_server()
    address_file().chmod(0o644)
    with pytest.raises(ConfigError, match=f"chmod 600 {address_file()}"):
        running_server()
    address_file().chmod(0o600)


def test_address_file_of_another_user_is_refused(stopped, monkeypatch):
    start_server()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: 12345)
        with pytest.raises(ConfigError, match="belongs to another user"):
            running_server()


def test_address_file_that_cannot_be_read_is_an_error():
    address_file().mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot be read"):
        running_server()
    address_file().rmdir()


def test_process_that_has_ended_cannot_be_described(config, tmp_path):
    with pytest.raises(RushError, match="ended as soon as it had started"):
        record_of(config, 2**22 + 1, "Valkey 9", tmp_path)


def test_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ConfigError, match="without locks"), folders.claimed(tmp_path):
        pass


def test_data_of_another_kind_of_server_is_explained(stopped, tmp_path):
    need_server("redis")
    start_server(folder=tmp_path)
    stop_server()
    manifest = next(tmp_path.glob("appendonlydir/*.manifest"))
    base = next(tmp_path.glob("appendonlydir/*.base.rdb"))
    # A dump of a version that Debian's Redis does not know.
    base.write_bytes(base.read_bytes().replace(b"REDIS0011", b"REDIS0099").replace(b"VALKEY080", b"VALKEY099"))
    assert manifest.exists()
    with pytest.raises(ConnectionFailed, match="data of a newer or another kind of server"):
        start_server(folder=tmp_path, program=binary("redis"))


def test_missing_log_is_said(tmp_path):
    assert launch.log_tail(tmp_path) == "(it left no log)"


def test_server_that_never_answers_is_given_up(monkeypatch, config):
    class Hanging:
        pid = 1

        def poll(self):
            return None

    monkeypatch.setattr(launch, "START_TIMEOUT", 0.05)
    assert not launch.wait_until_ready(config, Hanging())


def test_file_of_mode_0600_leaves_no_draft(tmp_path):
    folders.write_private(tmp_path / "file", "text")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
