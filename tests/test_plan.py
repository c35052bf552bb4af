"""The plan: what it stores, what it refuses, and what goes before it."""

import secrets
from dataclasses import replace

import pytest

import rush
from rush.manager import Rush

NAMES = {"n_workers", "config", "log_levels", "log_buffer_size", "large_objects_path", "backend", "start_worker_timeout", "max_object_size"}  # fmt: skip
NOWHERE = "redis://127.0.0.1:1/0"


class Recorder(rush.backends.Backend):
    """Keeps what it is to start."""

    name = "recorder"

    def __init__(self):
        self.commands = []

    def start(self, commands):
        self.commands += commands
        return []

    def poll(self, placements):
        return {}

    def stop(self, placements, *, kill):
        pass

    def preview(self, commands):
        return ""

    def tail(self, placement, lines=50):
        return ""


@pytest.fixture(autouse=True)
def _no_plan():
    yield
    rush.remove_rush_plan()


def idle(worker):
    pass


def test_the_configuration_always_has_all_names(config):
    assert rush.rush_config() == dict.fromkeys(NAMES)
    stored = rush.rush_plan(n_workers=2, config=config, log_levels={"a": "INFO"})
    assert stored == rush.rush_config()
    assert {name: value for name, value in stored.items() if value is not None} == {
        "n_workers": 2, "config": config, "log_levels": {"a": "INFO"}, "backend": "local",
    }  # fmt: skip


def test_a_plan_is_there_until_it_is_removed(config):
    assert rush.rush_available() is False
    rush.rush_plan(config=config)
    assert rush.rush_available() is True
    assert rush.remove_rush_plan() is True
    assert rush.remove_rush_plan() is True
    assert rush.rush_available() is False


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"n_workers": 0}, ValueError, "n_workers must be 1 or more, got 0"),
        ({"n_workers": "2"}, TypeError, "n_workers must be an int, got '2'"),
        ({"max_object_size": -1}, ValueError, "max_object_size must be 1 or more, got -1"),
        ({"log_levels": "INFO"}, TypeError, "log_levels must be a dict"),
        ({"log_levels": {"a": "LOUD"}}, ValueError, "got 'a': 'LOUD'"),
        ({"log_buffer_size": -1}, ValueError, "log_buffer_size must be an int of 0 or more, got -1"),
        ({"log_buffer_size": True}, ValueError, "log_buffer_size must be an int of 0 or more, got True"),
        ({"start_worker_timeout": -1}, ValueError, "start_worker_timeout must be 0 or more seconds, got -1"),
        ({"start_worker_timeout": "1"}, TypeError, "start_worker_timeout must be a number of seconds or None, got '1'"),
        ({"large_objects_path": "/no/such"}, rush.ConfigError, "large_objects_path must be a folder that exists"),
        ({"backend": "slrum"}, rush.BackendNotFound, "no backend 'slrum'; did you mean 'slurm'"),
        ({"backend": 3}, TypeError, "backend must be a name or a rush.backends.Backend, got 3"),
        ({"config": 3}, TypeError, "config must be a RedisConfig, a URL or a redis.Redis"),
    ],
)
def test_what_makes_no_sense_is_refused_and_the_old_plan_stays(config, settings, error, text):
    rush.rush_plan(n_workers=3, config=config)
    with pytest.raises(error, match=text):
        rush.rush_plan(**{"config": config, **settings})
    assert rush.rush_config()["n_workers"] == 3


def test_a_server_that_is_not_there_is_one_error_that_names_it_and_no_password():
    secret = secrets.token_hex(8)
    for call in (
        lambda config: rush.rush_plan(config=config),
        lambda config: rush.rsh("a", config),
        lambda config: rush.RushWorker("a", config),
        lambda config: rush.start_worker("a", config=config),
    ):
        with pytest.raises(rush.ConnectionFailed, match=r"127\.0\.0\.1:1") as caught:
            call(rush.RedisConfig(port=1, password=secret, retry_timeout=0.0))
        assert secret not in str(caught.value)
    assert not rush.rush_available()


def test_an_argument_goes_before_the_plan_and_the_plan_before_the_environment(config, monkeypatch):
    monkeypatch.setenv("RUSH_URL", NOWHERE)
    assert rush.RedisConfig.from_url(NOWHERE) != config
    rush.rush_plan(config=config)
    assert rush.rsh("a").config == config
    rush.rush_plan(config=replace(config, retry_timeout=7.0))
    assert rush.rsh("a").config.retry_timeout == 7
    assert rush.rsh("a", config).config == config


def test_networks_without_a_name_get_one_of_their_own(config):
    first, second = rush.rsh(config=config), Rush(config=config)
    assert first.network_id != second.network_id
    assert type(first) is Rush


def test_an_argument_says_how_many_workers_else_the_plan_else_one(net):
    def started(n_workers=None):
        backend = Recorder()
        workers = net.start_workers(idle, n_workers=n_workers, backend=backend)
        assert [worker for command in backend.commands for worker in command.worker_ids] == workers
        return len(workers)

    assert started() == 1
    rush.rush_plan(n_workers=3, config=net.config)
    assert started() == 3
    assert started(2) == 2
    assert net.n_workers == 0


def test_the_plans_backend_and_logging_are_those_of_workers_that_name_none(net):
    backend = Recorder()
    rush.rush_plan(config=net.config, backend=backend, log_levels={"a": "INFO"}, log_buffer_size=7)
    net.start_workers(idle)
    assert len(backend.commands) == 1
    spec = net._store.read_loop()
    assert (spec.backend, spec.log_levels, spec.log_buffer_size) == ("recorder", {"a": "INFO"}, 7)
    net.start_remote_workers(idle, log_levels={"b": "DEBUG"}, log_buffer_size=1)
    assert net._store.read_loop().log_levels == {"b": "DEBUG"}
    assert net._store.read_loop().log_buffer_size == 1
