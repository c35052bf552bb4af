"""The SSH backend with commands of its own, on a real sshd: what it starts, what it can see, what it ends."""

import platform
import shlex
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from rush.backends.ssh import scripts as ssh_scripts
from rush.backends.ssh.backend import SSH
from rush.backends.ssh.config import Target
from rush.backends.ssh.links import LinkLost, close_links, link_to
from rush.errors import BackendError
from rush.model import Placement, PlacementState, WorkerCommand

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


def command(rest, worker="w1"):
    return WorkerCommand("net", (worker,), ("-c", SCRIPT.format(rest=rest)), b"secret word")


@pytest.fixture
def host(start_sshd):
    return start_sshd("alpha")


@pytest.fixture
def config(host, ssh_config):
    return ssh_config(host.block("alpha"))


@pytest.fixture
def backend(config, tmp_path):
    return SSH("alpha", config=config, folder=str(tmp_path / "out"))


def start(backend, rest):
    (placement,) = backend.start([command(rest)])
    return placement


def state(backend, placement):
    return backend.poll([placement])[placement.id].state


def ended(backend, placement, wait_until):
    wait_until(lambda: state(backend, placement) is PlacementState.ENDED)
    return backend.poll([placement])[placement.id].reason


def test_a_placement_says_where_its_process_is(backend, wait_until):
    placement = start(backend, SLEEP)
    assert placement.worker_ids == ("w1",)
    wait_until(lambda: sys.executable in psutil.Process(placement.pid).cmdline()[0])
    assert state(backend, placement) is PlacementState.RUNNING


def test_the_secret_goes_in_by_standard_input_and_shows_nowhere(backend, host, wait_until):
    placement = start(backend, SLEEP)
    wait_until(lambda: Path(placement.stdout).read_text() == "out 11\n")
    shown = [" ".join(process.cmdline()) for process in host.visitors()]
    assert len(shown) == 2
    assert not any("secret word" in words for words in shown)
    written = [path.read_text() for path in Path(placement.stderr).parent.iterdir()]
    assert not any("secret word" in text for text in written)
    assert "secret word" not in backend.preview([command(SLEEP)])


def test_the_folder_of_the_output_is_the_users_own(backend, wait_until):
    placement = start(backend, SLEEP)
    folder = Path(placement.stderr).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    wait_until(lambda: backend.tail(placement) == "err\n")


def test_by_default_the_output_lies_in_the_users_home(config, host):
    placement = start(SSH("alpha", config=config), SLEEP)
    assert Path(placement.stderr).is_relative_to(host.home / ".local/share/rush/ssh")
    placement = start(SSH("alpha", config=config, folder="~/runs"), SLEEP)
    assert Path(placement.stderr).is_relative_to(host.home / "runs")


def test_the_tail_of_a_long_file_is_its_last_lines(backend, wait_until):
    placement = start(backend, "[print('line', n, file=sys.stderr) for n in range(20000)]; " + SLEEP)
    wait_until(lambda: backend.tail(placement, 2) == "line 19998\nline 19999\n")


def test_there_is_no_tail_of_a_file_that_is_not_there(backend):
    placement = start(backend, SLEEP)
    assert backend.tail(replace(placement, stderr="/no/such/file")) == ""
    assert backend.tail(replace(placement, stderr=None)) == ""
    assert backend.tail(replace(placement, details={**placement.details, "target": "nohost.invalid"})) == ""


def test_an_end_is_seen_with_its_exit_code(backend, wait_until):
    assert ended(backend, start(backend, "sys.exit(3)"), wait_until) == "exited with code 3"


def test_a_kill_is_seen_with_its_signal(backend, wait_until):
    placement = start(backend, SLEEP)
    psutil.Process(placement.pid).kill()
    assert ended(backend, placement, wait_until) == "killed by signal 9 (SIGKILL)"


def test_an_interpreter_that_is_not_there_is_seen_and_named_in_the_tail(config, tmp_path, wait_until):
    backend = SSH("alpha", config=config, folder=str(tmp_path), python="/no/such/python")
    placement = start(backend, SLEEP)
    assert ended(backend, placement, wait_until) == "exited with code 127"
    assert "/no/such/python" in backend.tail(placement)


def test_told_to_stop_it_gets_sigterm(backend, wait_until):
    placement = start(backend, SLEEP)
    backend.stop([placement], kill=False)
    assert ended(backend, placement, wait_until) == "killed by signal 15 (SIGTERM)"


def test_killing_ends_the_whole_family(backend, host, wait_until):
    placement = start(backend, FAMILY)
    wait_until(lambda: len(host.visitors()) == 4)
    backend.stop([placement], kill=True)
    wait_until(lambda: not host.visitors())
    assert ended(backend, placement, wait_until) == "killed by signal 9 (SIGKILL)"


def test_stopping_what_has_ended_is_no_error(backend, wait_until):
    placement = start(backend, "sys.exit(0)")
    ended(backend, placement, wait_until)
    backend.stop([placement], kill=True)
    backend.stop([placement], kill=False)


@pytest.mark.parametrize("change", ["pid", "start"])
def test_another_process_under_the_same_id_is_not_taken_for_it(backend, change):
    placement = start(backend, SLEEP)
    stranger = subprocess.Popen(["sleep", "300"])
    other = replace(placement, id="other", details={**placement.details, "folder": "/no/such/folder"})
    if change == "pid":
        other = replace(other, pid=stranger.pid)
    else:
        other = replace(other, details={**other.details, "start": "1"})
    assert state(backend, other) is PlacementState.ENDED
    backend.stop([other], kill=True)
    assert stranger.poll() is None
    assert state(backend, placement) is PlacementState.RUNNING
    stranger.kill()
    stranger.wait()


def test_a_host_that_was_restarted_has_ended_its_workers(backend):
    placement = replace(start(backend, SLEEP), boot_id="another")
    assert backend.poll([placement])[placement.id].reason == f"host {placement.host} was restarted"


def test_another_host_behind_the_same_name_says_nothing(backend):
    placement = replace(start(backend, SLEEP), host="elsewhere")
    assert state(backend, placement) is PlacementState.UNKNOWN


def test_a_host_that_cannot_be_reached_says_nothing(backend, host, wait_until):
    placement = start(backend, SLEEP)
    host.stop()
    close_links()
    wait_until(lambda: state(backend, placement) is PlacementState.UNKNOWN)
    assert "'alpha'" in backend.poll([placement])[placement.id].reason
    with pytest.raises(BackendError, match="'alpha'"):
        backend.stop([placement], kill=True)


def test_workers_survive_their_connection(backend, host, wait_until):
    placement = start(backend, SLEEP)
    host.cut()
    assert psutil.pid_exists(placement.pid)
    wait_until(lambda: backend.poll([placement])[placement.id].state is PlacementState.RUNNING)


def test_another_process_can_poll_and_stop_it_when_its_manager_is_gone(backend, config, wait_until):
    manager = (
        "import sys; from rush.backends import SSH; from rush.model import *;"
        f"print(SSH('alpha', config={config!r}, folder={backend.folder!r})"
        f".start([WorkerCommand('net', ('w1',), ('-c', {SCRIPT.format(rest=SLEEP)!r}), b's')]))"
    )
    done = subprocess.run([sys.executable, "-c", manager], capture_output=True, text=True, check=True)
    (placement,) = eval(done.stdout)
    assert isinstance(placement, Placement)
    other = SSH()
    assert state(other, placement) is PlacementState.RUNNING
    other.stop([placement], kill=False)
    assert ended(other, placement, wait_until) == "killed by signal 15 (SIGTERM)"


def test_a_forked_child_leaves_the_parents_connection_alone(backend):
    placement = start(backend, SLEEP)
    code = (
        "import os, sys; from rush.backends import SSH; from rush.backends.ssh.links import close_links;"
        "from rush.model import *; p = eval(sys.argv[1]); b = SSH(); assert b.poll([p])[p.id].state == 'running'\n"
        "if os.fork() == 0:\n"
        "    c = SSH(); assert c.poll([p])[p.id].state == 'running'; close_links(); os._exit(0)\n"
        "assert os.wait()[1] == 0\n"
        "b._seen.clear(); print(b.poll([p])[p.id].state)"
    )
    done = subprocess.run([sys.executable, "-c", code, repr(placement)], capture_output=True, text=True, check=False)
    assert done.stdout == "running\n", done.stderr


def test_lines_for_setup_come_before_in_a_login_shell(config, tmp_path, host, wait_until):
    (host.home / ".profile").write_text("module() { export LOADED=$1; }\n")
    setup = ["module python", "export GREETING='a b'"]
    backend = SSH("alpha", config=config, folder=str(tmp_path), setup=setup)
    placement = start(backend, "import os; print(os.environ['LOADED'], os.environ['GREETING'])")
    ended(backend, placement, wait_until)
    assert Path(placement.stdout).read_text() == "out 11\npython a b\n"


def test_what_the_users_shell_says_at_its_start_is_not_taken_for_an_answer(backend, host, wait_until):
    (host.home / ".bashrc").write_text("echo rush hour; echo welcome >&2\n")
    placement = start(backend, SLEEP)
    assert state(backend, placement) is PlacementState.RUNNING
    wait_until(lambda: backend.tail(placement) == "err\n")


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_host(config):
    with pytest.raises(BackendError, match=r"0 of 1 .*'alpha'.*/proc/no"):
        start(SSH("alpha", config=config, folder="/proc/no"), SLEEP)


def test_one_host_that_fails_is_named_and_the_others_run(start_sshd, ssh_config, tmp_path):
    alpha, beta = start_sshd("alpha"), start_sshd("beta")
    gone = start_sshd("gone")
    config = ssh_config(alpha.block("alpha"), gone.block("gone"), beta.block("beta"))
    gone.stop()
    backend = SSH(["alpha", "gone", "beta"], config=config, folder=str(tmp_path))
    with pytest.raises(BackendError, match=r"2 of 3 .*'gone'") as caught:
        backend.start([command(SLEEP, f"w{n}") for n in range(3)])
    placed = caught.value.placements
    assert [p.worker_ids for p in placed] == [("w0",), ("w2",)]
    assert {status.state for status in backend.poll(placed).values()} == {PlacementState.RUNNING}


def test_hosts_start_at_the_same_time(start_sshd, ssh_config, tmp_path):
    names = [f"h{n}" for n in range(4)]
    hosts = [start_sshd(name) for name in names]
    for host in hosts:
        (host.home / ".bashrc").write_text(
            f"echo here >> {tmp_path}/arrived; until [ $(wc -l < {tmp_path}/arrived) -ge 4 ]; do sleep 0.05; done\n"
        )
    config = ssh_config(*(host.block(name) for host, name in zip(hosts, names, strict=True)))
    placed = SSH(names, config=config, folder=str(tmp_path)).start([command(SLEEP, name) for name in names])
    assert [p.details["target"] for p in placed] == names


def test_one_session_at_a_time_is_enough(start_sshd, ssh_config, tmp_path):
    host = start_sshd("alpha", settings={"MaxSessions": "1"})
    config = ssh_config(host.block("alpha"))
    backend = SSH("alpha", config=config, folder=str(tmp_path))
    placed = backend.start([command(SLEEP, f"w{n}") for n in range(3)])
    link = link_to(Target("alpha", config), 20)
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(link.run(b"cat", b"hello", 20).output)) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"hello"] * 12
    assert len(backend.poll(placed)) == 3
    assert host.log.count("Accepted publickey") == 1


def test_a_host_without_sessions_is_an_error_that_says_so(start_sshd, ssh_config, tmp_path):
    host = start_sshd("alpha", settings={"MaxSessions": "0"})
    backend = SSH("alpha", config=ssh_config(host.block("alpha")), folder=str(tmp_path), timeout=2)
    with pytest.raises(BackendError, match="'alpha' opens no session"):
        backend.start([command(SLEEP)])


def test_asked_twice_a_host_starts_one(config, host, monkeypatch, tmp_path):
    link = link_to(Target("alpha", config), 20)
    run, lost = link.run, []

    def lose_the_first_answer(*arguments):
        answer = run(*arguments)
        if not lost:
            lost.append(answer)
            raise LinkLost("broken")
        return answer

    monkeypatch.setattr(link, "run", lose_the_first_answer)
    placement = start(SSH("alpha", config=config, folder=str(tmp_path / "out")), SLEEP)
    assert len(lost) == 1
    assert len(list((tmp_path / "out").iterdir())) == 1
    assert {process.pid for process in host.visitors()} >= {placement.pid}
    assert len(host.visitors()) == 2


def test_a_host_that_is_not_there_is_waited_for_once(host, ssh_config, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = ssh_config(host.block("alpha", Port=silent.getsockname()[1]))
        began = time.monotonic()
        with pytest.raises(BackendError, match="'alpha'"):
            start(SSH("alpha", config=config, folder=str(tmp_path / "out"), timeout=2), SLEEP)
        assert time.monotonic() - began < 4


def test_without_proc_it_works_by_ps(backend, monkeypatch, host, wait_until):
    read = ssh_scripts.read
    monkeypatch.setattr(
        ssh_scripts,
        "read",
        lambda name, values=None: read(name, values).replace("proc=/proc\n", "proc=/none\nsysctl() { echo boot; }\n"),
    )
    placement = start(backend, FAMILY)
    assert placement.boot_id == "boot"
    assert "_" in placement.details["start"]
    assert state(backend, placement) is PlacementState.RUNNING
    wait_until(lambda: len(host.visitors()) == 4)
    backend.stop([placement], kill=True)
    wait_until(lambda: not host.visitors())


def test_the_folders_of_those_that_have_ended_are_removed(backend, wait_until):
    done, running = start(backend, "sys.exit(0)"), start(backend, SLEEP)
    ended(backend, done, wait_until)
    backend.clear([done, running, replace(running, details={**running.details, "target": "nohost.invalid"})])
    assert not Path(done.stderr).parent.exists()
    assert Path(running.stderr).parent.is_dir()


def test_a_check_tells_what_workers_would_find(config, host):
    (host.home / ".profile").write_text("module() { export LOADED=yes; }\n")
    found = SSH("alpha", config=config, setup=["module python", '[ "$LOADED" = yes ] || exit 3']).check()
    assert found == {"alpha": f"{socket.gethostname()}, Python {platform.python_version()}, rush {version('rush-hpc')}"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"python": "/no/such/python"}, "'alpha' cannot run workers: .*/no/such/python"),
        ({"python": f"env PYTHONHOME=/none {sys.executable}"}, "'alpha' cannot run workers"),
        ({"setup": ["exit 3"]}, "'alpha' cannot run workers: exit code 3"),
        ({"hosts": ["alpha", "nohost.invalid"]}, "'nohost.invalid'"),
    ],
)
def test_a_check_names_the_host_that_cannot_run_workers(config, options, words):
    with pytest.raises(BackendError, match=words):
        SSH(**{"hosts": "alpha", "config": config} | options).check()


def test_without_its_library_the_error_says_what_installs_it():
    code = (
        "import sys; sys.modules['paramiko'] = None; from rush.backends import SSH; from rush.errors import *\n"
        "SSH(['alpha'], client='openssh'); SSH()\n"
        "try: SSH(['alpha'])\n"
        "except MissingDependency as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'rush-hpc[ssh]'" in done.stdout


def test_the_preview_shows_what_each_host_would_run():
    backend = SSH(["alpha", "beta"], setup=["module load python"], python="apptainer exec image python3")
    shown = backend.preview([command(SLEEP), command(SLEEP, "w2")])
    assert "# on alpha:" in shown
    assert "# on beta:" in shown
    assert "module load python\nexec apptainer exec image python3 -c" in shown


@pytest.mark.parametrize(
    ("options", "asked", "shares"),
    [
        ({"hosts": ["a", "b", "c"]}, 7, [3, 2, 2]),
        ({"hosts": ["a", "b", "c"]}, 2, [1, 1]),
        ({"hosts": {"a": 4, "b": 1}}, 5, [4, 1]),
        ({"hosts": ["a", "b"], "workers": 2}, 3, [2, 1]),
        ({"hosts": ["a", "b"], "workers": {"b": 3, "a": 1}}, 4, [1, 3]),
    ],
)
def test_workers_are_shared_out_evenly_where_there_is_room(options, asked, shares):
    assert SSH(**options).shares(asked) == shares


def test_where_no_number_is_asked_for_the_hosts_are_filled():
    assert SSH({"a": 4, "b": 1}).default_workers() == 5
    assert SSH(["a", "b"], workers=3).default_workers() == 6
    assert SSH(["a", "b"]).default_workers() == 2
    assert SSH().default_workers() == 1


def test_more_workers_than_there_is_room_for_is_an_error():
    with pytest.raises(ValueError, match="n_workers is 6, but the hosts take 5: a 4, b 1"):
        SSH({"a": 4, "b": 1}).shares(6)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"hosts": ["a", "a"]}, ValueError, "must be different"),
        ({"hosts": [""]}, ValueError, "a host must be like"),
        ({"hosts": ["-oProxyCommand=x"]}, ValueError, "a host must be like"),
        ({"hosts": ["a:port"]}, ValueError, "a host must be like"),
        ({"hosts": [1]}, TypeError, "names of hosts"),
        ({"hosts": ["a"], "workers": 0}, ValueError, "1 or more"),
        ({"hosts": {"a": True}}, ValueError, "1 or more"),
        ({"hosts": {"a": 1}, "workers": 2}, TypeError, "give them once"),
        ({"hosts": ["alpha"], "workers": {"alphaa": 1}}, ValueError, "did you mean 'alpha'"),
        ({"hosts": ["a", "b"], "workers": {"a": 1}}, ValueError, "says nothing of host 'b'"),
        ({"hosts": ["a"], "client": "putty"}, ValueError, "known: openssh, paramiko"),
        ({"hosts": ["a"], "timeout": 0}, ValueError, "more than 0 seconds"),
        ({"hosts": ["a"], "gpus_per_worker": -1}, ValueError, "0 or more"),
        ({"hosts": ["a"], "setup": "module load"}, TypeError, "list of shell lines"),
    ],
)
def test_bad_arguments_are_refused_at_once(options, error, words):
    with pytest.raises(error, match=words):
        SSH(**options)


def test_without_hosts_nothing_can_be_started():
    with pytest.raises(BackendError, match="has no hosts"):
        SSH().start([command(SLEEP)])


def test_only_hosts_that_are_this_machine_reach_its_loopback(config, ssh_config, host):
    assert SSH("alpha", config=config).reaches_loopback()
    elsewhere = host.block("far", HostName="203.0.113.7")
    behind = host.block("behind", ProxyJump="alpha")
    config = ssh_config(host.block("alpha"), elsewhere, behind)
    assert not SSH(["alpha", "far"], config=config).reaches_loopback()
    assert not SSH("behind", config=config).reaches_loopback()
    assert not SSH("alpha", config="/no/such/file").reaches_loopback()
    assert not SSH().reaches_loopback()


def test_the_boot_line_is_one_word_for_every_shell():
    from rush.backends.ssh.links import BOOT

    assert shlex.split(BOOT.format(5)) == ["exec", "/bin/sh", "-c", 'eval "$(dd bs=1 count=5 2>/dev/null)"']
