"""Workers as a manager sees them, on real processes."""

import logging
import shlex
import subprocess
from pathlib import Path

import psutil
import pytest

import rush
from rush.backends import Local
from rush.manager import Rush
from tests.conftest import patience


def idle(worker):
    while not worker.terminated:
        worker.pop_task(timeout=0.2)


def chatter(worker, text="hello"):
    logging.getLogger("chat").info("%s %d", text, 1, extra={"custom": object()})
    idle(worker)


def square(worker):
    for task in worker.tasks(timeout=5):
        task.finish({"y": task.xs["x"] ** 2})


def test_local_workers_work_through_a_queue(net):
    keys = net.push_tasks([{"x": i} for i in range(40)])
    workers = net.start_workers(square, n_workers=2)
    net.wait_for_workers(worker_ids=workers, timeout=30)
    assert net.wait_for_tasks(keys, timeout=30)
    assert sorted(net.fetch_finished_tasks()["y"]) == [i**2 for i in range(40)]
    assert sorted(net.worker_ids) == sorted(workers)
    assert net.placements.keys() == set(workers)


def test_info_names_state_and_reason(net):
    (first, second) = net.start_local_workers(idle, n_workers=2)
    net.wait_for_workers(2, timeout=30)
    assert net.n_running_workers == 2
    net.stop_workers("terminate", [first])
    patience(lambda: net.terminated_worker_ids == [first], what="the end of the first")
    net.stop_workers("kill", [second])
    patience(lambda: net.n_terminated_workers == 2, what="the end of the second")
    table = net.worker_info.set_index("worker_id")
    assert table.loc[first, "reason"] == "its loop returned"
    assert table.loc[second, "reason"] == "killed by stop_workers"
    assert set(table["state"]) == {"terminated"}
    assert net.running_worker_ids == []
    assert net.n_workers == 2


def test_leaving_a_manager_ends_the_workers_that_it_started_and_no_others(net):
    (other,) = net.start_workers(idle)
    with Rush(net.network_id, net.config) as leaving:
        (own,) = leaving.start_workers(idle)
        leaving.wait_for_workers(worker_ids=[own, other], timeout=30)
    assert net.running_worker_ids == [other]
    assert net.worker_info.set_index("worker_id").loc[own, "reason"] == "its loop returned"


def test_stopping_what_does_not_run_warns(net, caplog):
    assert net.stop_workers("kill", ["nobody"]) is net
    assert "not running: nobody" in caplog.text
    with pytest.raises(ValueError, match="no stop type"):
        net.stop_workers("stop")


def test_what_workers_log_can_be_read_and_printed(net, caplog):
    workers = net.start_local_workers(chatter, n_workers=2, log_levels={"chat": "INFO"}, text="hi")
    net.wait_for_workers(2, timeout=30)
    patience(lambda: len(net.read_log()) == 2, what="two records")
    table = net.read_log(time_difference=True)
    assert table.columns.tolist() == ["worker_id", "level", "timestamp", "logger", "caller", "msg", "time_difference"]
    assert set(table["worker_id"]) == set(workers)
    assert table["msg"].tolist() == ["hi 1", "hi 1"]
    assert len(net.read_log([workers[0]])) == 1
    with caplog.at_level(logging.INFO, "chat"):
        net.print_log()
        net.print_log()
    assert caplog.text.count("hi 1") == 2


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda net: net.start_workers(lambda: None), TypeError, "takes no worker"),
        (lambda net: net.start_workers(chatter, txet="x"), TypeError, "did you mean 'text'"),
        (
            lambda net: net.start_local_workers(chatter, backend="ssh"),
            TypeError,
            "no option 'backend'; known: by_value",
        ),
        (
            lambda net: net.start_workers(chatter, loop_args=["text"]),
            TypeError,
            r"loop_args must be a dict, got \['text'\]",
        ),
        (lambda net: net.start_local_workers(idle, n_workers=1.5), TypeError, "n_workers must be an int, got 1.5"),
        (lambda net: net.start_workers(idle, backend=3), TypeError, "backend must be a name or a"),
        (lambda net: net.start_workers(idle, modules="numpy"), TypeError, "modules must be a list of module names"),
        (
            lambda net: net.start_workers(idle, message_log=3),
            TypeError,
            "message_log must be the path of a folder, got 3",
        ),
        (
            lambda net: net.start_workers(idle, time_limit=-1),
            ValueError,
            "time_limit must be more than 0 seconds, got -1",
        ),
        (
            lambda net: net.start_workers(idle, idle_timeout=0),
            ValueError,
            "idle_timeout must be more than 0 seconds, got 0",
        ),
        (
            lambda net: net.start_workers(idle, grace_period=-1),
            ValueError,
            "grace_period must be 0 or more seconds, got -1",
        ),
        (lambda net: net.start_workers(idle, heartbeat_period="5"), TypeError, "must be a number of seconds, got '5'"),
        (
            lambda net: net.start_workers(idle, heartbeat_period=float("nan")),
            ValueError,
            "more than 0 seconds, got nan",
        ),
        (lambda net: net.start_workers(idle, heartbeat_expire=float("inf")), ValueError, "must be finite, got inf"),
        (lambda net: net.start_workers(3), TypeError, "must be a function"),
        (lambda net: net.start_workers(idle, n_workers=0), ValueError, "1 or more, got 0"),
        (lambda net: net.start_workers(idle, n_workers=-1), ValueError, "1 or more, got -1"),
        (lambda net: net.start_workers(idle, backend="slrum"), rush.BackendNotFound, "no backend 'slrum'"),
        (lambda net: net.start_workers(idle, heartbeat_expire=1), ValueError, "must not be less than"),
        (lambda net: net.start_workers(idle, heartbeat_period=0), ValueError, "more than 0"),
        (lambda net: net.start_workers(idle, max_restarts=-1), ValueError, "0 or more"),
        (lambda net: net.start_workers(idle, log_levels={"a": "LOUD"}), ValueError, "LOUD"),
        (lambda net: net.start_workers(chatter, text="a", loop_args={"text": "b"}), TypeError, "give it once"),
        (lambda net: net.wait_for_workers(), ValueError, "needs n, worker_ids or both"),
        (lambda net: net.wait_for_workers(2, ["a"]), ValueError, "has only 1"),
        (lambda net: net.wait_for_workers(1, timeout=0), TimeoutError, "0 of 1"),
        (lambda net: net.worker_script(idle, template="wroker"), rush.ConfigError, "did you mean 'worker'"),
    ],
)
def test_bad_starts_raise_before_anything_starts(net, call, error, text):
    with pytest.raises(error, match=text):
        call(net)
    assert net.placements == {}


def test_a_loop_that_cannot_be_pickled_names_the_culprit(net):
    import threading

    with pytest.raises(rush.CodecError, match="argument 'text'"):
        net.start_workers(chatter, text=threading.Lock())


def test_a_script_starts_a_worker_and_holds_no_secret(net):
    import subprocess

    script = net.worker_script(idle)
    assert net.config.password not in script
    with subprocess.Popen(["sh", "-c", script], stderr=subprocess.PIPE) as process:
        net.wait_for_workers(1, timeout=30)
        net.stop_workers("terminate")
        process.wait(30)


def test_a_process_becomes_a_worker(net):
    net.worker_script(square)
    net.push_tasks([{"x": 3}])
    net.stop_workers()
    rush.start_worker(net.network_id, config=net.config, worker_id="me")
    assert net.fetch_finished_tasks()["worker_id"].tolist() == ["me"]


def test_a_worker_id_is_taken_while_its_worker_runs(net):
    first = rush.RushWorker(net.network_id, net.config, "same")
    with pytest.raises(ValueError, match="is taken"):
        rush.RushWorker(net.network_id, net.config, "same")
    first.set_terminated()
    second = rush.RushWorker(net.network_id, net.config, "same")
    assert not second.terminated
    net.stop_workers("terminate", ["same"])
    assert second.terminated
    assert "same" in repr(second)
    with pytest.raises(TypeError, match="cannot be copied"):
        second.__getstate__()
    second.set_terminated()


@pytest.mark.parametrize(
    ("period", "expire", "text"),
    [
        (0, None, "more than 0"),
        (1, 0.5, "must not be less"),
        (None, 3, "needs heartbeat_period"),
        (-1, 1, "more than 0"),
    ],
)
def test_heartbeat_settings_are_checked(net, period, expire, text):
    with pytest.raises(ValueError, match=text):
        rush.RushWorker(net.network_id, net.config, None, period, expire)
    assert net.n_workers == 0


def test_a_plan_says_how_workers_start(net, capsys):
    assert not rush.rush_available()
    plan = rush.rush_plan(n_workers=2, config=net.config, start_worker_timeout=0.05, backend="script")
    try:
        assert rush.rush_available()
        assert plan["n_workers"] == 2
        assert rush.rush_config() == plan
        assert net.start_workers(idle) == []
        assert "-m rush.worker" in capsys.readouterr().out
        with pytest.raises(TimeoutError, match=r"after 0\.05 s"):
            net.wait_for_workers(1)
        assert Rush(net.network_id).config == net.config
    finally:
        assert rush.remove_rush_plan()
    assert rush.rush_config()["config"] is None


def test_a_large_loop_goes_to_the_shared_folder(net, tmp_path):
    rush.rush_plan(config=net.config, max_object_size=10_000)
    try:
        with pytest.raises(rush.ConfigError, match="large_objects_path"):
            net.start_workers(chatter, text="x" * 20_000)
        rush.rush_plan(config=net.config, max_object_size=10_000, large_objects_path=tmp_path)
        workers = net.start_local_workers(chatter, text="x" * 20_000)
        net.wait_for_workers(worker_ids=workers, timeout=30)
        assert len(list(tmp_path.iterdir())) == 1
    finally:
        rush.remove_rush_plan()


def test_a_handler_collects_and_flushes(net):
    worker = rush.RushWorker(net.network_id, net.config, "w")
    handler = rush.RedisHandler(net.config, net.network_id, "w", buffer_size=2, should_flush=lambda r: r.msg == "now")
    logger = logging.getLogger("mine")
    logger.setLevel("DEBUG")
    logger.addHandler(handler)
    logger.info("one")
    logger.info("two")
    assert len(net.read_log()) == 0
    logger.info("three")
    assert net.read_log()["msg"].tolist() == ["one", "two", "three"]
    logger.info("now")
    logger.error("bad")
    logger.info("last")
    assert len(net.read_log()) == 5
    handler.close()
    assert net.read_log()["level"].tolist() == ["INFO"] * 4 + ["ERROR", "INFO"]
    worker.set_terminated()
    with pytest.raises(ValueError, match="buffer_size"):
        rush.RedisHandler(net.config, net.network_id, "w", buffer_size=-1)


def talk(worker):
    print("a result that is nowhere else", flush=True)  # noqa: T201 - what the test looks for
    idle(worker)


def fail(worker):
    raise RuntimeError("no good")


def folder_of(net, worker):
    return Path(net.placements[worker].stderr).parent


@pytest.mark.parametrize("way", ["terminate", "kill", "reset"])
def test_workers_that_had_nothing_to_say_leave_no_folder(net, tmp_path, way):
    workers = net.start_workers(idle, n_workers=2, backend=Local(folder=str(tmp_path)))
    net.wait_for_workers(2, timeout=30)
    assert len(list(tmp_path.iterdir())) == 1
    if way == "reset":
        net.reset()
    else:
        net.stop_workers(way, workers)
    patience(lambda: not list(tmp_path.iterdir()), what="the removal of the folder")


def test_what_workers_wrote_stays(net, tmp_path):
    (worker,) = net.start_workers(talk, backend=Local(folder=str(tmp_path)))
    net.wait_for_workers(1, timeout=30)
    folder, pid = folder_of(net, worker), net.placements[worker].pid
    net.stop_workers("terminate")
    patience(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")
    assert (folder / f"{worker}.out").read_text() == "a result that is nowhere else\n"


def test_workers_that_fail_leave_what_their_supervisor_said(net, tmp_path):
    (worker,) = net.start_workers(fail, backend=Local(folder=str(tmp_path)))
    folder, pid = folder_of(net, worker), net.placements[worker].pid
    patience(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")
    assert "no good" in (folder / "supervisor.err").read_text()


def test_a_folder_that_was_there_before_stays(net, tmp_path, config):
    net.worker_script(idle)
    words = shlex.split(net.worker_script(idle).splitlines()[-1])[1:]
    process = subprocess.Popen([*words, "--folder", tmp_path], stderr=subprocess.DEVNULL)
    net.wait_for_workers(1, timeout=30)
    net.stop_workers("terminate")
    assert process.wait(30) == 0
    assert tmp_path.is_dir()
