"""How loops end, and who hears of it."""

import os
import signal
import time

import psutil
import pytest

from rush.errors import WorkerStartError
from tests.supervisor import loops
from tests.supervisor.conftest import alive, condition_of, loop_of, reason_of, start, supervisor_of, waits


@pytest.mark.parametrize(
    ("how", "value", "reason"),
    [
        ("raise", "a bad value", "ValueError: a bad value"),
        ("vanish", 3, "exited with code 3"),
        ("exit", 4, "exited with code 4"),
        ("signal", loops.SEGV, "killed by signal 11 (SIGSEGV)"),
        ("signal", loops.KILL, "killed by signal 9 (SIGKILL)"),
    ],
)
def test_worker_info_says_how_a_loop_ended(net, how, value, reason):
    (worker,) = net.start_workers(loops.ends, how=how, value=value)
    assert reason_of(net, worker) == reason
    table = net.worker_info.set_index("worker_id")
    assert table.loc[worker, "state"] == "terminated"
    assert table.loc[worker, "reason"] == reason


def test_a_loop_that_returns_ends_its_worker_and_the_supervisor_with_code_0(net):
    (worker,) = net.start_workers(loops.returns)
    supervisor = psutil.Process(supervisor_of(net, worker))
    assert reason_of(net, worker) == "its loop returned"
    waits(lambda: not alive(supervisor.pid))


def test_the_last_lines_of_stderr_are_kept(net):
    (worker,) = net.start_workers(loops.ends, how="complain", value="the very last word")
    assert reason_of(net, worker) == "exited with code 1"
    assert net._store.ended_workers()[worker].tail == "first complaint\nthe very last word\n"


def test_a_traceback_stands_in_the_tail(net):
    (worker,) = net.start_workers(loops.ends, how="raise", value="told at length")
    reason_of(net, worker)
    tail = net._store.ended_workers()[worker].tail
    assert "Traceback" in tail
    assert "ValueError: told at length" in tail


def test_death_is_reported_within_100_ms_and_the_task_fails_with_the_reason(net):
    (worker,) = start(net, loops.own_task)
    waits(lambda: net.n_running_tasks == 1)
    (key,) = net.tasks_with_state("running")["running"]
    began = time.monotonic()
    os.kill(loop_of(net, worker), signal.SIGKILL)
    while net._store.running_workers():
        time.sleep(0.001)
    assert time.monotonic() - began < 0.1
    assert condition_of(net, key)["message"] == "killed by signal 9 (SIGKILL)"


def test_a_crash_uses_a_try_and_the_task_goes_back_while_tries_are_left(net):
    (key,) = net.push_tasks([{"how": "vanish", "value": 3}], max_tries=2)
    (first,) = net.start_workers(loops.obey)
    reason_of(net, first)
    assert net.queued_tasks == [key]
    (second,) = net.start_workers(loops.obey)
    reason_of(net, second)
    assert condition_of(net, key)["message"] == "exited with code 3"


def test_a_crashed_loop_is_started_anew_as_often_as_max_restarts_says(net, tmp_path):
    (worker,) = net.start_workers(loops.ends, how="vanish", value=3, max_restarts=2)
    assert reason_of(net, worker) == "exited with code 3"
    assert net._store.workers()[0].worker_id == worker
    (phoenix,) = start(net, loops.ends_first, max_restarts=1, folder=str(tmp_path), how="signal", value=loops.SEGV)
    waits((tmp_path / phoenix).exists)
    first = loop_of(net, phoenix)
    waits(lambda: loop_of(net, phoenix) != first or alive(loop_of(net, phoenix)))
    waits(lambda: phoenix in net._store.incarnations([phoenix]))
    assert phoenix in net._store.running_workers()


def test_an_import_that_fails_raises_from_wait_for_workers(net):
    net.start_workers(loops.idle, n_workers=2, modules=["no_such_module_anywhere"])
    with pytest.raises(WorkerStartError, match=r"(?s)No module named 'no_such_module_anywhere'.*Traceback"):
        net.wait_for_workers(2, timeout=20)


def test_an_argument_that_cannot_be_unpickled_raises_from_wait_for_workers(net):
    net.start_workers(loops.ends, how=Grenade(), value=1)
    with pytest.raises(WorkerStartError, match="pin pulled"):
        net.wait_for_workers(1, timeout=20)


class Grenade:
    """Goes off when it is unpickled."""

    def __reduce__(self):
        return (eval, ("(_ for _ in ()).throw(ArithmeticError('pin pulled'))",))


def test_a_missing_log_folder_is_named(net, tmp_path):
    net.start_workers(loops.idle, message_log=str(tmp_path / "nowhere"))
    with pytest.raises(WorkerStartError, match=r"message_log .*nowhere"):
        net.wait_for_workers(1, timeout=20)


@pytest.mark.parametrize(("field", "version"), [("rush", "99.1.0"), ("python", "3.2.1")])
def test_versions_that_do_not_fit_are_both_named(net, monkeypatch, field, version):
    import dataclasses

    from rush.manager import rush as module

    honest = module.make_spec
    monkeypatch.setattr(module, "make_spec", lambda *a: dataclasses.replace(honest(*a), **{field: version}))
    net.start_workers(loops.idle)
    with pytest.raises(WorkerStartError, match=version) as caught:
        net.wait_for_workers(1, timeout=20)
    ours = ".".join(map(str, os.sys.version_info[:3])) if field == "python" else net._store.read_loop().python and None
    assert ours is None or ours in str(caught.value)


def test_what_a_loop_has_started_ends_with_it(net):
    (worker,) = start(net, loops.with_child)
    waits(lambda: net.n_finished_tasks == 1)
    child = int(net.fetch_finished_tasks()["child"].iloc[0])
    assert alive(child)
    net.stop_workers("kill", [worker])
    waits(lambda: not alive(child), what="the end of the loop's child")


def test_a_killed_supervisor_leaves_no_loop_behind_and_another_one_notices(net):
    (witness,) = start(net, loops.idle, heartbeat_period=0.2, heartbeat_expire=1.0)
    (worker,) = start(net, loops.own_task, heartbeat_period=0.2, heartbeat_expire=1.0)
    waits(lambda: net.n_running_tasks == 1)
    (key,) = net.tasks_with_state("running")["running"]
    loop = loop_of(net, worker)
    net._started.clear()  # this manager shall not notice
    os.kill(supervisor_of(net, worker), signal.SIGKILL)
    waits(lambda: not alive(loop), 5, "the end of the orphaned loop")
    assert "no heartbeat for 1 s" in reason_of(net, worker)
    assert "no heartbeat for 1 s" in condition_of(net, key)["message"]
    assert net._store.ended_workers()[worker].state == "lost"
    assert net._store.running_workers() == {witness}


def test_a_killed_zygote_takes_its_loops_along_and_the_supervisor_reports_them(net):
    workers = start(net, loops.steady, 2, seconds=60)
    supervisor = psutil.Process(supervisor_of(net, workers[0]))
    pids = [loop_of(net, worker) for worker in workers]
    (zygote,) = supervisor.children()
    waits(lambda: net.n_running_tasks == 2)  # registered, and the supervisor has been told
    zygote.kill()
    for worker in workers:
        assert "killed by signal 9 (SIGKILL)" in reason_of(net, worker)
    waits(lambda: not any(alive(pid) for pid in pids))


def test_loops_are_started_anew_from_a_new_zygote(net):
    (worker,) = start(net, loops.steady, seconds=60, max_restarts=1)
    (zygote,) = psutil.Process(supervisor_of(net, worker)).children()
    first = loop_of(net, worker)
    waits(lambda: net.n_running_tasks == 1)  # registered, and the supervisor has been told
    zygote.kill()
    waits(lambda: loop_of(net, worker) != first)
    waits(lambda: net._store.incarnations([worker]))
    waits(lambda: alive(loop_of(net, worker)))
    waits(lambda: net._store.running_workers() == {worker})
