"""Workers made by hand, and the loops that a process runs itself: ids, states, stop orders, logs in files."""

import copy
import logging
import os
import pickle
import re
import sys
import time

import pytest

import rush
from rush.config import node_name
from tests.supervisor.loops import obey


def greet(worker):
    logging.getLogger("greeter").info("hello from %s", worker.worker_id)
    sys.stdout.write("to stdout\n")
    sys.stderr.write("to stderr\n")


def raise_at_once(worker):
    raise RuntimeError("no luck")


def test_made_ids_can_be_told_apart(net):
    made = [rush.RushWorker(net.network_id, net.config) for _ in range(3)]
    assert all(re.fullmatch(r"[a-z]+_[a-z]+_[0-9a-f]{8}", worker.worker_id) for worker in made)
    assert net.worker_ids == [worker.worker_id for worker in made]


def test_a_worker_tells_who_and_where_it_is(net, worker):
    table = net.worker_info
    assert table.columns.tolist() == ["worker_id", "pid", "hostname", "heartbeat", "state", "reason", "backend"]
    (row,) = table.to_dict("records")
    assert (row["worker_id"], row["pid"], row["hostname"]) == ("w1", os.getpid(), node_name())
    assert (row["heartbeat"], row["state"], row["reason"], row["backend"]) == (False, "running", None, None)


def test_the_table_of_no_workers_has_the_columns(net):
    assert net.worker_info.shape == (0, 7)


def test_leaving_a_worker_terminates_it(net):
    with rush.RushWorker(net.network_id, net.config, "brief") as worker:
        assert net.running_worker_ids == ["brief"]
        (key,) = worker.push_running_tasks([{"x": 1}])
    assert net.terminated_worker_ids == ["brief"]
    assert net.failed_tasks == [key]
    assert net.worker_info["reason"].tolist() == ["its loop returned"]


def test_a_stop_order_changes_the_state_only_when_the_worker_ends(net, worker):
    assert net.stop_workers("terminate") is net
    assert worker.terminated
    assert net.running_worker_ids == ["w1"]
    worker.set_terminated()
    assert net.terminated_worker_ids == ["w1"]


def test_a_worker_that_is_told_to_stop_does_not_wait_for_tasks(net, worker):
    net.stop_workers("terminate", ["w1"])
    began = time.monotonic()
    assert worker.pop_task(timeout=60) is None
    assert time.monotonic() - began < 30


def test_a_killed_worker_without_heartbeat_is_terminated_at_once_and_its_tasks_use_no_try(net, worker):
    (queued,) = net.push_tasks([{"x": 1}])
    worker.pop_task(timeout=0)
    (born_running,) = worker.push_running_tasks([{"x": 2}])
    net.stop_workers()
    assert net.terminated_worker_ids == ["w1"]
    assert net.queued_tasks == [queued]
    assert net.failed_tasks == [born_running]
    assert net.fetch_failed_tasks().loc[born_running, "condition"]["message"] == "killed by stop_workers"
    assert net.pop_task(timeout=0).tries == 1


def test_of_the_workers_to_stop_unknown_ones_are_named_and_the_others_stop(net, worker, caplog):
    net.stop_workers("kill", ["nobody", "w1", "somebody"])
    assert net.terminated_worker_ids == ["w1"]
    assert "2 worker(s) are not running: nobody, somebody" in caplog.text
    with pytest.raises(TypeError, match="worker_ids must be a list"):
        net.stop_workers("kill", "w1")


def test_who_ended_or_never_ran_a_task_is_not_found_lost(net, worker):
    assert net.detect_lost_workers() == []
    worker.set_terminated()
    assert net.detect_lost_workers() == []
    assert net.n_tasks == 0
    assert net.worker_info["state"].tolist() == ["terminated"]


def test_a_reset_of_the_tasks_keeps_workers_loops_and_logs(net, worker):
    net.worker_script(greet)
    handler = rush.RedisHandler(net.config, net.network_id, "w1")
    handler.handle(logging.makeLogRecord({"msg": "kept", "levelname": "INFO"}))
    handler.close()
    net.push_tasks([{"x": 1}])
    net.push_finished_tasks([{"x": 2}], [{"y": 2}])
    worker.push_running_tasks([{"x": 3}])
    assert net.reset(workers=False) is net
    assert net.n_tasks == 0
    assert len(net.fetch_finished_tasks()) == 0
    assert net.running_worker_ids == ["w1"]
    assert len(net.read_log()) == 1
    (key,) = worker.push_running_tasks([{"x": 4}])
    assert worker.finish_tasks([key], [{"y": 4}]) == [key]
    rush.start_worker(net.network_id, config=net.config, worker_id="later")
    assert net.worker_ids == ["w1", "later"]


def test_without_a_stored_loop_no_worker_starts(net):
    with pytest.raises(KeyError, match="no worker loop is stored for network"):
        rush.start_worker(net.network_id, config=net.config)
    net.worker_script(greet)
    with pytest.raises(KeyError, match="no worker loop 'other'"):
        rush.start_worker(net.network_id, config=net.config, loop_id="other")
    assert net.worker_ids == []


def test_the_loop_stored_last_is_run(net, capsys):
    net.worker_script(raise_at_once)
    net.worker_script(greet)
    rush.start_worker(net.network_id, config=net.config)
    assert "to stdout" in capsys.readouterr().out


def test_arguments_of_a_loop_may_have_the_names_of_options(net, capsys):
    def loop(worker, n_workers, modules, text):
        sys.stdout.write(f"{n_workers} {modules} {text}")

    net.worker_script(loop, loop_args={"n_workers": 3, "modules": "m"}, text="t")
    rush.start_worker(net.network_id, config=net.config)
    assert capsys.readouterr().out == "3 m t"


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"message_log": "/no/such"}, rush.ConfigError, "message_log must be a folder that exists, got '/no/such'"),
        ({"output_log": "/no/such"}, rush.ConfigError, "output_log must be a folder that exists, got '/no/such'"),
        ({"output_log": 3}, TypeError, "output_log must be the path of a folder, got 3"),
        ({"log_levels": {"a": "LOUD"}}, ValueError, "LOUD"),
        ({"log_levels": {"a": "INFO"}, "log_buffer_size": -1}, ValueError, "log_buffer_size .* got -1"),
        ({"heartbeat_period": 0}, ValueError, "more than 0"),
        ({"worker_id": "a b"}, ValueError, "worker_id must be 1 to 128 of"),
    ],
)
def test_bad_settings_of_a_process_register_no_worker(net, options, error, text):
    net.worker_script(greet)
    with pytest.raises(error, match=text):
        rush.start_worker(net.network_id, config=net.config, **options)
    assert net.worker_ids == []


def test_a_process_writes_its_logs_where_it_is_told_and_nowhere_afterwards(net, tmp_path):
    net.worker_script(greet)
    logger = logging.getLogger("greeter")
    handlers = list(logger.handlers)
    rush.start_worker(
        net.network_id,
        config=net.config,
        worker_id="me",
        log_levels={"greeter": "INFO"},
        log_buffer_size=5,
        message_log=tmp_path,
        output_log=tmp_path,
    )
    assert (tmp_path / "output_me.log").read_text().splitlines() == ["output log of worker me", "to stdout"]
    assert (tmp_path / "message_me.log").read_text().splitlines() == ["message log of worker me", "to stderr"]
    assert net.read_log()["msg"].tolist() == ["hello from me"]
    assert logger.handlers == handlers


def test_a_loop_that_raises_ends_its_worker_and_raises_here(net):
    net.worker_script(raise_at_once)
    with pytest.raises(RuntimeError, match="no luck"):
        rush.start_worker(net.network_id, config=net.config, worker_id="me")
    assert net.terminated_worker_ids == ["me"]


def test_a_worker_is_neither_copied_nor_pickled(worker):
    for way in (copy.copy, pickle.dumps):
        with pytest.raises(TypeError, match=r"it is one process's; use rush\.rsh"):
            way(worker)


def test_heartbeat_settings_are_numbers(net):
    with pytest.raises(TypeError, match="heartbeat_period must be a number of seconds, got '5'"):
        rush.RushWorker(net.network_id, net.config, heartbeat_period="5")
    assert net.n_workers == 0


def test_a_worker_that_registers_while_all_are_stopped_is_stopped_too(net, monkeypatch, wait_until):
    (worker,) = net.start_workers(obey, n_workers=1)
    look = net._store.running_workers

    def look_just_before_it_registers():
        monkeypatch.setattr(net._store, "running_workers", look)
        found = look()
        wait_until(lambda: worker in net.worker_ids, timeout=30, what="it registers")
        return found

    monkeypatch.setattr(net._store, "running_workers", look_just_before_it_registers)
    net.stop_workers()
    wait_until(lambda: not net.n_running_workers, timeout=30, what="it ends")
