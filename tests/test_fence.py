"""A request that arrives after its repeat does nothing: shown with the fence, and that it would without."""

import threading
from dataclasses import replace

import pytest

import rush
from rush.manager import Rush
from rush.store import scripts
from tests.conftest import patience
from tests.proxy import CuttingProxy


@pytest.fixture
def proxy(config):
    with CuttingProxy(config.port) as made:
        yield made


@pytest.fixture
def pair(network_id, config, proxy):
    """Give a manager, and a worker whose requests the proxy can hold back."""
    net = Rush(network_id, config)
    worker = rush.RushWorker(network_id, replace(config, port=proxy.port), "w1")
    yield net, worker
    worker._session.close()
    worker._store.close()


@pytest.fixture(params=[True, False], ids=["with the fence", "without"])
def fence(request, monkeypatch):
    """Say whether there is a fence; without one the scripts run whatever incarnation they carry."""
    if not request.param:
        honest = scripts.script

        def unfenced(name):
            script = honest(name)
            text = script.text.replace(b"if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2]", b"if false")
            return scripts.Script(name, text, scripts.hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())

        monkeypatch.setattr("rush.store.session.script", unfenced)
    return request.param


def late(proxy, call, *args, **options):
    """Make a call whose first request is held back; give its result, and an event that lets the request go on."""
    proxy.delay = go_on = threading.Event()
    result = call(*args, **options)
    assert proxy.cuts == 1
    return result, go_on


def arrive(net, proxy, go_on):
    """Let the request that was held back reach the server, and wait until that has seen to it."""
    go_on.set()
    patience(lambda: proxy.late == 1, what="the late request")
    for _ in range(2):
        net.connector.ping()


def test_a_late_push_does_not_queue_a_task_that_has_finished_meanwhile(pair, proxy, fence):
    net, worker = pair
    (key,), go_on = late(proxy, worker.push_tasks, [{"x": 1}])
    net.pop_task(timeout=0)
    net.finish_tasks([key], [{"y": 1}])
    arrive(net, proxy, go_on)
    assert net.finished_tasks == [key]
    assert net.queued_tasks == ([] if fence else [key])


def test_a_late_pop_takes_no_second_task(pair, proxy, fence):
    net, worker = pair
    keys = net.push_tasks([{"x": 1}, {"x": 2}])
    task, go_on = late(proxy, worker.pop_task, timeout=0)
    assert task.key == keys[0]
    arrive(net, proxy, go_on)
    assert net.running_tasks == ([keys[0]] if fence else keys)


def test_a_late_push_finished_stores_no_second_result(pair, proxy, fence):
    net, worker = pair
    keys, go_on = late(proxy, worker.push_finished_tasks, [{"x": 1}], [{"y": 1}])
    arrive(net, proxy, go_on)
    assert net.finished_tasks == (keys if fence else keys * 2)


def test_calls_to_a_server_that_stands_still_are_done_once(network_id, start_server):
    """The server is stopped, a call sent, its connection given up, the call repeated, and the server goes on."""
    server = start_server()
    hasty = replace(server.config, socket_timeout=0.1, connect_timeout=0.1, retry_timeout=20)
    net, worker = Rush(network_id, server.config), rush.RushWorker(network_id, hasty, "w1")
    for _ in range(10):
        keys = net.push_tasks([{"x": 1}, {"x": 2}])
        worker.n_tasks  # noqa: B018 - connects
        popped = []
        thread = threading.Thread(target=lambda popped=popped: popped.append(worker.pop_task(timeout=0)))
        with server.stalled():
            thread.start()
            patience(lambda: worker._session._channel.socket is None, 30, "the end of patience")
        thread.join(30)
        assert [task.key for task in popped] == [keys[0]]
        assert worker.finish_tasks([keys[0]], [{"y": 1}]) == [keys[0]]
        assert net.queued_tasks == [keys[1]]
        assert net.n_running_tasks == 0
        net.empty_queue()
    assert net.n_finished_tasks == 10
    worker.set_terminated()
