"""Waiting: for workers, for tasks, for new results, and for how long."""

import math
import time

import pytest

import rush


def registered(net, *names):
    return [rush.RushWorker(net.network_id, net.config, name) for name in names]


@pytest.fixture
def plan(net):
    yield lambda **settings: rush.rush_plan(config=net.config, **settings)
    rush.remove_rush_plan()


def test_workers_that_have_ended_have_come_all_the_same(net):
    first, second = registered(net, "a", "b")
    first.set_terminated()
    assert net.wait_for_workers(2, timeout=0) is net
    assert net.wait_for_workers(worker_ids=["a", "b"], timeout=0) is net
    second.set_terminated()


def test_any_n_of_the_named_workers_will_do(net):
    registered(net, "a", "other")
    net.wait_for_workers(1, ["a", "b"], timeout=0)
    with pytest.raises(TimeoutError, match="1 of 2 worker"):
        net.wait_for_workers(2, ["a", "b"], timeout=0)
    with pytest.raises(TimeoutError, match="1 of 2 worker"):
        net.wait_for_workers(worker_ids=["a", "b"], timeout=0.05)


def test_a_timeout_goes_before_the_plans(net, plan):
    plan(start_worker_timeout=60)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"0 of 1 worker\(s\) have registered after 0\.05 s"):
        net.wait_for_workers(1, timeout=0.05)
    assert time.monotonic() - began < 30
    plan(start_worker_timeout=0)
    with pytest.raises(TimeoutError, match="after 0 s"):
        net.wait_for_workers(1)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda net: net.wait_for_workers(0), ValueError, "n must be 1 or more, got 0"),
        (lambda net: net.wait_for_workers(1.5), TypeError, "n must be an int, got 1.5"),
        (lambda net: net.wait_for_workers(worker_ids="a"), TypeError, "worker_ids must be a list"),
        (lambda net: net.wait_for_workers(worker_ids=["a b"]), ValueError, "worker_ids must be 1 to 128 of"),
        (lambda net: net.wait_for_workers(1, timeout=-1), ValueError, "0 or more seconds, got -1"),
        (lambda net: net.wait_for_tasks(["a"], timeout=-1), ValueError, "0 or more seconds, got -1"),
        (lambda net: net.wait_for_tasks("a"), TypeError, "keys must be a list of task keys"),
        (lambda net: net.fetch_new_tasks(timeout=-0.5), ValueError, "0 or more seconds, got -0.5"),
        (lambda net: net.fetch_new_tasks(timeout=math.nan), ValueError, "0 or more seconds, got nan"),
        (lambda net: net.pop_task(timeout=-1), ValueError, "0 or more seconds, got -1"),
        (lambda net: net.push_running_tasks([{"x": 1}], timeout=-1), ValueError, "0 or more seconds, got -1"),
    ],
)
def test_what_cannot_be_waited_for_is_refused(net, call, error, text):
    with pytest.raises(error, match=text):
        call(net)
    assert net.n_tasks == 0


def test_an_unknown_task_is_not_waited_for(net, worker):
    keys = worker.push_running_tasks([{"x": 1}])
    with pytest.raises(KeyError, match="no task 'nothing' in network"):
        net.wait_for_tasks([*keys, "nothing"], timeout=30)


def test_a_timeout_of_0_looks_once(net, worker):
    keys = worker.push_running_tasks([{"x": 1}, {"x": 2}])
    with pytest.raises(TimeoutError, match="2 of 2 task"):
        net.wait_for_tasks(keys, timeout=0)
    worker.finish_tasks(keys[:1], [{"y": 1}])
    worker.fail_tasks(keys[1:])
    assert net.wait_for_tasks(keys, timeout=0) is True
    assert net.pop_task(timeout=0) is None


def test_tasks_that_have_ended_need_no_worker(net):
    keys = net.push_finished_tasks([{"x": 1}], [{"y": 1}]) + net.push_failed_tasks([{"x": 2}])
    assert net.wait_for_tasks(keys) is True


def test_where_nobody_has_come_nobody_is_waited_for(net, caplog):
    keys = net.push_tasks([{"x": 1}])
    assert net.wait_for_tasks(keys) is False
    assert "no worker has registered" in caplog.text


def test_an_empty_queue_is_waited_at_for_the_time_that_was_said(net):
    began = time.monotonic()
    assert net.pop_task(timeout=0.3) is None
    assert time.monotonic() - began >= 0.3


def test_results_that_were_read_otherwise_are_still_new(net):
    net.push_finished_tasks([{"x": 1}], [{"y": 1}])
    assert len(net.fetch_finished_tasks()) == 1
    assert len(net.fetch_new_tasks(timeout=60)) == 1
    assert net.fetch_new_tasks(timeout=0.05).shape[0] == 0
    assert net.reset_cache() is net
    assert len(net.fetch_new_tasks(timeout=60)) == 1
