"""Workers from the command line: started, shown, stopped, their logs, and scripts that start more."""

import json
import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rush import Rush
from rush.config import user_folder


def serve(worker):
    logging.getLogger("study").warning("worker at work")
    while not worker.terminated:
        task = worker.pop_task(timeout=0.2)
        if task is not None:
            worker.finish_tasks([task.key], [{"y": task.xs["x"] + 1}])


@pytest.fixture
def net(network_id, config, wait_until):
    manager = Rush(network_id, config)
    manager.worker_script(serve, log_levels={"study": "INFO"})
    yield manager
    manager.reset()


@pytest.fixture
def at(server, net):
    return net.network_id, "--url", server.url


def test_workers_are_started_listed_and_stopped(answer, rush, net, at, wait_until):
    started = answer("worker", "start", *at, "--n-workers", "2")["started"]
    net.wait_for_workers(worker_ids=started, timeout=60)
    rows = answer("worker", "list", *at)
    assert {(row["worker_id"], row["state"], row["backend"]) for row in rows} == {
        (w, "running", "local") for w in started
    }
    assert rush("worker", "list", *at)[1].splitlines()[0].split() == [
        "worker_id", "state", "hostname", "pid", "backend", "reason",
    ]  # fmt: skip
    shown = answer("network", "show", *at)
    assert {worker["state"] for worker in shown["workers"]} == {"running"}
    assert shown["running_workers"] == 2
    assert "running" in rush("network", "show", *at)[1]
    (key,) = net.push_tasks([{"x": 1}])
    assert net.wait_for_tasks([key], timeout=30)
    assert answer("worker", "stop", *at, started[0])["stopped"] == started[:1]
    wait_until(lambda: net.running_worker_ids == started[1:], 30)
    assert answer("worker", "stop", *at)["stopped"] == started[1:]
    wait_until(lambda: not net.running_worker_ids, 30)
    assert {row["state"] for row in answer("worker", "list", *at)} == {"terminated"}
    assert rush("worker", "stop", *at)[1] == "told to stop: no worker\n"


def test_a_stopped_worker_that_is_unknown_is_warned_of(rush, at, caplog):
    code, out, _ = rush("worker", "stop", *at, "nobody")
    assert (code, out) == (0, "told to stop: no worker\n")
    assert "are not running: nobody" in caplog.text


def test_killed_workers_end_at_once(answer, net, at, wait_until):
    started = answer("worker", "start", *at)["started"]
    net.wait_for_workers(worker_ids=started, timeout=60)
    assert answer("worker", "stop", *at, "--kill")["stopped"] == started
    assert not net.running_worker_ids


def test_workers_that_end_with_the_process_that_starts_them_are_not_started_by_a_command(
    rush, net, at, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rush.toml").write_text('[profiles.far]\nbackend = "ssh"\nhosts = ["nohost.invalid"]\ntunnel = true\n')
    code, _, said = rush("worker", "start", *at, "--backend", "far")
    assert code == 1
    assert "the tunnel by which they reach the server would end with this command" in said
    assert rush("worker", "start", *at, "--backend", "far", "--dry-run")[0] == 0


def test_logs_are_shown(answer, rush, net, at, wait_until):
    (worker,) = answer("worker", "start", *at)["started"]
    wait_until(lambda: answer("worker", "logs", *at), 60)
    (record,) = answer("worker", "logs", *at, worker)
    assert (record["worker_id"], record["level"], record["msg"]) == (worker, "WARNING", "worker at work")
    assert "worker at work" in rush("worker", "logs", *at)[1]
    assert answer("worker", "logs", *at, "another") == []
    (row,) = answer("worker", "logs", *at, "--stderr")
    assert row["workers"] == [worker]
    assert row["stderr"].endswith("supervisor.err")
    assert rush("worker", "logs", *at, "--stderr")[1].startswith("==> ")
    assert rush("worker", "logs", *at, "another", "--stderr")[1] == "no supervisors\n"


def test_a_dry_run_starts_nothing(answer, rush, net, at):
    preview = answer("worker", "start", *at, "--dry-run", "-n", "3")["preview"]
    assert preview.count("--worker ") == 3
    assert f"--network {net.network_id}" in preview
    assert not net.placements
    text = rush(
        "worker", "start", *at, "--dry-run", "--backend", "slurm", "-n", "2", "--", "--partition=cpu", "--nice=5"
    )[1]
    assert "# sbatch --partition=cpu --nice=5 /FOLDER/job.sh" in text
    assert "#SBATCH --array=0-1" in text
    assert net.config.password not in text
    assert not net.placements


def test_options_of_a_job_system_are_refused_where_there_is_none(rush, at):
    code, _, err = rush("worker", "start", *at, "--", "--partition=cpu")
    assert code == 1
    assert "backend 'local' submits no jobs" in err


def test_a_loop_that_is_not_there_is_an_error(rush, at, start_server):
    code, _, err = rush("worker", "start", *at, "--loop", "none")
    assert code == 1
    assert "no worker loop 'none'" in err
    assert rush("script", "worker", *at, "--loop", "none")[0] == 1


def test_a_script_starts_a_worker_wherever_it_is_run(answer, net, at, tmp_path, wait_until):
    script = tmp_path / "worker.sh"
    script.write_text(answer("script", "worker", *at)["script"])
    assert net.config.password not in script.read_text()
    environment = {**os.environ, "PYTHONPATH": f"{Path.cwd()}:{os.environ.get('PYTHONPATH', '')}"}
    process = subprocess.Popen(["sh", script], env=environment, stderr=subprocess.DEVNULL)
    net.wait_for_workers(1, timeout=60)
    net.stop_workers("terminate")
    assert process.wait(30) == 0


@pytest.mark.parametrize("named", [[], ["--worker", "first", "--worker", "second"]])
def test_who_ran_and_how_it_ended_is_said(answer, net, at, named):
    script = answer("script", "worker", *at)["script"]
    (words,) = [shlex.split(line) for line in script.splitlines() if " -m rush.worker " in line]
    options = words[words.index("rush.worker") + 1 :]
    program = "from rush.cli.main import main; main()"
    command = [sys.executable, "-c", program, "worker", "run", *options, *named, "--output", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path.cwd()) as process:
        net.wait_for_workers(max(1, len(named) // 2), timeout=60)
        net.stop_workers("terminate")
        said = json.loads(process.communicate(timeout=30)[0])
    assert said == {"workers": sorted(net.worker_ids, key=said["workers"].index), "exit_code": 0}
    assert not named or said["workers"] == ["first", "second"]


@pytest.mark.parametrize(
    ("kind", "words", "line"),
    [
        ("slurm", ["--partition=cpu", "--comment=two words"], "#SBATCH --partition=cpu '--comment=two words'"),
        ("pbs", ["-q", "long"], "#PBS -q long"),
    ],
)
def test_a_job_script_holds_the_options_and_no_secret(answer, rush, net, at, kind, words, line):
    script = answer("script", kind, *at, "--", *words)["script"]
    assert line in script.splitlines()
    assert net.config.password not in script
    (command,) = [shlex.split(text) for text in script.splitlines() if " -m rush.worker " in text]
    secrets = Path(command[command.index("--secrets") + 1])
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert secrets.parent.stat().st_mode & 0o777 == 0o700
    assert rush("script", kind, *at, "--", *words)[1] == script.rstrip("\n") + "\n"


def test_a_profile_shapes_its_job_script(answer, net, at, tmp_path, monkeypatch):
    (tmp_path / "mine.sh").write_text("#!/bin/bash\n# mine: {{title}}\n{{options}}\n{{setup}}\n{{command}}\n")
    (tmp_path / "rush.toml").write_text("""
[profiles.site]
backend = "slurm"
partition = "cpu"
python = "apptainer exec image.sif python3"
setup = ["module load apptainer"]
template = "mine.sh"
extra = {mail-type = "END", hold = true}
""")
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    script = answer("script", "site", *at, "--", "--nice=5")["script"]
    assert script.startswith("#!/bin/bash\n# mine: Workers of the rush network")
    assert "#SBATCH --partition=cpu\n" in script
    assert "#SBATCH --mail-type=END --hold --nice=5\n" in script
    assert "module load apptainer\nexec apptainer exec image.sif python3 -m rush.worker" in script
    assert "#SBATCH --hold\n" in net.worker_script(serve, template="site")


def test_a_template_of_ones_own_is_taken_from_its_path(answer, rush, at, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("{{python}} {{arguments}} # {{network}}\n")
    assert answer("script", str(path), *at)["script"].startswith(sys.executable)
    code, _, err = rush("script", str(tmp_path / "none.sh"), *at)
    assert code == 1
    assert "no template at" in err
    assert "rush/templates" in err


def test_a_misspelt_template_is_an_error_with_the_near_one(rush, at):
    code, _, err = rush("script", "slrum", *at)
    assert code == 1
    assert "no template 'slrum'; did you mean 'slurm'?" in err
    code, _, err = rush("script", "local", *at)
    assert code == 1
    assert "backend 'local' submits no jobs" in err
    code, _, err = rush("script", "worker", *at, "--", "--nice")
    assert code == 1
    assert "takes no options: --nice" in err


def test_secrets_of_scripts_go_with_the_network(answer, net, at):
    answer("script", "worker", *at)
    path = user_folder() / "secrets" / f"{net.network_id}.json"
    assert path.exists()
    answer("network", "reset", *at)
    assert not path.exists()
