"""Data that is not rush's: what cannot be read is said once and left out, the rest is served, and no task is lost."""

import logging
import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rush
from rush.codec import Codec
from rush.keys import Keys
from rush.manager import Rush
from rush.manager.finished import FinishedTasks
from rush.store.tasks import body
from tests.conftest import patience

GARBAGE = b"\xc1not rush's"


@pytest.fixture
def net(network_id, config):
    return Rush(network_id, config)


@pytest.fixture
def worker(network_id, config):
    return rush.RushWorker(network_id, config, "w1")


def key_of(net, name):
    return getattr(net._store.keys, name)


def misplace(net, name):
    """Put something of another type in the place of a key."""
    client, key = net.connector, key_of(net, name)
    kind = client.type(key)
    client.delete(key)
    client.set(key, "a string") if kind == b"list" else client.rpush(key, "a list")


def spoil(net, name):
    """Overwrite every value under a key with garbage."""
    client, key = net.connector, key_of(net, name)
    match client.type(key):
        case b"hash":
            for field in [*client.hkeys(key), b"\xff\xfe"]:
                client.hset(key, field, GARBAGE)
        case b"list":
            for at in range(client.llen(key)):
                client.lset(key, at, GARBAGE)
        case b"zset":
            client.zadd(key, {b"\xff\xfe": -1})


def remove(net, name):
    net.connector.delete(key_of(net, name))


def every_call(net, worker):
    """Give calls of every kind, by name, on a network that has something of everything."""
    queued = net.push_tasks([{"x": 1}, {"x": 2}, {"x": 3}], max_tries=2)
    task = worker.pop_task(timeout=0)
    running = net.push_running_tasks([{"x": 4}])
    net.push_finished_tasks([{"x": 5}], [{"y": 5}])
    net.push_failed_tasks([{"x": 6}])
    net.write_hashes(keys=["mine"], a=[1])
    return {
        "n_tasks": lambda: net.n_tasks,
        "worker_info": lambda: net.worker_info,
        "worker_ids": lambda: (net.worker_ids, net.running_worker_ids, net.placements, str(net)),
        "fetch_finished_tasks": net.fetch_finished_tasks,
        "fetch_new_tasks": lambda: net.fetch_new_tasks(timeout=0.01),
        "fetch_queued_tasks": net.fetch_queued_tasks,
        "fetch_running_tasks": net.fetch_running_tasks,
        "fetch_failed_tasks": net.fetch_failed_tasks,
        "fetch_tasks_with_state": net.fetch_tasks_with_state,
        "tasks": lambda: net.tasks,
        "read_hash": lambda: (net.read_hash("mine", ["a"]), net.read_hash(queued[1], ["xs"])),
        "is_running_task": lambda: net.is_running_task(queued),
        "read_log": net.read_log,
        "detect_lost_workers": net.detect_lost_workers,
        "finish_tasks": lambda: worker.finish_tasks([task.key], [{"y": 1}]),
        "pop_task": lambda: worker.pop_task(timeout=0),
        "push_tasks": lambda: net.push_tasks([{"x": 7}]),
        "fail_tasks": lambda: net.fail_tasks(running),
        "cancel_tasks": lambda: net.cancel_tasks(queued),
        "empty_queue": net.empty_queue,
        "terminated": lambda: worker.terminated,
        "stop_workers": lambda: net.stop_workers("terminate"),
        "set_terminated": worker.set_terminated,
        "reset": net.reset,
    }


@pytest.mark.parametrize("damage", [misplace, spoil, remove])
@pytest.mark.parametrize("name", list(Keys.__annotations__))
def test_whatever_is_damaged_a_call_works_or_says_what_is_wrong(net, worker, monkeypatch, name, damage):
    monkeypatch.setattr("rush.manager.rush.KILL_WAIT", 0.05)
    calls = every_call(net, worker)
    damage(net, name)
    for call in calls.values():
        try:
            call()
        except rush.RushError as error:
            assert str(error)  # noqa: PT017 - which calls fail is not the point


def test_a_log_that_is_no_list_is_said_once_and_the_rest_is_served(net, worker, caplog):
    calls = every_call(net, worker)
    misplace(net, "log")
    for name in (
        "n_tasks",
        "fetch_queued_tasks",
        "fetch_running_tasks",
        "fetch_failed_tasks",
        "fetch_tasks_with_state",
    ):
        calls[name]()
    assert net.fetch_finished_tasks().empty
    assert net.n_finished_tasks == 0
    assert (net.n_queued_tasks, net.n_running_tasks, net.n_failed_tasks) == (2, 2, 1)
    assert caplog.text.count(":log is no list") == 1


def test_a_result_that_cannot_be_written_down_leaves_its_task_running(net, worker):
    (key,) = worker.push_running_tasks([{"x": 1}])
    net.push_finished_tasks([{"x": 0}], [{"y": 0}])
    misplace(net, "log")
    with pytest.raises(rush.RushError, match="WRONGTYPE"):
        worker.finish_tasks([key], [{"y": 1}])
    remove(net, "log")
    remove(net, "index")
    assert net.running_tasks == [key]
    assert worker.finish_tasks([key], [{"y": 1}]) == [key]
    assert net.fetch_finished_tasks()["y"].tolist() == [1]


def test_log_records_that_are_no_list_are_said_once_and_kept_by_their_handler(net, network_id, config, caplog):
    net._session.open()
    handler = rush.RedisHandler(config, network_id, "w1")

    def log(text):
        handler.handle(logging.LogRecord("campaign", logging.INFO, __file__, 1, text, None, None))

    log("first")
    misplace(net, "logs")
    assert net.read_log().empty
    assert net.read_log().empty
    assert caplog.text.count(":logs is no list") == 1
    log("second")
    remove(net, "logs")
    patience(lambda: log("more") or not net.read_log().empty, what="the records")
    handler.close()
    assert net.read_log()["msg"].tolist()[0] == "second"


@pytest.mark.parametrize("change", ["vanished", "garbage", "short"])
@pytest.mark.parametrize("how", ["pop", "tasks", "prefetch"])
def test_a_queued_task_that_cannot_be_read_is_said_and_the_next_is_taken(net, worker, caplog, change, how):
    keys = net.push_tasks([{"x": number} for number in range(6)])
    client, stored = net.connector, key_of(net, "queued")
    for key in (keys[0], keys[2], keys[5]):
        if change == "vanished":
            client.hdel(stored, key)
        else:
            head = client.hget(stored, key)[:11]
            client.hset(stored, key, head + GARBAGE if change == "garbage" else b"\x00")
    taken = []
    if how == "pop":
        while (task := worker.pop_task(timeout=0.01)) is not None:
            taken += worker.finish_tasks([task.key], [{"y": 1}])
    else:
        for task in worker.tasks(prefetch=how == "prefetch", timeout=0.01):
            task.finish({"y": 1})
            taken.append(task.key)
    assert taken == [keys[1], keys[3], keys[4]] == net.finished_tasks
    assert (net.n_queued_tasks, net.n_running_tasks) == (0, 0)
    if change == "vanished":
        assert "have vanished" in caplog.text
    else:
        assert net.n_failed_tasks == 3
        for key in (keys[0], keys[2], keys[5]):
            assert caplog.text.count(f"task {key} cannot be read and fails") == 1


def test_a_pop_that_met_only_vanished_tasks_waits_on(net, worker):
    net.connector.zadd(key_of(net, "queue"), {"vanished": -1})
    popped = []
    thread = threading.Thread(target=lambda: popped.append(worker.pop_task(timeout=20)))
    thread.start()
    (key,) = net.push_tasks([{"x": 1}])
    thread.join(20)
    assert [task.key for task in popped] == [key]


def test_a_worker_without_the_right_key_does_not_use_up_the_queue(net, network_id, config):
    net.push_tasks([{"x": object}, {"x": object}])
    stranger = rush.RushWorker(network_id, replace(config, signing_key=b"another key of 16 bytes"), "stranger")
    with pytest.raises(rush.CodecError, match="not signed with this process's key"):
        stranger.pop_task(timeout=0)
    assert (net.n_queued_tasks, net.n_failed_tasks) == (1, 0)


def test_finished_tasks_in_unknown_bytes_are_left_out_with_one_warning(net, caplog):
    net.push_finished_tasks([{"x": 1}], [{"y": 1}])
    client, log = net.connector, key_of(net, "log")
    (record,) = client.lrange(log, 0, -1)
    unknown = record[:-2] + b"\xd4\x63\x00" + record[-1:]
    client.rpush(log, GARBAGE, unknown, b"\x93\x01\x02\x03", record)
    assert net.fetch_finished_tasks()["y"].tolist() == [1, 1]
    assert net.fetch_finished_tasks()["y"].tolist() == [1, 1]
    assert caplog.text.count("3 finished task(s) could not be read") == 1


def test_descriptions_of_workers_that_cannot_be_read_are_left_out_with_one_warning(net, worker, caplog):
    for name in ("workers", "ended", "placements"):
        net.connector.hset(key_of(net, name), "stranger", GARBAGE)
    for _ in range(3):
        assert net.worker_ids == net.running_worker_ids == ["w1"]
        assert net.worker_info["worker_id"].tolist() == ["w1"]
    for what in ("description(s) of workers", "ending(s) of workers", "placement(s)"):
        assert caplog.text.count(f"1 {what} cannot be read") == 1


def test_a_worker_loop_that_cannot_be_read_is_named(net):
    net.worker_script(len)
    spoil(net, "loops")
    with pytest.raises(rush.RushError, match=r"worker loop .* cannot be read"):
        rush.start_worker(net.network_id, config=net.config)


packed = st.binary(max_size=60)
damaged = st.tuples(st.integers(0, 200), packed)


@settings(deadline=None)
@given(st.lists(st.one_of(packed, damaged), max_size=6))
def test_any_log_is_read_without_an_error(changes):
    """Records of any bytes, or valid ones with some bytes in the middle replaced, make rows or are left out."""
    codec = Codec(b"key of 16 bytes or more")
    fields = codec.encode_fields({"x": 1.5, "s": "text", "t": (1, 2), "p": object}, "xs")
    valid = b"\x98\x01" + body("k" * 16, fields) + b"\x01\xc0" + fields + b"\xc0"
    records = [
        change if isinstance(change, bytes) else valid[: change[0]] + change[1] + valid[change[0] + len(change[1]) :]
        for change in changes
    ]
    finished = FinishedTasks(lambda first, last: records[first : last + 1], codec)
    n = finished.follow()
    frame = finished.cache.frame(["xs", "ys", "xs_extra", "worker_id"], 0, n)
    assert len(frame) == n <= len(records)
    assert finished.follow() == n
