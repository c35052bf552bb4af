"""The local backend with commands of its own: what it starts, what it can see, what it ends."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from rush.backends import Local
from rush.errors import BackendError
from rush.model import PlacementState, WorkerCommand

SCRIPT = """
import sys, time, subprocess
secret = sys.stdin.readline().strip()
print("out", len(secret), flush=True)
print("err", file=sys.stderr, flush=True)
{rest}
"""
SLEEP = "time.sleep(300)"
FAMILY = (
    "subprocess.Popen(['sleep', '300'], start_new_session=True); subprocess.Popen(['sleep', '300']); time.sleep(300)"
)
TIED = "sys.stdin.read()"


@pytest.fixture
def local(tmp_path):
    backend = Local(folder=str(tmp_path))
    placed = []
    backend.placed = placed
    yield backend
    backend.stop(placed, kill=True)
    backend.poll(placed)


def start(backend, rest, *, supervised=False):
    command = WorkerCommand("net", ("w1",), ("-c", SCRIPT.format(rest=rest)), b"secret word", supervised=supervised)
    (placement,) = backend.start([command])
    backend.placed.append(placement)
    return placement


def state(backend, placement):
    return backend.poll([placement])[placement.id].state


def content(path):
    return Path(path).read_text()


def test_a_placement_says_where_its_process_is(local):
    placement = start(local, SLEEP)
    assert placement.worker_ids == ("w1",)
    assert psutil.Process(placement.pid).create_time() == pytest.approx(placement.created, abs=0.1)
    assert state(local, placement) is PlacementState.RUNNING


def test_the_secret_goes_in_by_standard_input_and_shows_nowhere(local, wait_until):
    placement = start(local, SLEEP)
    wait_until(lambda: content(placement.stdout) == "out 11\n")
    assert "secret word" not in " ".join(psutil.Process(placement.pid).cmdline())
    assert "secret word" not in local.preview([WorkerCommand("net", ("w1",), ("-m", "x"), b"secret word")])


def test_the_folder_of_the_output_is_the_users_own(local, wait_until):
    placement = start(local, SLEEP)
    folder = Path(placement.stdout).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    wait_until(lambda: local.tail(placement) == "err\n")
    assert local.tail(replace(placement, host="elsewhere")) == ""


def test_a_process_runs_in_a_session_of_its_own(local):
    placement = start(local, SLEEP)
    assert os.getsid(placement.pid) == placement.pid != os.getsid(0)


def test_an_end_is_seen_with_its_exit_code(local, wait_until):
    placement = start(local, "sys.exit(3)")
    wait_until(lambda: state(local, placement) is PlacementState.ENDED)
    assert local.poll([placement])[placement.id].reason == "exited with code 3"


def test_a_kill_is_seen_with_its_signal(local, wait_until):
    placement = start(local, SLEEP)
    os.kill(placement.pid, signal.SIGKILL)
    wait_until(lambda: state(local, placement) is PlacementState.ENDED)
    assert local.poll([placement])[placement.id].reason == "killed by signal 9 (SIGKILL)"


@pytest.mark.parametrize(
    "change",
    [{"host": "elsewhere"}, {"boot_id": "another"}, {"pid": None}, {"details": {"namespace": "pid:[1]"}}],
    ids=lambda change: next(iter(change)),
)
def test_what_cannot_be_seen_from_here_is_unknown(local, change):
    placement = start(local, SLEEP)
    assert state(local, replace(placement, **change)) is PlacementState.UNKNOWN


def test_another_process_under_the_same_id_is_not_taken_for_it(local):
    placement = start(local, SLEEP)
    other = replace(placement, pid=os.getpid())
    assert state(local, other) is PlacementState.ENDED
    local.stop([other], kill=True)
    without_ticks = replace(placement, details={}, created=placement.created - 100)
    assert state(local, without_ticks) is PlacementState.ENDED


def test_another_process_can_poll_and_stop_it(local, wait_until):
    placement = start(local, SLEEP)
    code = (
        "import sys, ast; from rush.backends import Local; from rush.model import *;"
        "p = eval(sys.argv[1]); print(Local().poll([p])[p.id].state); Local().stop([p], kill=False)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, repr(placement)], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert done.stdout == "running\n"
    wait_until(lambda: state(local, placement) is PlacementState.ENDED)
    assert local.poll([placement])[placement.id].reason == "killed by signal 15 (SIGTERM)"


def test_killing_ends_the_whole_family(local, wait_until):
    placement = start(local, FAMILY)
    wait_until(lambda: len(psutil.Process(placement.pid).children()) == 2)
    family = [psutil.Process(placement.pid), *psutil.Process(placement.pid).children()]
    local.stop([placement], kill=True)
    assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in family)
    assert local.poll([placement])[placement.id].reason == "killed by signal 9 (SIGKILL)"


def test_stopping_what_has_ended_is_no_error(local, wait_until):
    placement = start(local, "sys.exit(0)")
    wait_until(lambda: state(local, placement) is PlacementState.ENDED)
    local.stop([placement], kill=True)
    local.stop([placement], kill=False)


def test_an_unsupervised_process_has_no_manager_on_its_standard_input(local, wait_until):
    placement = start(local, TIED)
    wait_until(lambda: state(local, placement) is PlacementState.ENDED)


def test_a_supervised_process_ends_with_the_one_that_started_it_even_if_that_had_forked(tmp_path, wait_until):
    code = f"""
import os, sys, time
from rush.backends import Local
from rush.model import WorkerCommand
command = WorkerCommand("net", ("w1",), ("-c", {SCRIPT.format(rest=TIED)!r}), b"s", supervised=True)
(placement,) = Local(folder={str(tmp_path)!r}).start([command])
if os.fork() == 0:
    time.sleep(30)
    os._exit(0)
print(placement.pid, flush=True)
sys.stdin.read()
os._exit(0)
"""
    manager = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    tied = psutil.Process(int(manager.stdout.readline()))
    fork = psutil.Process(manager.pid).children()
    assert tied.is_running()
    manager.stdin.close()
    manager.wait()
    manager.stdout.close()
    wait_until(lambda: not tied.is_running() or tied.status() == psutil.STATUS_ZOMBIE)
    for child in fork:
        if child.pid != tied.pid:
            child.kill()


def test_an_interpreter_that_is_not_there_is_an_error_that_names_it():
    command = WorkerCommand("net", ("w1",), ("-m", "rush.worker"), b"s")
    with pytest.raises(BackendError, match="/no/such/python"):
        Local(python="/no/such/python").start([command])
