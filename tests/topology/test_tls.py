"""TLS: managers, workers and their supervisors connect; what does not fit is refused at once and says why."""

import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest

import rush
from rush.manager import Rush
from tests.conftest import need_program, patience
from tests.servers import free_port
from tests.supervisor.conftest import end
from tests.supervisor.loops import idle, obey
from tests.topology.certificates import Authority


class Site:
    """A server with TLS, and the certificates around it."""

    def __init__(self, folder, start_server):
        self.authority = Authority(folder / "ca")
        self.client = self.authority.sign("client")
        self._start_server = start_server

    def start(self, *names):
        """Start a server whose certificate is for these names, and say how to reach it with all that it asks for."""
        own = self.authority.sign("server", *names)
        port = free_port()
        settings = {
            "tls-port": str(port),
            "tls-cert-file": own.cert,
            "tls-key-file": own.key,
            "tls-ca-cert-file": self.authority.ca,
            "tls-auth-clients": "yes",
        }
        self.server = self._start_server("redis", settings)
        return rush.RedisConfig(
            host="localhost",
            port=port,
            password=self.server.password,
            tls=True,
            tls_ca=self.authority.ca,
            tls_cert=self.client.cert,
            tls_key=self.client.key,
        )


@pytest.fixture
def site(tmp_path, start_server):
    need_program("openssl")
    return Site(tmp_path, start_server)


@pytest.fixture
def tls(site):
    return site.start("DNS:localhost", "IP:127.0.0.1")


def refused(config, match):
    """Say that a manager is refused at once, whatever the time for which it would try a server that is away."""
    began = time.monotonic()
    with pytest.raises(rush.ConnectionFailed, match=match) as caught:
        Rush("refused", replace(config, retry_timeout=20.0))
    assert time.monotonic() - began < 10
    assert config.password not in str(caught.value)


def test_managers_workers_and_supervisors_connect_over_tls(tls, network_id):
    net = Rush(network_id, tls.url)
    assert net.config.url.startswith("rediss://")
    workers = net.start_workers(obey, n_workers=2, log_levels={"campaign": "INFO"}, heartbeat_period=0.2)
    net.wait_for_workers(worker_ids=workers, timeout=30)
    keys = net.push_tasks([{"how": "sleep", "value": 0} for _ in range(10)])
    assert net.wait_for_tasks(keys, timeout=30)
    assert len(net.fetch_finished_tasks()) == 10
    with net.connector as client:
        assert client.ping()
        first = client.zscore(net._store.keys.beats, workers[0])
        patience(lambda: client.zscore(net._store.keys.beats, workers[0]) > first, what="a heartbeat")
    net.stop_workers("terminate")
    patience(lambda: net.n_running_workers == 0, what="the end of the workers")
    assert set(net.worker_info["reason"]) == {"its loop returned"}
    end(net)
    net.reset()


def test_a_server_certificate_of_another_authority_is_refused_at_once(tls, tmp_path):
    refused(replace(tls, tls_ca=Authority(tmp_path / "other").ca), "TLS with the server .*certificate verify failed")
    refused(replace(tls, tls_ca=None), "TLS with the server .*certificate verify failed.*tls_ca")


def test_a_certificate_for_another_host_is_refused_at_once_unless_names_are_not_checked(site, network_id):
    config = site.start("DNS:another.example")
    refused(config, "TLS with the server .*[Hh]ostname mismatch.*tls_check_hostname")
    with Rush(network_id, replace(config, tls_check_hostname=False)) as net:
        assert net.n_tasks == 0


def test_a_client_without_a_certificate_is_refused_at_once(tls):
    refused(replace(tls, tls_cert=None, tls_key=None), "TLS with the server .*tls_cert")


def test_a_client_with_a_certificate_of_another_authority_is_refused_at_once(tls, tmp_path):
    stranger = Authority(tmp_path / "other").sign("client")
    refused(replace(tls, tls_cert=stranger.cert, tls_key=stranger.key), "TLS with the server .*tls_cert")


def test_a_wrong_password_over_tls_is_refused_at_once(tls):
    refused(replace(tls, password="not-the-password"), "refused the password")


def test_tls_to_a_plain_port_and_plain_to_a_tls_port_are_told_apart_at_once(site, tls):
    refused(replace(tls, port=site.server.port), "does not speak TLS.*redis://")
    refused(replace(tls, tls=False), "speaks TLS.*rediss://")


@pytest.mark.parametrize("name", ["tls_ca", "tls_cert", "tls_key"])
def test_a_tls_file_that_cannot_be_read_is_named(tls, name):
    refused(replace(tls, **{name: "/nowhere/file.pem"}), f"{name}.*/nowhere/file.pem")


def test_a_file_that_holds_no_certificate_is_named(tls, tmp_path):
    (tmp_path / "empty.pem").write_text("nothing")
    refused(replace(tls, tls_ca=str(tmp_path / "empty.pem")), r"tls_ca.*empty\.pem")


def test_a_certificate_and_a_key_that_do_not_belong_together_are_named(tls, site):
    refused(replace(tls, tls_key=site.authority.sign("another").key), r"tls_cert, tls_key: cannot use .*client\.crt")


def test_files_named_relative_to_the_manager_are_found_by_its_workers(tls, network_id, tmp_path, monkeypatch):
    shutil.copy(tls.tls_ca, tmp_path / "here.crt")
    monkeypatch.chdir(tmp_path)
    net = Rush(network_id, replace(tls, tls_ca="here.crt"))
    workers = net.start_workers(idle, n_workers=1)
    net.wait_for_workers(worker_ids=workers, timeout=30)
    monkeypatch.chdir("/")
    assert net.reconnect().n_running_workers == 1
    end(net)


def test_a_worker_that_is_refused_ends_at_once_and_says_why(tls, network_id, tmp_path):
    with Rush(network_id, tls) as net:
        net.worker_script(idle)
        wrong = replace(tls, tls_ca=Authority(tmp_path / "other").ca)
        began = time.monotonic()
        command = [sys.executable, "-m", "rush.worker", "--network", network_id, "--secrets", "-"]
        done = subprocess.run(command, input=wrong.to_secret() + b"\n", capture_output=True, timeout=60, check=False)
        assert time.monotonic() - began < 10
        assert done.returncode == 1
        said = done.stderr.decode()
        assert re.fullmatch(r"rush: TLS with the server at rediss://localhost:\d+/0 failed: .*\n", said), said
