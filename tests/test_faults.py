"""Broken connections, stalled and full servers, forks: nothing is lost, nothing is done twice."""

import os
import random
import select
import threading
from dataclasses import replace

import pytest
import redis

import rush
from rush.manager import Rush
from tests.conftest import patience
from tests.proxy import CuttingProxy


@pytest.fixture
def proxy(config):
    with CuttingProxy(config.port) as made:
        yield made


@pytest.fixture
def cut(network_id, config, proxy):
    """Give a worker whose connections go through the proxy, and a manager whose do not."""
    with Rush(network_id, config) as net:
        worker = rush.RushWorker(network_id, replace(config, port=proxy.port, retry_timeout=10), "w1")
        yield net, worker
        worker._session.close()
        worker._store.close()


@pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 7, 13])
@pytest.mark.parametrize("what", ["cut_after", "cut_request_after"])
def test_a_cut_reply_neither_loses_nor_doubles_a_task(cut, proxy, what, after):
    """Nor does a request that is cut: the server may have seen all of it or a part."""
    net, worker = cut

    def broken(call, *args, **kwargs):
        setattr(proxy, what, after if what == "cut_after" else 31 * after)
        return call(*args, **kwargs)

    queued = broken(worker.push_tasks, [{"x": 1}, {"x": 2}, {"x": 3}])
    assert net.queued_tasks == queued
    (running,) = broken(worker.push_running_tasks, [{"x": 4}])
    assert net.running_tasks == [running]
    assert broken(worker.finish_tasks, [running], [{"y": 1}]) == [running]
    task = broken(worker.pop_task, timeout=0)
    assert task.key == queued[0]
    assert net.running_tasks == [task.key]
    assert broken(worker.fail_tasks, [task.key], ["no"]) == [task.key]
    assert broken(worker.cancel_tasks, [queued[1]]) == [queued[1]]
    assert broken(worker.empty_queue, [queued[2]]) == [queued[2]]
    broken(worker.push_finished_tasks, [{"x": 5}], [{"y": 5}])
    broken(worker.push_failed_tasks, [{"x": 6}])
    broken(worker.push_tasks, [{"x": 7}])
    assert len(broken(worker.empty_queue)) == 1
    assert (net.n_queued_tasks, net.n_running_tasks, net.n_finished_tasks, net.n_failed_tasks) == (0, 0, 2, 5)
    assert proxy.cuts >= 8
    assert len(broken(worker.fetch_finished_tasks)) == 2


@pytest.mark.parametrize("prefetch", [0, 1])
def test_the_iterator_survives_cuts(cut, proxy, prefetch):
    net, worker = cut
    net.push_tasks([{"x": i} for i in range(40)])
    draw = random.Random(3)
    for task in worker.tasks(prefetch=prefetch, timeout=0.2):
        if draw.random() < 0.3:
            proxy.cut_after = draw.randrange(20)
        task.finish({"y": task.xs["x"]})
    proxy.cut_after = None
    assert sorted(net.fetch_finished_tasks()["y"]) == list(range(40))
    assert net.n_tasks == 40


def test_a_posted_call_survives_a_server_without_its_scripts_and_a_cut_right_after(cut, proxy):
    """As when the server is killed and restarted between a call and its reply."""
    net, worker = cut
    (key,) = net.push_tasks([{"x": 1}])
    net.connector.script_flush()
    flight = worker._tasks.post_finish_pop(None, "")
    patience(lambda: select.select([worker._session._channel], [], [], 0)[0], what="the refusal")
    proxy.cut_after = 0
    _, popped = worker._tasks.collect_finish_pop(flight, None, "")
    assert popped.key == key
    assert proxy.cuts == 1
    assert net.running_tasks == [key]


def test_a_call_that_arrives_after_its_repeat_is_refused(network_id, config):
    """The fence: what a broken connection sent runs after the repeat, and does nothing."""
    net = Rush(network_id, config)
    net.push_tasks([{"x": 1}, {"x": 2}])
    session = net._session
    before = session._requests["push"]
    session._channel.close()
    net.push_tasks([{"x": 3}])
    late = net._store.readers.channel()
    with pytest.raises(Exception, match="FENCED"):
        late.run_request(before, (b"\0" * 11, "k" * 16, b"\xb0" + b"k" * 16 + b"\x80\xc0"))
    assert net.n_queued_tasks == 3


def test_a_server_that_is_not_there_is_one_clear_error(network_id):
    config = rush.RedisConfig(port=1, retry_timeout=0.1)
    with pytest.raises(rush.ConnectionFailed, match=r"cannot reach the server at .*tried for 0\.1 s"):
        Rush(network_id, config)


def test_a_wrong_password_is_not_retried_and_not_shown(network_id, config):
    wrong = replace(config, password="a-wrong-secret")
    with pytest.raises(rush.ConnectionFailed, match="refused the password") as caught:
        Rush(network_id, wrong)
    assert "a-wrong-secret" not in str(caught.value)


def test_a_full_server_refuses_pushes_and_takes_results(network_id, start_server):
    server = start_server(settings={"maxmemory": "20mb", "maxmemory-policy": "noeviction"})
    net = Rush(network_id, replace(server.config, retry_timeout=0.3))
    (key,) = net.push_running_tasks([{"x": 1}])
    with server.connected() as client:
        client.config_set("maxmemory", "1mb")
        with pytest.raises(rush.StoreFull, match="make room"):
            net.push_tasks([{"x": 1}])
        assert net.finish_tasks([key], [{"y": 1}]) == [key]
        client.config_set("maxmemory", "0")
    assert len(net.push_tasks([{"x": 1}])) == 1
    net._session.close()
    net._store.close()


def test_a_server_that_is_busy_with_somebodys_script_is_asked_again(network_id, start_server):
    server = start_server(settings={"busy-reply-threshold": "20"})
    net = Rush(network_id, server.config)
    net.push_tasks([{"x": 1}])
    with server.connected() as client:
        busy = threading.Thread(target=client.eval, args=(BUSY, 0))
        busy.start()
        with server.connected() as another:
            patience(lambda: is_busy(another), what="a busy server")
        net.push_tasks([{"x": 2}])
        assert net.n_queued_tasks == 2
        busy.join()
    net._session.close()
    net._store.close()


BUSY = """
local began = redis.call('TIME')
repeat
  local now = redis.call('TIME')
until now[1] - began[1] + (now[2] - began[2]) / 1e6 > 1.5
"""


def is_busy(client):
    try:
        client.ping()
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


def test_a_restarted_server_has_all_that_was_answered(network_id, start_server):
    server = start_server(settings={"appendfsync": "always"})
    net = Rush(network_id, server.config)
    keys = net.push_tasks([{"x": i} for i in range(20)])
    worker = rush.RushWorker(network_id, server.config, "w1")
    task = worker.pop_task()
    server.restart(kill=True)
    assert worker.finish_tasks([task.key], [{"y": 1}]) == [task.key]
    assert net.queued_tasks == keys[1:]
    assert net.finished_tasks == [keys[0]]
    for one in (net, worker):
        one._session.close()
        one._store.close()


def test_a_stalled_server_loses_nobody(network_id, start_server):
    server = start_server()
    net = Rush(network_id, server.config)
    worker = rush.RushWorker(network_id, server.config, "w1", heartbeat_period=0.2, heartbeat_expire=0.6)
    with server.stalled():
        threading.Event().wait(2.0)
    patience(lambda: net.n_running_workers == 1, what="the server")
    threading.Event().wait(1.0)
    assert net.detect_lost_workers() == []
    assert net.n_running_workers == 1
    worker.set_terminated()
    for one in (net, worker):
        one._session.close()
        one._store.close()


def test_a_missed_heartbeat_is_a_loss_and_the_worker_comes_back_without_its_tasks(network_id, config, caplog):
    net = Rush(network_id, config)
    worker = rush.RushWorker(network_id, config, "w1")
    (key,) = net.push_tasks([{"x": 1}], max_tries=2)
    task = worker.pop_task()
    net.connector.zadd(net._store.keys.beats, {"w1": 1})
    net.connector.hset(net._store.keys.vitals, "w1", "10 token")
    patience(lambda: net.detect_lost_workers() == ["w1"], what="the loss")
    assert net.queued_tasks == [key]
    assert worker.finish_tasks([task.key], [{"y": 1}]) == []
    assert "registering again without its tasks" in caplog.text
    assert net.running_worker_ids == ["w1"]
    again = worker.pop_task()
    assert (again.key, again.tries) == (key, 2)
    assert worker.finish_tasks([again.key], [{"y": 2}]) == [key]
    worker.set_terminated()


def test_a_forked_child_has_a_session_of_its_own(network_id, config):
    net = Rush(network_id, config)
    net.push_tasks([{"x": 1}])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            net.push_tasks([{"x": 2}])
            code = 0 if net.n_queued_tasks == 2 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    net.push_tasks([{"x": 3}])
    assert net.n_queued_tasks == 3


def test_threads_share_a_manager(network_id, config):
    net = Rush(network_id, config)
    threads = [threading.Thread(target=lambda: [net.push_tasks([{"x": i}]) for i in range(30)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert net.n_queued_tasks == 120
