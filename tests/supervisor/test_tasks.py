"""Tasks that run too long, and tasks that are cancelled."""

import time

import pytest

from rush.manager import Rush
from tests.supervisor import loops
from tests.supervisor.conftest import alive, condition_of, end, loop_of, start, waits


def test_a_task_that_overruns_fails_and_a_fresh_loop_takes_the_workers_place(net, tmp_path):
    (key,) = net.push_tasks([{"how": "sleep_at", "value": str(tmp_path / "began")}], timeout=0.5)
    (worker,) = start(net, loops.obey)
    first = loop_of(net, worker)
    assert condition_of(net, key)["message"] == "timed out after 0.5 s"
    waits(lambda: not alive(first))
    net.push_tasks([{"how": "nothing"}])
    waits(lambda: net.n_finished_tasks == 1)
    second = int(net.fetch_finished_tasks()["pid"].iloc[0])
    assert second != first
    assert net._store.running_workers() == {worker}
    assert loop_of(net, worker) == second


def test_a_timeout_uses_a_try(net, tmp_path):
    (key,) = net.push_tasks([{"how": "sleep", "value": 60.0}], timeout=0.3, max_tries=2)
    start(net, loops.obey)
    began = time.monotonic()
    assert condition_of(net, key)["message"] == "timed out after 0.3 s"
    assert time.monotonic() - began > 0.4


def test_a_timeout_ends_code_that_never_comes_back_to_the_interpreter(net):
    (key,) = net.push_tasks([{"how": "hold", "value": 60.0}], timeout=1.0)
    (worker,) = start(net, loops.obey)
    assert condition_of(net, key)["message"] == "timed out after 1 s"
    (other,) = net.push_tasks([{"how": "nothing"}])
    assert net.wait_for_tasks([other], timeout=20)
    assert net._store.running_workers() == {worker}


def test_only_the_task_that_overran_pays_and_the_one_behind_it_goes_back(net):
    slow, behind = net.push_tasks([{"how": "sleep", "value": 60.0}, {"how": "nothing"}], timeout=1.0)
    (worker,) = start(net, loops.obey_ahead)
    assert condition_of(net, slow)["message"] == "timed out after 1 s"
    assert net.wait_for_tasks([behind], timeout=20)
    assert net.finished_tasks == [behind]
    assert net.fetch_finished_tasks()["tries"].tolist() == [1]
    assert net._store.running_workers() == {worker}


@pytest.mark.slow
def test_a_task_that_overruns_while_the_server_is_away_fails_when_it_is_back(start_server, new_network_id, tmp_path):
    server = start_server(settings={"appendfsync": "always"})
    net = Rush(new_network_id(), server.config)
    (key,) = net.push_tasks([{"how": "sleep_at", "value": str(tmp_path / "began")}], timeout=2.0)
    (worker,) = start(net, loops.obey)
    waits((tmp_path / "began").exists)
    loop = loop_of(net, worker)
    server.stop()
    waits(lambda: not alive(loop))
    server.start()
    assert condition_of(net, key)["message"] == "timed out after 2 s"
    waits(lambda: loop_of(net, worker) != loop, what="the fresh loop")
    assert net._store.running_workers() == {worker}
    end(net)


def test_a_task_that_is_done_in_time_is_left_alone(net):
    net.push_tasks([{"how": "sleep", "value": 0.1}] * 3, timeout=0.5)
    (worker,) = start(net, loops.obey)
    first = loop_of(net, worker)
    waits(lambda: net.n_finished_tasks == 3)
    end = time.monotonic() + 0.8
    waits(lambda: time.monotonic() > end)
    assert loop_of(net, worker) == first
    assert alive(first)


def test_ones_own_running_task_may_have_a_timeout(net):
    (worker,) = start(net, loops.own_task, timeout=0.4)
    waits(lambda: net.n_failed_tasks == 1)
    (key,) = net.tasks_with_state("failed")["failed"]
    assert condition_of(net, key)["message"] == "timed out after 0.4 s"
    waits(lambda: net._store.incarnations([worker]))


def test_a_cancelled_running_task_ends_its_loop_and_a_fresh_one_goes_on(net, tmp_path):
    (key,) = net.push_tasks([{"how": "sleep_at", "value": str(tmp_path / "began")}], max_tries=5)
    (worker,) = start(net, loops.obey)
    waits((tmp_path / "began").exists)
    first = loop_of(net, worker)
    assert net.cancel_tasks([key]) == [key]
    assert net.is_failed_task([key])[0]
    waits(lambda: not alive(first), 3, "the end of the loop")
    net.push_tasks([{"how": "nothing"}])
    waits(lambda: net.n_finished_tasks == 1)
    assert net.n_failed_tasks == 1
    assert net._store.running_workers() == {worker}


def test_cancelling_one_task_leaves_the_other_loops_alone(net, tmp_path):
    keys = net.push_tasks([{"how": "sleep_at", "value": str(tmp_path / name)} for name in "ab"])
    start(net, loops.obey, 2)
    waits(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
    owners = net.fetch_running_tasks()["worker_id"]
    kept, ended = loop_of(net, owners[keys[0]]), loop_of(net, owners[keys[1]])
    net.cancel_tasks([keys[1]])
    waits(lambda: not alive(ended))
    assert alive(kept)
    assert net.running_tasks == [keys[0]]


@pytest.mark.parametrize("round_", range(3))
def test_a_loop_that_has_gone_on_to_another_task_is_not_ended(net, round_):
    (worker,) = start(net, loops.obey)
    first = loop_of(net, worker)
    (key,) = net.push_tasks([{"how": "sleep", "value": 0.15}])
    waits(lambda: net.is_running_task([key])[0])
    net.cancel_tasks([key])
    net.push_tasks([{"how": "nothing"}])
    waits(lambda: net.n_finished_tasks == 1)
    assert net.n_failed_tasks == 1
    assert alive(loop_of(net, worker)) or loop_of(net, worker) != first
