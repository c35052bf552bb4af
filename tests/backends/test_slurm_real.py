"""Slurm itself: jobs placed, watched, stopped, and nothing secret to be seen."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from rush.backends.slurm.backend import Slurm
from rush.errors import BackendError
from rush.model import PlacementState
from tests.backends.bare_jobs import DRAIN, SECRET, SLEEP, backends, output, reason, start, state

pytestmark = [pytest.mark.scheduler, pytest.mark.slow]


@pytest.fixture
def slurm(cluster, tmp_path):
    with backends(Slurm, tmp_path) as make:
        yield make


def test_a_job_runs_and_ends(slurm, wait_until):
    backend = slurm()
    (placement,) = start(backend, "import sys; print('out'); print('err', file=sys.stderr)")
    wait_until(lambda: state(backend, placement) is PlacementState.ENDED, 30)
    assert reason(backend, placement).startswith("COMPLETED")
    assert output(placement) == "out\n"
    assert backend.tail(placement) == "err\n"


def test_many_jobs_are_arrays_no_larger_than_the_site_allows(slurm, wait_until):
    backend = slurm()
    placed = start(backend, "import sys; print('I am', sys.argv[1])", 6)
    assert len({p.job_id.partition("_")[0] for p in placed}) == 2
    wait_until(lambda: all(state(backend, p) is PlacementState.ENDED for p in placed), 60)
    assert [output(p) for p in placed] == [f"I am {i}\n" for i in range(6)]


def test_a_job_that_fails_tells_its_exit_code_and_stderr(slurm, wait_until):
    backend = slurm(setup=["echo starting >&2"])
    (placement,) = start(backend, "raise SystemExit('no such module')")
    wait_until(lambda: state(backend, placement) is PlacementState.ENDED, 30)
    wait_until(lambda: "exited with code 1" in reason(Slurm(), placement), 30)
    assert backend.tail(placement) == "starting\nno such module\n"


def test_a_waiting_job_says_why_and_is_cancelled_by_a_stop(slurm, wait_until):
    backend = slurm(partition="closed")
    (placement,) = start(backend, SLEEP)
    assert state(backend, placement) is PlacementState.PENDING
    wait_until(lambda: "PartitionDown" in reason(backend, placement), 30)
    backend.stop([placement], kill=False)
    wait_until(lambda: state(backend, placement) is PlacementState.ENDED, 30)
    assert reason(backend, placement).startswith("CANCELLED")


@pytest.mark.parametrize("options", [{}, {"srun": True}, {"teardown": ["echo afterwards"]}])
def test_a_stop_lets_the_supervisor_drain(slurm, wait_until, options):
    backend = slurm(**options)
    (placement,) = start(backend, DRAIN)
    wait_until(lambda: "ready" in output(placement), 30)
    Slurm().stop([placement], kill=False)
    wait_until(lambda: state(backend, placement) is PlacementState.ENDED, 30)
    assert "drained" in output(placement)
    assert ("afterwards" in output(placement)) is ("teardown" in options)


def test_a_kill_ends_what_ignores_signals_with_its_children(slurm, wait_until):
    backend = slurm()
    stubborn = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)'])
print(child.pid, flush=True)
child.wait()
"""
    (placement,) = start(backend, stubborn)
    wait_until(lambda: output(placement), 30)
    child = int(output(placement))
    backend.stop([placement], kill=True)
    wait_until(lambda: state(backend, placement) is PlacementState.ENDED, 30)
    wait_until(lambda: not Path(f"/proc/{child}").exists(), 10)


def test_jobs_are_seen_and_stopped_from_another_process(slurm, wait_until):
    (placement,) = start(slurm(), SLEEP)
    other = Slurm()
    wait_until(lambda: state(other, placement) is PlacementState.RUNNING, 30)
    other.stop([placement], kill=True)
    wait_until(lambda: state(other, placement) is PlacementState.ENDED, 30)


def test_jobs_of_another_cluster_or_user_are_unknown_and_left_alone(slurm, wait_until):
    backend = slurm()
    (placement,) = start(backend, SLEEP)
    strange = replace(placement, details={**placement.details, "cluster": "elsewhere"})
    assert state(backend, strange) is PlacementState.UNKNOWN
    backend.stop([strange], kill=True)
    assert state(backend, replace(placement, details={**placement.details, "user": "x"})) is PlacementState.UNKNOWN
    wait_until(lambda: state(backend, placement) is PlacementState.RUNNING, 30)


def test_a_job_that_slurm_has_forgotten_has_ended(slurm):
    backend = slurm()
    (placement,) = start(backend, "pass")
    forgotten = replace(placement, id="other", job_id="99999")
    assert state(backend, forgotten) is PlacementState.ENDED


def test_at_a_submit_limit_jobs_are_held_back_until_there_is_room(slurm, wait_until):
    backend = slurm(qos="few", submit_timeout=60)
    placed = start(backend, "import sys; print('I am', sys.argv[1])", 5)
    wait_until(lambda: all(state(backend, p) is PlacementState.ENDED for p in placed), 60)
    assert [output(p) for p in placed] == [f"I am {i}\n" for i in range(5)]


def test_a_submit_limit_that_stays_is_an_error_with_what_was_placed(slurm):
    backend = slurm(qos="few", submit_timeout=2)
    with pytest.raises(BackendError, match="2 of 3 jobs were placed") as caught:
        start(backend, SLEEP, 3)
    backend.placed += caught.value.placements
    assert len(caught.value.placements) == 2


def test_what_sbatch_refuses_is_an_error_with_its_words(slurm):
    with pytest.raises(BackendError, match="invalid partition specified: nowhere"):
        start(slurm(partition="nowhere"), SLEEP)


def test_options_of_sbatch_pass_through_untouched(slurm):
    (placement,) = start(slurm(extra=["--comment=so be it", "--hold"]), SLEEP)
    shown = subprocess.run(["scontrol", "show", "job", placement.job_id], capture_output=True, text=True, check=True)
    assert "Comment=so be it" in shown.stdout
    assert "Reason=JobHeldUser" in shown.stdout


def test_no_secret_is_to_be_seen(slurm, wait_until, monkeypatch):
    monkeypatch.setenv("RUSH_URL", f"redis://:{SECRET.decode()}@127.0.0.1:1/0")
    monkeypatch.setenv("REDIS_URL", f"redis://:{SECRET.decode()}@127.0.0.1:1/0")
    monkeypatch.setenv("RUSH_SIGNING_KEY", SECRET.decode())
    show = "import os, time; print(dict(os.environ), flush=True); time.sleep(120)"
    (placement,) = start(slurm(), show)
    wait_until(lambda: output(placement), 30)
    folder = Path(placement.details["folder"])
    assert folder.stat().st_mode & 0o777 == 0o700
    holders = [path for path in folder.iterdir() if path.is_file() and SECRET in path.read_bytes()]
    assert [path.name for path in holders] == ["secrets-0.once"]
    assert holders[0].stat().st_mode & 0o777 == 0o600
    for words in (
        ["scontrol", "show", "job", "-d", placement.job_id],
        ["scontrol", "write", "batch_script", placement.job_id, "-"],
        ["ps", "axeww"],
    ):
        shown = subprocess.run(
            words,
            capture_output=True,
            check=True,
            env={"PATH": os.environ["PATH"], "SLURM_CONF": os.environ["SLURM_CONF"]},
        )
        lines = [line for line in shown.stdout.splitlines() if SECRET in line and b"pytest" not in line]
        assert lines == []


def test_leftovers_of_the_callers_own_job_are_not_passed_on(slurm, wait_until, monkeypatch):
    for name in (
        "SLURM_JOB_ID",
        "SLURM_ARRAY_TASK_ID",
        "SLURM_MEM_PER_CPU",
        "PBS_JOBID",
        "SRUN_DEBUG",
        "SQUEUE_FORMAT",
    ):
        monkeypatch.setenv(name, "7777")
    monkeypatch.setenv("MY_OWN", "kept")
    show = "import os; print(os.environ.get('MY_OWN'), '7777' in os.environ.values())"
    backend = slurm()
    (placement,) = start(backend, show)
    wait_until(lambda: state(backend, placement) is PlacementState.ENDED, 30)
    assert output(placement) == "kept False\n"


def test_a_job_knows_when_it_will_end(slurm, wait_until):
    backend = slurm(time="00:05:00")
    code = "import time; from rush.config import job_end_time; print(job_end_time() - time.time())"
    (placement,) = start(backend, f"import sys; sys.path.insert(0, {str(Path.cwd())!r}); {code}")
    wait_until(lambda: state(backend, placement) is PlacementState.ENDED, 30)
    assert 280 < float(output(placement)) <= 301
