"""Fixtures for every test: real servers, fresh networks, patience, and a check that nothing is left behind."""

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import resource_tracker
from pathlib import Path

import psutil
import pytest

from rush.config import RedisConfig
from rush.manager import Rush
from rush.worker import RushWorker
from tests import namespaces, servers
from tests.backends import slurm_cluster
from tests.namespaces import Neighbourhood
from tests.servers import TestServer

MARK = "RUSH_TEST_PROCESS"
"""Environment variable by which this test process finds its descendants, also those in a session of their own."""

_TEMPORARY = pytest.StashKey[str]()
_networks: set[str] = set()


def pytest_configure(config: pytest.Config) -> None:
    """Give the tests a folder for temporary files of their own; processes that run them beside this one inherit it."""
    if hasattr(config, "workerinput"):
        return
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # what `tmp_path` gives stays for a look
    folder = tempfile.mkdtemp(prefix="rush-tests-")
    os.chmod(folder, 0o1777)  # noqa: PTH101 - as the usual one: services that tests start run as users of their own
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    config.stash[_TEMPORARY] = folder


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remove that folder, unless there is something to find out."""
    folder = session.config.stash.get(_TEMPORARY, None)
    if folder is not None and exitstatus == 0:
        shutil.rmtree(folder, ignore_errors=True)


def need_server(kind: str) -> None:
    """Skip the test where a kind of server is missing; in CI that is a failure."""
    if servers.binary(kind) is None:
        _miss(f"{kind}-server")


def need_program(name: str) -> None:
    """Skip the test where a program is missing; in CI that is a failure."""
    if shutil.which(name) is None:
        _miss(name)


def _miss(program: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{program} is missing")
    pytest.skip(f"{program} is missing")


@pytest.fixture(scope="session")
def _pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, TestServer]]:
    pool: dict[str, TestServer] = {}
    yield pool
    for server in pool.values():
        server.stop()


def _pooled(pool: dict[str, TestServer], kind: str, factory: pytest.TempPathFactory) -> TestServer:
    need_server(kind)
    if kind not in pool:
        pool[kind] = TestServer(kind, factory.mktemp(kind))
        pool[kind].start()
    return pool[kind]


@pytest.fixture(scope="session")
def server(
    request: pytest.FixtureRequest, _pool: dict[str, TestServer], tmp_path_factory: pytest.TempPathFactory
) -> TestServer:
    """Give this test process's Valkey; parametrize it indirectly with ``redis`` for the Redis on PATH.

    It is shared: a test that stops, stalls or restarts a server takes one of its own from `start_server`.
    """
    return _pooled(_pool, getattr(request, "param", "valkey"), tmp_path_factory)


@pytest.fixture(scope="session", params=["valkey", "redis"])
def any_server(
    request: pytest.FixtureRequest, _pool: dict[str, TestServer], tmp_path_factory: pytest.TempPathFactory
) -> TestServer:
    """Run the test on the newest Valkey and on the oldest Redis that rush supports."""
    return _pooled(_pool, request.param, tmp_path_factory)


@pytest.fixture
def config(server: TestServer) -> RedisConfig:
    """Say how to reach `server`."""
    return server.config


@pytest.fixture
def any_config(any_server: TestServer) -> RedisConfig:
    """Say how to reach `any_server`."""
    return any_server.config


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., TestServer]]:
    """Start servers that belong to one test: ``start_server(kind="valkey", settings={"maxmemory": "10mb"})``."""
    started: list[TestServer] = []

    def start(kind: str = "valkey", settings: Mapping[str, str] | None = None) -> TestServer:
        need_server(kind)
        server = TestServer(kind, tmp_path / f"server-{len(started)}", settings)
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def neighbourhood() -> Iterator[Callable[[int], Neighbourhood]]:
    """Make hosts of the test's own, with addresses and hostnames: ``neighbourhood(3).hosts``."""
    if lacking := namespaces.missing():
        if os.environ.get("CI") == "true":
            pytest.fail(lacking)
        pytest.skip(lacking)
    with contextlib.ExitStack() as stack:
        yield lambda n: stack.enter_context(namespaces.neighbourhood(n))


def need_slurm() -> None:
    """Skip the test where there is no Slurm; in CI that is a failure."""
    if lacking := slurm_cluster.missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"no Slurm: {lacking}")
        pytest.skip(f"no Slurm: {lacking}")


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Path]:
    need_slurm()
    with slurm_cluster.SHARED.in_use() as config:
        yield config


@pytest.fixture
def cluster(_cluster: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make this process a user of the real Slurm; give its configuration."""
    monkeypatch.setenv("SLURM_CONF", str(_cluster))
    return _cluster


@pytest.fixture
def new_network_id() -> Iterator[Callable[[], str]]:
    """Make ids of fresh networks, whose keys may stay until the end of the test."""
    made: list[str] = []

    def make() -> str:
        made.append(f"test-{secrets.token_hex(6)}")
        _networks.add(made[-1])
        return made[-1]

    yield make
    for network in made:
        _delete_network(network)


@pytest.fixture
def network_id(new_network_id: Callable[[], str]) -> str:
    """Give the id of a fresh network; its keys are deleted after the test."""
    return new_network_id()


@pytest.fixture
def net(network_id: str, config: RedisConfig) -> Iterator[Rush]:
    """Give a manager of a fresh network; what is left of the network goes with it."""
    with Rush(network_id, config) as manager:
        yield manager
        manager.reset()


@pytest.fixture
def worker(net: Rush) -> Iterator[RushWorker]:
    """Make this process a worker of `net`, without a heartbeat."""
    made = RushWorker(net.network_id, net.config, "w1")
    yield made
    made._session.close()


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Wait for a condition instead of sleeping: ``wait_until(lambda: net.n_tasks == 3, timeout=5, what="...")``."""
    return patience


def patience(predicate: Callable[[], object], timeout: float = 10.0, what: str = "the condition") -> None:
    """Call `predicate` until it is true; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.001
    while not predicate():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come true within {timeout} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


@pytest.fixture(autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests off the settings, keys and servers of the person who runs them."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(folder))
    for name in [name for name in os.environ if name.startswith("RUSH_") or name == "REDIS_URL"]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _nothing_left(_home: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves a process, or a key outside the networks it asked for."""
    mark = secrets.token_hex(8)
    monkeypatch.setenv(MARK, mark)
    yield
    processes = _leftover_processes(mark)
    keys = _leftover_keys()
    complaints = [f"process {name}" for name in processes] + [f"key {key}" for key in keys]
    assert not complaints, "left behind: " + "; ".join(complaints)


def _marked(mark: str) -> list[psutil.Process]:
    tracker = resource_tracker._resource_tracker._pid  # lives as long as this process, once a test has needed it
    own = {os.getpid(), tracker, *(server.pid for server in servers.SERVERS)}
    found = []
    for process in psutil.process_iter():
        try:
            alive = process.pid not in own and process.status() != psutil.STATUS_ZOMBIE
            if alive and process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _leftover_processes(mark: str) -> list[str]:
    deadline = time.monotonic() + 5
    while (found := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.02)
    names = []
    for process in found:
        try:
            names.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
            process.kill()
        except psutil.Error:
            continue
    return names


def _leftover_keys() -> list[str]:
    left = []
    for server in servers.SERVERS:
        with server.connected() as client:
            for key in client.scan_iter(count=1000):
                name = key.decode(errors="replace")
                if not any(name.startswith(f"rush:{{{network}}}:") for network in _networks):
                    left.append(name)
                    client.delete(key)
    return left


def _delete_network(network: str) -> None:
    _networks.discard(network)
    for server in servers.SERVERS:
        with server.connected() as client:
            for key in client.scan_iter(match=f"rush:{{{network}}}:*", count=1000):
                client.delete(key)
