"""Finding finished tasks by their keys: the index is brought up to the log by those who look."""

import pytest

import rush

N = 12_000
"""Records: more than one step indexes."""


@pytest.fixture
def net(network_id, config):
    return rush.rsh(network_id, config)


def finished(net, first, last):
    numbers = range(first, last)
    return net.push_finished_tasks([{"x": n} for n in numbers], [{"y": 2 * n} for n in numbers])


def found(net, keys):
    return [None if task is None else task["y"] for task in net.read_hashes(keys, ["ys"])]


def index(net):
    return net.connector.hgetall(net._store.keys.index)


def test_tasks_are_found_wherever_they_stand_in_a_log_that_nobody_has_looked_through(net):
    keys = finished(net, 0, N)
    assert index(net) == {}
    assert found(net, [keys[-1], "no such task", keys[0], "", keys[7_000]]) == [2 * (N - 1), None, 0, None, 14_000]
    assert len(index(net)) == N + 1


def test_one_look_for_an_early_task_does_not_read_the_whole_log(net):
    keys = finished(net, 0, N)
    assert found(net, keys[:1]) == [0]
    assert len(index(net)) == 5_001


def test_open_and_failed_tasks_are_found_without_the_log(net):
    finished(net, 0, 10)
    (queued,) = net.push_tasks([{"x": 1}])
    (running,) = net.push_running_tasks([{"x": 1}])
    (failed,) = net.push_failed_tasks([{"x": 1}], ["why"])
    assert net.is_running_task([queued, running, failed]) == [False, True, False]
    assert index(net) == {}


def test_what_finishes_later_is_found_too(net):
    first = finished(net, 0, 2)
    assert found(net, first) == [0, 2]
    (running,) = net.push_running_tasks([{"x": 2}])
    assert net.is_running_task([running]) == [True]
    net.finish_tasks([running], [{"y": 4}])
    assert found(net, [running, *first]) == [4, 0, 2]
    assert net.is_running_task([running]) == [False]


def test_a_lost_index_is_made_anew(net):
    keys = finished(net, 0, 3)
    assert found(net, keys) == [0, 2, 4]
    net.connector.delete(net._store.keys.index)
    assert found(net, keys) == [0, 2, 4]


def test_a_log_that_has_lost_its_tail_is_indexed_anew(net):
    keys = finished(net, 0, 4)
    assert found(net, keys) == [0, 2, 4, 6]
    net.connector.ltrim(net._store.keys.log, 0, 1)
    assert found(net, [*keys[2:], "no such task"]) == [None, None, None]
    (again,) = finished(net, 9, 10)
    assert found(net, [keys[1], keys[2], again]) == [2, None, 18]


def test_records_that_cannot_be_read_are_passed_over(net):
    keys = finished(net, 0, 1)
    net.connector.rpush(net._store.keys.log, b"", b"\xc1garbage", b"\x98\x01\x02")
    keys += finished(net, 1, 2)
    assert found(net, keys) == [0, 2]


def test_the_index_goes_with_the_tasks(net):
    keys = finished(net, 0, 3)
    assert found(net, keys) == [0, 2, 4]
    net.reset(workers=False)
    assert found(net, keys) == [None, None, None]
    assert found(net, finished(net, 5, 6)) == [10]
