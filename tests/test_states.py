"""The state of a task: who may change it, what a refused change leaves behind, and what managers and workers read."""

import copy
import datetime as dt
import logging
import math

import pytest

import rush
from rush.manager import Rush

COUNTS = ("n_queued_tasks", "n_running_tasks", "n_finished_tasks", "n_failed_tasks", "n_tasks", "n_workers", "n_running_workers", "n_terminated_workers")  # fmt: skip
LISTS = ("tasks", "queued_tasks", "running_tasks", "finished_tasks", "failed_tasks", "worker_ids", "running_worker_ids", "terminated_worker_ids")  # fmt: skip


def stored(net):
    """Give every byte that is kept about tasks."""
    keys = net._store.keys
    kept = (keys.queued, keys.queue, keys.running, keys.log, keys.index, keys.failed)
    with net.connector as client:
        return [client.dump(key) for key in kept]


def ended(worker, call, argument):
    (key,) = worker.push_running_tasks([{"x": 1}])
    assert call(worker, [key], [argument]) == [key]
    return key


@pytest.mark.parametrize(
    "make",
    [
        lambda worker: worker.push_tasks([{"x": 1}])[0],
        lambda worker: ended(worker, rush.RushWorker.finish_tasks, {"y": 1}),
        lambda worker: ended(worker, rush.RushWorker.fail_tasks, "first"),
        lambda _: "nothing",
    ],
    ids=["queued", "finished", "failed", "unknown"],
)
@pytest.mark.parametrize("by", ["worker", "manager"])
def test_finishing_and_failing_what_does_not_run_writes_nothing(net, worker, caplog, make, by):
    key = make(worker)
    side = worker if by == "worker" else net
    side.push_tasks([])
    before = stored(net)
    with caplog.at_level(logging.WARNING, "rush"):
        assert side.finish_tasks([key], [{"y": 2}], [{"e": 3}]) == []
        assert side.fail_tasks([key], ["second"]) == []
    assert stored(net) == before
    assert [r.getMessage().split(":")[0] for r in caplog.records] == ["finish_tasks", "fail_tasks"]


def test_of_several_keys_those_that_run_move_and_the_others_are_named(net, worker, caplog):
    running, done = worker.push_running_tasks([{"x": 1}, {"x": 2}])
    worker.finish_tasks([done], [{"y": 2}])
    (queued,) = net.push_tasks([{"x": 3}])
    assert worker.finish_tasks([done, running, queued], [{"y": 7}, {"y": 8}, {"y": 9}]) == [running]
    assert net.fetch_finished_tasks().loc[[done, running], "y"].tolist() == [2, 8]
    assert f"2 of 3 task(s) were not running here and stay as they are: {done}, {queued}" in caplog.text


def test_a_key_given_twice_moves_once(net, worker):
    (key,) = worker.push_running_tasks([{"x": 1}])
    assert worker.finish_tasks([key, key], [{"y": 1}, {"y": 2}]) == [key]
    assert net.fetch_finished_tasks()["y"].tolist() == [1]


def test_conditions_have_a_default_and_one_goes_to_all(net, worker):
    first, second, third = worker.push_running_tasks([{"x": i} for i in range(3)])
    worker.fail_tasks([first])
    worker.fail_tasks([second, third], [{"message": "both", "code": 3}])
    (pushed,) = net.push_failed_tasks([{"x": 4}])
    conditions = net.fetch_failed_tasks()["condition"]
    assert conditions[first]["message"] == conditions[pushed]["message"] == "Task failed"
    assert conditions[second] == conditions[third]
    assert (conditions[second]["message"], conditions[second]["code"]) == ("both", 3)
    assert conditions[first]["traceback"] is None


def test_an_emptied_empty_queue_leaves_nothing(net):
    before = stored(net)
    assert net.empty_queue() == []
    assert net.empty_queue([], []) == []
    assert stored(net) == before


def test_a_manager_may_do_what_a_worker_does_and_owns_what_it_runs(net, worker):
    (queued,) = net.push_tasks([{"x": 1}])
    assert net.pop_task(timeout=0).key == queued
    (own,) = net.push_running_tasks([{"x": 2}])
    assert worker.finish_tasks([queued, own], [{"y": 0}]) == []
    assert net.finish_tasks([queued], [{"y": 1}]) == [queued]
    assert net.fail_tasks([own]) == [own]
    assert net.fetch_finished_tasks()["x"].tolist() == [1]


def test_results_pushed_at_once_name_the_worker_that_pushed_and_no_manager(net, worker):
    net.push_finished_tasks([{"x": 1}], [{"y": 1}], [{"note": "a"}], [{"time": 2.5}])
    worker.push_finished_tasks([{"x": 2}], [{"y": 2}])
    worker.push_failed_tasks([{"x": 3}])
    table = net.fetch_finished_tasks()
    assert table["worker_id"].tolist() == [None, "w1"]
    assert table.iloc[0][["note", "time"]].tolist() == ["a", 2.5]
    assert net.fetch_failed_tasks()["worker_id"].tolist() == ["w1"]


def test_a_task_may_have_no_inputs(net):
    (key,) = net.push_tasks([{}])
    assert net.fetch_queued_tasks().index.tolist() == [key]
    assert net.pop_task(timeout=0).xs == {}


def test_a_popped_task_has_the_fields_that_were_asked_for(net):
    net.push_tasks([{"x": 1}] * 3, [{"note": "a"}, {"note": "a"}, None])
    first, second, third = (net.pop_task(timeout=0, fields=f) for f in (("xs",), ("xs_extra",), ("xs", "xs_extra")))
    assert (first.xs, first.xs_extra) == ({"x": 1}, None)
    assert (second.xs, second.xs_extra) == (None, {"note": "a"})
    assert (third.xs, third.xs_extra) == ({"x": 1}, None)


def test_running_and_failed_are_asked_for_many_keys_at_once(net, worker):
    running, failed = worker.push_running_tasks([{"x": 1}, {"x": 2}])
    worker.fail_tasks([failed])
    (queued,) = net.push_tasks([{"x": 3}])
    keys = [failed, running, "nothing", queued, running]
    assert net.is_running_task(keys) == [False, True, False, False, True]
    assert net.is_failed_task(keys) == [True, False, False, False, False]
    assert net.is_running_task([]) == net.is_failed_task([]) == []
    with pytest.raises(TypeError, match="list of task keys"):
        net.is_running_task(running)


def test_states_come_in_one_order_and_empty_ones_are_empty_lists(net):
    (key,) = net.push_failed_tasks([{"x": 1}])
    assert list(net.tasks_with_state().items()) == [
        ("queued", []),
        ("running", []),
        ("finished", []),
        ("failed", [key]),
    ]
    assert list(net.tasks_with_state(["failed", "queued"])) == ["queued", "failed"]
    (queued,) = net.push_tasks([{"x": 2}])
    assert net.fetch_tasks_with_state(states=["failed", "queued"]).index.tolist() == [queued, key]


def test_an_empty_network_has_counts_of_0_and_empty_lists(net):
    assert {name: getattr(net, name) for name in COUNTS} == dict.fromkeys(COUNTS, 0)
    assert {name: getattr(net, name) for name in LISTS} == {name: [] for name in LISTS}
    assert all(type(getattr(net, name)) is int for name in COUNTS)


@pytest.mark.parametrize("name", [*COUNTS, *LISTS, "network_id", "connector", "worker_info", "placements"])
def test_what_is_read_cannot_be_set(net, name):
    with pytest.raises(AttributeError):
        setattr(net, name, 3)


def test_a_config_that_is_set_holds_after_reconnecting(net, start_server):
    net.push_tasks([{"x": 1}])
    elsewhere = start_server()
    old = net.config
    net.config = elsewhere.url
    assert net.n_queued_tasks == 1
    assert net.reconnect() is net
    assert net.n_queued_tasks == 0
    assert net.config == elsewhere.config
    with pytest.raises(TypeError, match=r"must be a RedisConfig, a URL or a redis\.Redis"):
        net.config = 3
    net.config = old
    assert net.reconnect().n_queued_tasks == 1


def test_a_copy_reads_everything_for_itself(net):
    net.push_finished_tasks([{"x": 1}], [{"y": 1}])
    assert len(net.fetch_new_tasks()) == 1
    other = copy.copy(net)
    assert isinstance(other, Rush)
    assert len(other.fetch_new_tasks()) == 1
    assert len(net.fetch_new_tasks()) == 0


def test_a_worker_that_reconnects_goes_on_with_its_tasks(net, worker):
    (key,) = worker.push_running_tasks([{"x": 1}])
    assert worker.reconnect() is worker
    assert worker.finish_tasks([key], [{"y": 1}]) == [key]
    assert net.running_worker_ids == ["w1"]


def test_tasks_with_different_fields_share_a_table(net):
    day = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    net.push_finished_tasks(
        [{"a": 1.5}, {"b": "text"}, {"a": 2.5, "c": [1, 2]}, {"a": None, "b": 3, "c": 4}], [{"day": day}]
    )
    table = net.fetch_finished_tasks(["xs", "ys"])
    assert table.columns.tolist() == ["a", "b", "c", "day"]
    assert table["a"].dropna().tolist() == [1.5, 2.5]
    assert math.isnan(table["a"].iloc[1])
    assert table["b"].tolist() == [None, "text", None, 3]
    assert table["c"].tolist() == [None, None, [1, 2], 4]
    assert (table["day"] == day).all()


def test_fields_that_no_task_has_give_rows_without_columns(net):
    net.push_tasks([{"x": 1}, {"x": 2}])
    table = net.fetch_queued_tasks(["ys", "xs_extra"])
    assert table.shape == (2, 0)
    assert table.index.tolist() == net.queued_tasks


def test_fields_choose_what_is_shown_and_the_cache_holds_all(net):
    net.push_finished_tasks([{"x": 1}], [{"y": 1}], yss_extra=[{"t": 3}])
    assert net.fetch_finished_tasks("ys").columns.tolist() == ["y"]
    net.push_finished_tasks([{"x": 2}], [{"y": 2}])
    assert net.fetch_finished_tasks(["ys_extra", "xs"]).columns.tolist() == ["t", "x"]
    assert net.fetch_finished_tasks()["x"].tolist() == [1, 2]
