"""Reading: data frames, caches, waiting, resets."""

import logging
import threading
import time

import pytest

import rush
from rush.manager import Rush


def finish(net, n, first=0):
    return net.push_finished_tasks([{"x": float(i)} for i in range(first, first + n)], [{"y": i} for i in range(n)])


def test_finished_tasks_stand_in_the_order_of_finishing(net, worker):
    first, second = worker.push_running_tasks([{"x": 1}, {"x": 2}])
    worker.finish_tasks([second], [{"y": 2}])
    worker.finish_tasks([first], [{"y": 1}])
    assert net.finished_tasks == [second, first]
    assert net.fetch_finished_tasks().index.tolist() == [second, first]
    assert net.fetch_tasks().index.tolist() == [first, second]
    assert net.tasks == [first, second]


def test_new_tasks_are_given_once(net):
    finish(net, 3)
    assert len(net.fetch_new_tasks()) == 3
    assert len(net.fetch_new_tasks()) == 0
    finish(net, 2)
    assert len(net.fetch_finished_tasks()) == 5
    assert len(net.fetch_new_tasks()) == 2
    net.reset_cache()
    assert len(net.fetch_new_tasks()) == 5


def test_waiting_for_new_tasks_ends_when_one_finishes(net):
    other = Rush(net.network_id, net.config)
    timer = threading.Timer(0.2, finish, (other, 1))
    timer.start()
    began = time.monotonic()
    assert len(net.fetch_new_tasks(timeout=20)) == 1
    assert time.monotonic() - began < 10
    timer.join()
    assert len(net.fetch_new_tasks(timeout=0.05)) == 0


def test_states_are_read_in_one_step_with_the_state_first(net, worker):
    net.push_tasks([{"x": 1}])
    worker.push_running_tasks([{"x": 2}])
    finish(net, 1)
    net.push_failed_tasks([{"x": 4}], ["no"])
    table = net.fetch_tasks_with_state()
    assert table.columns[0] == "state"
    assert table["state"].tolist() == ["queued", "running", "finished", "failed"]
    assert net.fetch_tasks_with_state(states="running")["state"].tolist() == ["running"]
    assert {state: len(keys) for state, keys in net.tasks_with_state().items()} == {
        "queued": 1, "running": 1, "finished": 1, "failed": 1,
    }  # fmt: skip
    assert len(net.fetch_queued_tasks()) == len(net.fetch_running_tasks()) == len(net.fetch_failed_tasks()) == 1
    assert net.running_tasks == net.fetch_running_tasks().index.tolist()


def test_empty_frames_have_no_rows(net):
    for fetch in (net.fetch_tasks, net.fetch_finished_tasks, net.fetch_queued_tasks, net.fetch_tasks_with_state):
        table = fetch()
        assert len(table) == 0
        assert table.index.name == "key"


def test_a_reader_notices_a_reset_and_reads_anew(net, caplog):
    other = Rush(net.network_id, net.config)
    finish(other, 3)
    assert len(net.fetch_finished_tasks()) == 3
    other.reset(workers=False)
    finish(other, 5)
    with caplog.at_level(logging.WARNING, "rush"):
        assert len(net.fetch_finished_tasks()) == 5
    assert caplog.text.count("reading it anew") == 1


def test_a_record_that_cannot_be_read_is_dropped_with_one_warning(net, caplog):
    finish(net, 1)
    client = net.connector
    client.rpush(net._store.keys.log, b"garbage", b"\xc1")
    finish(net, 1)
    with caplog.at_level(logging.WARNING, "rush"):
        assert len(net.fetch_finished_tasks()) == 2
        assert len(net.fetch_finished_tasks()) == 2
        assert len(net.fetch_tasks_with_state()) == 2
    assert caplog.text.count("could not be read") == 1
    client.close()


def test_waiting_for_tasks_ends_when_all_have_ended(net, worker):
    first, second = worker.push_running_tasks([{"x": 1}, {"x": 2}])
    timer = threading.Timer(0.2, lambda: (worker.finish_tasks([first], [{"y": 1}]), worker.fail_tasks([second])))
    timer.start()
    assert net.wait_for_tasks([first, second], timeout=20) is True
    timer.join()


def test_waiting_for_tasks_times_out_with_a_count(net, worker):
    keys = worker.push_running_tasks([{"x": 1}])
    with pytest.raises(TimeoutError, match="1 of 1 task"):
        net.wait_for_tasks(keys, timeout=0.1)


def test_waiting_for_tasks_ends_when_nobody_works(net, worker, caplog):
    keys = net.push_tasks([{"x": 1}])
    worker.set_terminated()
    assert net.wait_for_tasks(keys, timeout=20) is False
    assert "its loop returned" in caplog.text


def test_whoever_wakes_a_worker_of_a_network_that_was_reset_leaves_no_key(net, worker):
    other = rush.rsh(net.network_id, net.config)
    other._store.poke(worker.worker_id)
    poke = net._store.keys.poke(worker.worker_id)
    assert net.connector.exists(poke) == 0  # it does not know the network yet
    assert other.worker_ids == [worker.worker_id]
    other._session.open()
    other._store.poke(worker.worker_id)
    assert net.connector.exists(poke) == 1
    net.reset()
    other._store.poke(worker.worker_id)
    assert net.connector.exists(poke) == 0


def test_reset_leaves_no_key_but_the_epoch(net, worker):
    worker.push_running_tasks([{"x": 1}])
    finish(net, 2)
    net.push_tasks([{"x": 1}])
    net.write_hashes(a=[1])
    assert net.reset() is net
    client = net.connector
    assert client.keys(net._store.keys.prefix.replace(b"{", b"[{]").replace(b"}", b"[}]") + b"*") == [
        net._store.keys.meta
    ]
    assert 0 < client.ttl(net._store.keys.meta) <= 24 * 3600
    client.close()
    assert net.n_tasks == 0
    assert net.push_tasks([{"x": 1}]) == net.queued_tasks
    with pytest.raises(rush.NetworkGone, match="was reset"):
        worker.push_running_tasks([{"x": 1}])


def test_a_manager_goes_on_in_the_next_epoch(net, caplog):
    other = Rush(net.network_id, net.config)
    other.push_tasks([{"x": 1}])
    net.push_tasks([{"x": 1}])
    net.reset()
    other.push_tasks([{"x": 2}])
    assert "starting anew" in caplog.text
    assert net.n_queued_tasks == 1


def test_assigning_to_a_count_raises(net):
    with pytest.raises(AttributeError):
        net.n_tasks = 3


def test_a_manager_shows_itself_without_its_password(net):
    for text in (repr(net), str(net), net._repr_html_()):
        assert net.network_id in text
        assert net.config.password not in text


def test_a_worker_that_ends_right_after_its_last_task_has_finished_it(net, worker, monkeypatch):
    keys = net.push_tasks([{"x": i} for i in range(40)])
    look = net._unsettled
    ended = []

    def look_and_let_the_worker_end(keys):
        found = look(keys)
        if not ended:
            for task in worker.tasks(timeout=0):
                task.finish({"y": task.xs["x"]})
            worker.set_terminated()
            ended.append(worker.worker_id)
        return found

    monkeypatch.setattr(net, "_unsettled", look_and_let_the_worker_end)
    assert net.wait_for_tasks(keys, timeout=10) is True
