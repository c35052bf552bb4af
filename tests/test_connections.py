"""Who may connect and who may not; what waits goes on after the connection broke."""

import contextlib
import copy
import logging
import os
import pickle
import random
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import rush
from rush.manager import Rush
from rush.store import list_networks
from rush.store.events import Listener
from tests.conftest import patience
from tests.supervisor.conftest import end
from tests.supervisor.loops import idle, obey


def refused(config, match):
    """Say that a manager is turned away at once, however long it would try a server that is away."""
    began = time.monotonic()
    with pytest.raises(rush.ConnectionFailed, match=match) as caught:
        Rush("refused", replace(config, retry_timeout=20.0)).push_tasks([{"x": 1}])
    assert time.monotonic() - began < 5
    return str(caught.value)


def test_no_password_and_a_wrong_user_are_refused_at_once(config):
    refused(replace(config, password=None), "refused this user: NOAUTH")
    assert "hush" not in refused(replace(config, username="nobody", password="hush"), "refused the password")


def test_a_user_without_rights_is_refused_at_once(config, server):
    with server.connected() as client:
        client.acl_setuser("guest", enabled=True, passwords=["+guest"], keys=["rush:*"], commands=["+info", "+hget"])
        try:
            refused(replace(config, username="guest", password="guest"), "refused this user: .*permission")
        finally:
            client.acl_deluser("guest")


def test_a_user_with_the_rights_that_the_docs_name_can_do_everything(start_server, network_id):
    page = Path(__file__).parent.parent / "docs" / "howto" / "servers.md"
    (rule,) = re.findall(r"^ACL SETUSER rush on >PASSWORD (.*)$", page.read_text(), re.MULTILINE)
    server = start_server("redis")
    with server.connected() as client:
        client.execute_command("ACL", "SETUSER", "rush", "on", ">secret", *rule.split())
    net = Rush(network_id, replace(server.config, username="rush", password="secret"))
    workers = net.start_workers(obey, n_workers=1, heartbeat_period=0.2)
    net.wait_for_workers(worker_ids=workers, timeout=30)
    keys = net.push_tasks([{"how": "sleep", "value": 0}])
    assert net.wait_for_tasks(keys, timeout=30)
    assert net.fetch_new_tasks(timeout=5).index.tolist() == keys
    assert net.detect_lost_workers() == []
    assert list_networks(net.config) == [network_id]
    net.stop_workers("terminate")
    patience(lambda: net.n_running_workers == 0, what="the end of the worker")
    end(net)
    net.reset()


def test_a_network_works_over_a_unix_socket_and_survives_a_restart_of_its_server(start_server, network_id):
    server = start_server(settings={"appendfsync": "always"})
    net = Rush(network_id, f"unix://:{server.password}@{server.socket_path}?db=1")
    workers = net.start_workers(obey, n_workers=1, heartbeat_period=0.2)
    net.wait_for_workers(worker_ids=workers, timeout=30)
    server.restart(kill=True)
    keys = net.push_tasks([{"how": "sleep", "value": 0}])
    assert net.wait_for_tasks(keys, timeout=30)
    assert net.connector.exists(net._store.keys.meta)
    with server.connected() as other_database:
        assert other_database.dbsize() == 0
    end(net)
    net.reset()
    net.connector.flushdb()


def test_a_unix_socket_that_is_not_there_is_named(network_id):
    config = rush.RedisConfig(unix_socket="/nowhere/server.sock", retry_timeout=0.1)
    with pytest.raises(rush.ConnectionFailed, match=r"/nowhere/server\.sock"):
        Rush(network_id, config)


def test_a_worker_with_a_wrong_password_ends_at_once_and_says_why(config, network_id):
    with Rush(network_id, config) as net:
        net.worker_script(idle)
        wrong = replace(config, password="a-wrong-secret")
        command = [sys.executable, "-m", "rush.worker", "--network", network_id, "--secrets", "-"]
        began = time.monotonic()
        done = subprocess.run(command, input=wrong.to_secret() + b"\n", capture_output=True, timeout=60, check=False)
        assert time.monotonic() - began < 10
        assert done.returncode == 1
        assert b"refused the password" in done.stderr
        assert b"a-wrong-secret" not in done.stderr


@contextlib.contextmanager
def in_thread(call):
    """Run a call in a thread, and give the list that its result goes into."""
    results = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    yield results
    thread.join(30)
    assert not thread.is_alive()


def blocked(client):
    return client.info("clients")["blocked_clients"]


def kill_connections(client):
    """Have the server cut everybody else's connections."""
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def test_a_pop_that_waits_goes_on_after_a_cut(start_server, network_id):
    server = start_server()
    net = Rush(network_id, server.config)
    worker = rush.RushWorker(network_id, server.config, "w1")
    with server.connected() as client, in_thread(lambda: worker.pop_task(timeout=30)) as popped:
        patience(lambda: blocked(client) == 1, what="the pop")
        kill_connections(client)
        patience(lambda: blocked(client) == 1, what="the pop after the cut")
        (key,) = net.push_tasks([{"x": 1}])
    assert [task.key for task in popped] == [key]


def test_a_wait_for_tasks_and_for_new_ones_goes_on_after_a_restart(start_server, network_id):
    server = start_server(settings={"appendfsync": "always"})
    net, reader = Rush(network_id, server.config), Rush(network_id, server.config)
    worker = rush.RushWorker(network_id, server.config, "w1")
    (key,) = worker.push_running_tasks([{"x": 1}])
    with (
        in_thread(lambda: net.wait_for_tasks([key], timeout=30)) as waited,
        in_thread(lambda: reader.fetch_new_tasks(timeout=30)) as fetched,
    ):
        with server.connected() as client:
            patience(lambda: blocked(client) == 2, what="the waiting calls")
        server.restart(kill=True)
        with server.connected() as client:
            patience(lambda: blocked(client) == 2, what="the waiting calls after the restart")
        worker.finish_tasks([key], [{"y": 1}])
    assert waited == [True]
    assert fetched[0]["y"].tolist() == [1]


def test_what_happens_between_two_waits_is_not_missed(config, network_id):
    net = Rush(network_id, config)
    (key,) = net.push_running_tasks([{"x": 1}])
    listener = Listener(net._store)
    listener.announce()
    net._store.close()
    net.finish_tasks([key], [{"y": 1}])
    began = time.monotonic()
    listener.wait(20)
    assert time.monotonic() - began < 10


def handler_of(config, network_id, **options):
    handler = rush.RedisHandler(config, network_id, "w1", **options)
    logger = logging.getLogger(f"campaign.{network_id}")
    logger.propagate = False
    logger.setLevel("INFO")
    logger.addHandler(handler)
    return logger, handler


def test_records_logged_while_the_server_is_away_are_written_when_it_is_back(start_server, network_id):
    server = start_server(settings={"appendfsync": "always"})
    net = Rush(network_id, server.config)
    net._session.open()
    logger, handler = handler_of(server.config, network_id)
    logger.warning("before")
    server.stop(kill=True)
    for number in range(5):
        logger.warning("away %d", number)
    server.start()
    patience(lambda: logger.info("%d", len(net.read_log())) or len(net.read_log()) > 6, what="the records")
    handler.close()
    assert net.read_log()["msg"].tolist()[:6] == ["before", *(f"away {number}" for number in range(5))]


def test_a_stalled_server_holds_up_a_logging_program_once_not_at_every_record(start_server, network_id):
    server = start_server()
    net = Rush(network_id, server.config)
    net._session.open()
    logger, handler = handler_of(replace(server.config, socket_timeout=0.5, connect_timeout=0.5), network_id)
    logger.warning("before")
    with server.stalled():
        began = time.monotonic()
        for _ in range(200):
            logger.warning("stalled")
        assert time.monotonic() - began < 3
    handler.close()
    patience(lambda: len(net.read_log()) >= 201, what="the records")


def test_what_a_handler_has_collected_is_written_by_its_own_process_only(config, network_id):
    net = Rush(network_id, config)
    net._session.open()
    logger, handler = handler_of(config, network_id, buffer_size=10)
    logger.info("parent")
    child = os.fork()
    if child == 0:
        try:
            logger.info("child")
            handler.flush()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    handler.close()
    assert sorted(net.read_log()["msg"]) == ["child", "parent"]


def test_copies_and_unpickled_managers_have_a_session_of_their_own(config, network_id):
    net = Rush(network_id, config)
    (key,) = net.push_tasks([{"x": 1}])
    for other in (copy.copy(net), pickle.loads(pickle.dumps(net))):
        assert other.queued_tasks[0] == key
        other._session.open()
        net._session.open()
        assert other._session.id != net._session.id
        assert len(other.push_tasks([{"x": 2}])) == 1
    assert net.n_queued_tasks == 3


def test_the_password_stays_with_what_is_pickled_and_shows_nowhere(config, network_id):
    net = Rush(network_id, config)
    assert config.password not in repr(net) + str(net) + net._repr_html_() + repr(net.config)
    assert pickle.loads(pickle.dumps(net)).config.password == config.password


def test_a_worker_made_by_hand_is_used_from_threads_while_its_connections_break(start_server, network_id):
    server = start_server()
    worker = rush.RushWorker(network_id, server.config, "w1")
    net = Rush(network_id, server.config)
    net.push_tasks([{"x": number} for number in range(200)])
    done = []

    def work():
        while (task := worker.pop_task(timeout=0)) is not None:
            done.extend(worker.finish_tasks([task.key], [{"y": task.xs["x"]}]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    with server.connected() as client:
        while any(thread.is_alive() for thread in threads):
            kill_connections(client)
            time.sleep(random.uniform(0.002, 0.06))
    assert len(done) == len(set(done)) == 200
    assert sorted(net.fetch_finished_tasks()["y"]) == list(range(200))
    assert net.n_tasks == 200


def test_a_task_that_one_thread_is_about_to_get_is_not_given_to_another(config, network_id):
    """A thread has its reply but has not looked at it yet when another finds the connection broken and resumes."""
    net = Rush(network_id, config)
    first, second = net.push_tasks([{"x": 1}, {"x": 2}])
    worker = rush.RushWorker(network_id, config, "w1")
    reply = worker._session.perform("pop", ("0",))
    worker._session._channel.close()
    worker._session.resume()
    assert reply[2:18].decode() == first
    assert worker.pop_task(timeout=0).key == second
    assert worker.pop_task(timeout=0) is None
