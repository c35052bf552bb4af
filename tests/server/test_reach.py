"""A server that only its own host reaches is refused to workers elsewhere, with the command that helps."""

import pytest

from rush import RedisConfig, Rush, register_backend, rsh
from rush.backends import Backend, registry
from rush.errors import BackendError, ConfigError
from rush.server import private, start_server, stop_server


class Elsewhere(Backend):
    name = "elsewhere"

    def reaches_loopback(self):
        return False

    def start(self, commands):
        raise BackendError("this is as far as a test goes")

    def poll(self, placements):
        return {}

    def stop(self, placements, *, kill):
        pass

    def preview(self, commands):
        return ""

    def tail(self, placement, lines=50):
        return ""


def loop(worker):
    pass


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    register_backend("elsewhere", Elsewhere)


@pytest.fixture
def _no_server_left():
    yield
    stop_server()
    private._end()


@pytest.mark.parametrize(
    ("config", "only_here"),
    [
        (RedisConfig(), True),
        (RedisConfig("127.3.4.5"), True),
        (RedisConfig("::1"), True),
        (RedisConfig("localhost"), True),
        (RedisConfig("LocalHost."), True),
        (RedisConfig("head.localdomain"), True),
        (RedisConfig(unix_socket="/run/server.sock"), True),
        (RedisConfig("10.1.2.3"), False),
        (RedisConfig("login1"), False),
        (RedisConfig("localhost.example.org"), False),
        (RedisConfig(sentinels=(("10.1.2.3", 1),), sentinel_service="s"), False),
        (RedisConfig(sentinels=(("localhost", 1), ("127.0.0.1", 2)), sentinel_service="s"), True),
        (RedisConfig("127.0.0.1", cluster=True, nodes=(("127.0.0.1", 1), ("10.1.2.3", 1))), False),
    ],
)
def test_what_only_its_own_host_reaches(config, only_here):
    assert config.on_loopback is only_here


def test_a_named_server_on_loopback_is_refused_before_anything_is_written(config, network_id):
    net = Rush(network_id, config)
    with pytest.raises(
        ConfigError, match=r"'elsewhere' run on other hosts.* do not reach redis://127.*name or address"
    ):
        net.start_workers(loop, backend="elsewhere")
    assert not net._store.readers.ask("KEYS", f"rush:{{{network_id}}}:*")


def test_a_socket_is_refused(server, network_id):
    config = RedisConfig(unix_socket=str(server.socket_path), password=server.password)
    with pytest.raises(ConfigError, match="redis://HOST:PORT"):
        Rush(network_id, config).start_workers(loop, backend="elsewhere")


@pytest.mark.usefixtures("_no_server_left")
def test_the_private_server_is_refused_with_the_command_that_helps():
    net = rsh()
    with pytest.raises(ConfigError, match=r"make the network anew: rush server start --bind auto"):
        net.start_workers(loop, backend="elsewhere")


@pytest.mark.usefixtures("_no_server_left")
def test_the_users_server_on_loopback_is_refused_with_the_commands_that_move_it():
    start_server()
    net = rsh()
    with pytest.raises(ConfigError, match=r"rush server stop; rush server start --bind auto"):
        net.start_workers(loop, backend="elsewhere")


def test_a_server_elsewhere_is_left_to_the_backend(config, network_id, monkeypatch):
    net = Rush(network_id, config)
    monkeypatch.setattr(RedisConfig, "on_loopback", property(lambda _: False))
    with pytest.raises(BackendError, match="as far as a test goes"):
        net.start_workers(loop, backend="elsewhere")
    net.reset()
