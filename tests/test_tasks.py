"""Tasks: creating, taking, finishing, failing, cancelling, on the newest Valkey and the oldest Redis."""

import copy
import logging
import pickle
import threading

import pytest

import rush
from rush.manager import Rush
from rush.model import Ending, TaskKey, WorkerState


@pytest.fixture
def config(any_config):
    return any_config


def counts(net):
    return (net.n_queued_tasks, net.n_running_tasks, net.n_finished_tasks, net.n_failed_tasks)


def test_oldest_task_first(net, worker):
    keys = net.push_tasks([{"x": 1}, {"x": 2}, {"x": 3}])
    assert net.queued_tasks == keys
    assert [worker.pop_task(timeout=0).key for _ in keys] == keys
    assert worker.pop_task(timeout=0) is None


def test_a_task_is_counted_in_one_state_at_each_step(net, worker):
    (key,) = net.push_tasks([{"x": 1}], [{"note": "a"}])
    assert counts(net) == (1, 0, 0, 0)
    task = worker.pop_task(fields=["xs", "xs_extra"])
    assert (task.key, task.xs, task.xs_extra, task.tries) == (key, {"x": 1}, {"note": "a"}, 1)
    assert counts(net) == (0, 1, 0, 0)
    assert net.is_running_task([key, "nothing"]) == [True, False]
    assert worker.finish_tasks([key], [{"y": 2}], [{"t": 3}]) == [key]
    assert counts(net) == (0, 0, 1, 0)
    assert net.n_tasks == 1
    row = net.fetch_finished_tasks().loc[key]
    assert (row["x"], row["y"], row["note"], row["t"], row["worker_id"]) == (1, 2, "a", 3, "w1")


def test_the_first_writer_wins(net, worker, caplog):
    (key,) = worker.push_running_tasks([{"x": 1}])
    assert net.finish_tasks([key], [{"y": 1}]) == [key]
    with caplog.at_level(logging.WARNING, "rush"):
        assert worker.finish_tasks([key], [{"y": 2}]) == []
        assert worker.fail_tasks([key]) == []
    assert "were not running here" in caplog.text
    assert net.fetch_finished_tasks()["y"].tolist() == [1]


def test_a_worker_moves_only_its_own_tasks_and_a_manager_any(net, worker):
    other = rush.RushWorker(net.network_id, net.config, "w2")
    first, second = worker.push_running_tasks([{"x": 1}, {"x": 2}])
    assert other.finish_tasks([first], [{"y": 1}]) == []
    assert other.fail_tasks([first]) == []
    assert net.fail_tasks([first], ["no"]) == [first]
    assert net.finish_tasks([second], [{"y": 1}]) == [second]
    assert net.fetch_finished_tasks()["worker_id"].tolist() == ["w1"]
    other._session.close()


def test_an_old_attempt_cannot_hand_in_for_the_next_one(net, worker):
    net.push_tasks([{"x": 1}], max_tries=3)
    old = worker.pop_task()
    ending = Ending("killed", uses_try=True, respawn=True)
    assert worker._store.bury("w1", worker._session.incarnation, ending)
    new = worker.pop_task()
    assert (new.key, new.tries) == (old.key, 2)
    assert worker.finish_tasks([old.key], [{"y": "old"}]) == []
    assert worker.finish_tasks([new.key], [{"y": "new"}]) == [new.key]
    assert net.fetch_finished_tasks()["y"].tolist() == ["new"]


def test_a_lost_try_puts_the_task_at_the_head_and_the_last_one_fails_it(net, worker):
    first, second = net.push_tasks([{"x": 1}, {"x": 2}], max_tries=2)
    for attempt in (1, 2):
        assert worker.pop_task().tries == attempt
        worker._store.bury("w1", worker._session.incarnation, Ending("boom", uses_try=True, respawn=True))
        if attempt == 1:
            assert net.queued_tasks == [first, second]
        worker._session.resume()
    assert net.failed_tasks == [first]
    assert net.fetch_failed_tasks().loc[first, "condition"]["message"] == "boom"


def test_the_same_result_of_somebody_else_is_not_ones_own(net, worker):
    (key,) = net.push_tasks([{"x": 1}], max_tries=2)
    task = worker.pop_task(timeout=0)
    lost = Ending("lost", uses_try=True, state=WorkerState.LOST)
    assert worker._store.bury("w1", worker._session.incarnation, lost)
    with rush.RushWorker(net.network_id, net.config, "w2") as other:
        again = other.pop_task(timeout=0)
        assert other.finish_tasks([again.key], [{"y": 1}]) == [key]
        assert worker.finish_tasks([task.key], [{"y": 1}]) == []
    assert net.fetch_finished_tasks()["worker_id"].tolist() == ["w2"]


def test_known_stops_use_no_try_but_the_twentieth_fails(net, worker):
    (key,) = net.push_tasks([{"x": 1}])
    for _ in range(20):
        assert worker.pop_task(timeout=0).tries == 1
        worker._store.bury("w1", worker._session.incarnation, Ending("drained", uses_try=False, respawn=True))
    assert net.is_failed_task([key]) == [True]
    assert "stopped 20 times" in net.fetch_failed_tasks().loc[key, "condition"]["message"]


def test_tasks_born_running_fail_at_once_when_their_worker_ends(net, worker):
    (key,) = worker.push_running_tasks([{"x": 1}])
    worker.set_terminated()
    assert net.failed_tasks == [key]
    with pytest.raises(rush.WorkerEnded, match="has ended"):
        worker.push_running_tasks([{"x": 2}])


def test_companions_of_length_one_stretch_and_others_raise_before_anything_is_written(net):
    keys = net.push_finished_tasks([{"x": 1}, {"x": 2}], [{"y": 1}], [{"a": 1}], [{"b": 2}])
    assert net.fetch_finished_tasks()["y"].tolist() == [1, 1]
    for call in (
        lambda: net.push_tasks([{"x": 1}, {"x": 2}], [{}] * 3),
        lambda: net.push_finished_tasks([{"x": 1}] * 3, [{"y": 1}] * 2),
        lambda: net.push_failed_tasks([{"x": 1}] * 3, ["a", "b"]),
        lambda: net.finish_tasks(keys, [{"y": 1}] * 3),
        lambda: net.fail_tasks([*keys, "c"], ["a", "b"]),
    ):
        with pytest.raises(ValueError, match=r"it must have \d or 1"):
            call()
    assert counts(net) == (0, 0, 2, 0)


def test_empty_lists_are_a_no_op(net):
    assert net.push_tasks([]) == []
    assert net.push_running_tasks([]) == []
    assert net.push_finished_tasks([], []) == []
    assert net.push_failed_tasks([]) == []
    assert net.finish_tasks([], []) == []
    assert net.fail_tasks([]) == []
    assert net.empty_queue() == []
    assert net.cancel_tasks([]) == []
    assert net.n_tasks == 0


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda net: net.push_tasks({"x": 1}), TypeError, "put a single one in a list"),
        (lambda net: net.push_tasks([1]), TypeError, r"xss\[0\] must be a dict"),
        (lambda net: net.push_tasks([{"key": 1}]), ValueError, "must not use the name 'key'"),
        (lambda net: net.push_tasks([{1: 1}]), TypeError, "names of type str"),
        (lambda net: net.push_tasks([{"x": 1}], [1]), TypeError, r"xss_extra\[0\]"),
        (lambda net: net.push_tasks([{"x": 1}], max_tries=0), ValueError, "1 to 65535, got 0"),
        (lambda net: net.push_tasks([{"x": 1}], max_tries=1.5), TypeError, "must be an int"),
        (lambda net: net.push_tasks([{"x": 1}], timeout=0), ValueError, "more than 0"),
        (lambda net: net.pop_task(timeout=-1), ValueError, "0 or more seconds, got -1"),
        (lambda net: net.pop_task(timeout="1"), TypeError, "number of seconds"),
        (lambda net: net.pop_task(fields=["ys"]), ValueError, "no field 'ys'"),
        (lambda net: net.finish_tasks("abc", [{}]), TypeError, "list of task keys"),
        (lambda net: net.finish_tasks([1], [{}]), TypeError, r"keys\[0\]"),
        (lambda net: net.fetch_tasks(["xs_extr"]), ValueError, "did you mean 'xs_extra'"),
        (lambda net: net.fetch_tasks_with_state(states=["quued"]), ValueError, "did you mean 'queued'"),
        (lambda net: net.tasks_with_state([]), ValueError, "must not be empty"),
        (lambda net: net.wait_for_tasks([]), ValueError, "must not be empty"),
        (lambda net: net.wait_for_tasks(["nothing"]), KeyError, "no task 'nothing'"),
        (lambda net: net.fail_tasks(["a"], [3]), TypeError, "a condition must be"),
        (lambda net: net.write_hashes(keys=["a"], values={"f\0": 1}), ValueError, "NUL"),
    ],
)
def test_bad_arguments_say_what_would_be_right(net, call, error, text):
    with pytest.raises(error, match=text):
        call(net)
    assert net.n_tasks == 0


@pytest.mark.parametrize("name", ["a b", "a*", "{a}", "", "x" * 129])
def test_ids_with_other_characters_are_refused(config, name):
    with pytest.raises(ValueError, match="1 to 128"):
        Rush(name, config)


def test_an_exception_is_stored_with_type_message_and_traceback(net, worker):
    (key,) = worker.push_running_tasks([{"x": 1}])
    try:
        raise RuntimeError("no luck")
    except RuntimeError as error:
        worker.fail_tasks([key], [error])
    condition = net.fetch_failed_tasks().loc[key, "condition"]
    assert (condition["message"], condition["type"]) == ("no luck", "RuntimeError")
    assert "raise RuntimeError" in condition["traceback"]


def test_queued_tasks_are_removed_all_or_named(net, caplog):
    keys = net.push_tasks([{"x": i} for i in range(4)])
    assert net.empty_queue([keys[1]], [{"message": "mine", "code": 3}]) == [keys[1]]
    assert net.fail_tasks([keys[0]]) == []
    assert net.empty_queue() == [keys[0], keys[2], keys[3]]
    table = net.fetch_failed_tasks()
    assert table.loc[keys[1], "condition"]["code"] == 3
    assert table.loc[keys[0], "condition"]["message"] == "Removed from queue"
    assert net.empty_queue([keys[0]]) == []
    assert "stay as they are" in caplog.text


def test_cancelled_tasks_fail_whatever_tries_are_left(net, worker):
    queued, running = net.push_tasks([{"x": 1}, {"x": 2}], max_tries=5)[::-1]
    task = worker.pop_task()
    assert task.key == running
    assert sorted(net.cancel_tasks([queued, running, "nothing"])) == sorted([queued, running])
    assert counts(net) == (0, 0, 0, 2)
    assert worker.finish_tasks([task.key], [{"y": 1}]) == []


def test_a_waiting_pop_wakes_at_a_push(net, worker):
    got = []
    thread = threading.Thread(target=lambda: got.append(worker.pop_task(timeout=20)))
    thread.start()
    (key,) = net.push_tasks([{"x": 1}])
    thread.join(5)
    assert got[0].key == key


def test_one_push_wakes_as_many_as_there_are_tasks(net):
    workers = [rush.RushWorker(net.network_id, net.config) for _ in range(3)]
    got = []
    threads = [threading.Thread(target=lambda w=w: got.append(w.pop_task(timeout=20))) for w in workers]
    for thread in threads:
        thread.start()
    keys = net.push_tasks([{"x": i} for i in range(3)])
    for thread in threads:
        thread.join(10)
    assert sorted(task.key for task in got) == sorted(keys)


def test_a_task_that_was_fetched_ahead_is_the_next_to_be_popped_when_the_loop_is_broken_off(net, worker):
    net.push_tasks([{"x": i} for i in range(3)])
    for task in worker.tasks(prefetch=1, timeout=0):
        task.finish({"y": 0})
        break
    assert [worker.pop_task(timeout=0).xs["x"] for _ in range(2)] == [1, 2]
    assert net.n_finished_tasks == 1


@pytest.mark.parametrize("prefetch", [0, 1])
def test_the_iterator_works_through_the_queue(net, worker, prefetch):
    keys = net.push_tasks([{"x": i} for i in range(25)])
    for task in worker.tasks(prefetch=prefetch, timeout=0):
        if task.xs["x"] == 7:
            task.fail("seven")
        elif task.xs["x"] != 9:
            task.finish({"y": task.xs["x"]}, {"e": 1})
    assert counts(net) == (0, 0, 23, 2)
    assert net.fetch_finished_tasks()["y"].tolist() == [i for i in range(25) if i not in {7, 9}]
    assert sorted(net.failed_tasks) == sorted([keys[7], keys[9]])


def test_breaking_off_the_iterator_hands_in_what_is_done(net, worker):
    net.push_tasks([{"x": i} for i in range(3)])
    for task in worker.tasks(timeout=0):
        task.finish({"y": 1})
        break
    assert counts(net) == (2, 0, 1, 0)
    with pytest.raises(ValueError, match="prefetch must be 0 or 1"):
        worker.tasks(prefetch=2)


@pytest.mark.parametrize("prefetch", [0, 1])
def test_a_stop_order_ends_the_iterator_and_the_last_result_is_handed_in(net, worker, prefetch, wait_until):
    net.push_tasks([{"x": i} for i in range(10_000)])
    for task in worker.tasks(prefetch=prefetch, timeout=30):
        if task.xs["x"] == 1:
            net.stop_workers("terminate", ["w1"])
            wait_until(lambda: worker.terminated)
        task.finish({"y": task.xs["x"]})
        last = task.key
    assert net.finished_tasks[-1] == last
    assert net.n_finished_tasks < 10_000
    worker.set_terminated()
    assert net.n_running_tasks == 0
    assert net.n_queued_tasks == 10_000 - net.n_finished_tasks


def test_only_workers_that_make_their_own_tasks_are_work_for_whoever_joins(net, worker):
    net.finish_tasks(net.push_running_tasks([{"x": 1}]), [{"y": 1}])
    assert not net._store.has_work()
    worker.finish_tasks(worker.push_running_tasks([{"x": 1}]), [{"y": 1}])
    assert net._store.has_work()


def test_a_result_that_is_no_dict_is_refused_and_another_may_follow(net, worker):
    net.push_tasks([{"x": 1}])
    for task in worker.tasks(timeout=0):
        with pytest.raises(TypeError, match="ys must be a dict, got 3"):
            task.finish(3)
        task.finish({"y": 1})
    assert net.fetch_finished_tasks()["y"].tolist() == [1]


def test_a_task_gets_one_result(net, worker):
    net.push_tasks([{"x": 1}])
    for task in worker.tasks(timeout=0):
        task.finish({"y": 1})
        with pytest.raises(ValueError, match="its result already"):
            task.finish({"y": 2})


def test_hashes_of_the_users_own(net):
    keys = net.write_hashes(a=[1, 2], b=[{"c": 3}], skipped=None)
    assert net.read_hashes(keys, ["a", "b"]) == [{"a": 1, "c": 3}, {"a": 2, "c": 3}]
    assert net.read_hash(keys[0], ["a", "none"]) == {"a": 1, "none": None}
    assert net.read_hashes(["nothing"], ["a"]) == [None]
    (task,) = net.push_tasks([{"x": 1}])
    assert net.read_hash(task, ["xs", "ys"]) == {"xs": {"x": 1}, "ys": None}
    with pytest.raises(ValueError, match="is a task"):
        net.write_hashes(keys=[task], a=[1])
    assert net.write_hashes(keys=["k"], values={"any name": [5]}) == ["k"]
    assert net.read_hash("k", ["any name"]) == {"any name": 5}


def test_tasks_in_any_state_are_read_as_hashes(net, worker):
    finished, failed, running = worker.push_running_tasks([{"x": 1}, {"x": 2}, {"x": 3}])
    worker.finish_tasks([finished], [{"y": 1}])
    worker.fail_tasks([failed], ["no"])
    found = net.read_hashes([finished, failed, running], ["xs", "ys", "condition", "worker_id"], flatten=False)
    assert found[0]["ys"] == {"y": 1}
    assert found[1]["condition"]["message"] == "no"
    assert found[2] == {"xs": {"x": 3}, "ys": None, "condition": None, "worker_id": "w1"}


def test_deprecated_names_say_what_to_use(net, worker):
    first, second = worker.push_running_tasks([{"x": 1}, {"x": 2}])
    with pytest.warns(DeprecationWarning, match="use finish_tasks"):
        assert worker.push_results([first], [{"y": 1}]) == [first]
    with pytest.warns(DeprecationWarning, match="use fail_tasks"):
        assert worker.push_failed([second]) == [second]


def test_long_calls_are_several_steps(net):
    keys = net.push_tasks([{"x": i} for i in range(12_000)])
    assert net.n_queued_tasks == 12_000
    assert net.queued_tasks == keys
    assert len(net.empty_queue()) == 12_000


def test_copies_and_pickles_have_connections_of_their_own(net):
    net.push_tasks([{"x": 1}])
    for other in (copy.copy(net), pickle.loads(pickle.dumps(net)), net.reconnect()):
        assert other.n_queued_tasks == 1
        other._store.close()


def test_a_task_key_remembers_its_attempt_when_pickled():
    key = pickle.loads(pickle.dumps(TaskKey("abc", 3)))
    assert (key, key.attempt, hash(key)) == ("abc", 3, hash("abc"))
