"""Slurm without Slurm: job scripts, command lines, and what its programs' output means."""

import os
from pathlib import Path

import pytest

from rush.backends import find_backend
from rush.backends.jobs import programs as job_programs
from rush.backends.jobs import scripts as job_scripts
from rush.backends.jobs.programs import submit_in_parts
from rush.backends.jobs.scripts import seconds_of
from rush.backends.slurm import states as slurm_states
from rush.backends.slurm.backend import Slurm
from rush.errors import BackendError, ConfigError, LimitReached
from rush.model import PlacementState, WorkerCommand

GOLDEN = Path(__file__).parent / "golden"
FULL = {
    "partition": "cpu",
    "account": "lab",
    "qos": "long",
    "time": "02:00:00",
    "cpus": 8,
    "memory": "16G",
    "gpus": "a100:2",
    "constraint": "ib",
    "extra": {"reservation": "maintenance day", "exclusive": True, "mail-type": "END"},
    "setup": ["module load python", 'export DATA="$HOME/data"'],
    "python": "apptainer exec image.sif python3",
    "workers_per_job": 4,
}


@pytest.fixture(autouse=True)
def _nothing_beside(monkeypatch):
    monkeypatch.setattr(job_scripts, "module_paths", list)


def commands(n):
    return [WorkerCommand("net", (f"w{i}",), ("-m", "rush.worker", "--worker", f"w{i}"), b"hidden") for i in range(n)]


def golden(name, text):
    path = GOLDEN / name
    if os.environ.get("RUSH_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_the_script_of_one_job():
    golden("slurm-one.sh", Slurm(python="python3").preview(commands(1)))


def test_the_script_of_an_array_with_every_option():
    golden("slurm-array.sh", Slurm(**FULL).preview(commands(3)))


def test_the_script_with_lines_for_afterwards_and_a_step_of_its_own():
    backend = Slurm(python="python3", srun=True, teardown=["cp out.csv $HOME"], extra=["--reservation=x", "--hold"])
    golden("slurm-teardown.sh", backend.preview(commands(1)))


def test_no_secret_stands_in_a_script():
    assert "hidden" not in Slurm().preview(commands(2))


def test_a_users_own_template_is_taken(tmp_path):
    path = tmp_path / "mine.sh"
    path.write_text("{{options}}\n# mine {{title}}\n{{setup}}\n{{command}}\n")
    assert "# mine Workers of the rush network net" in Slurm(template=str(path)).preview(commands(1))


def test_a_template_without_a_hole_for_the_command_is_an_error(tmp_path):
    path = tmp_path / "mine.sh"
    path.write_text("{{options}}\n{{title}}\n{{setup}}\n")
    with pytest.raises(ConfigError, match="'command' has no hole"):
        Slurm(template=str(path)).preview(commands(1))


def test_shares_fill_jobs():
    assert Slurm(workers_per_job=4).shares(10) == [4, 4, 2]
    assert Slurm().shares(2) == [1, 1]


def test_devices_for_each_worker_are_asked_for_each_job():
    backend = Slurm(workers_per_job=3, gpus_per_worker=2)
    assert backend.gpus_per_worker == 2
    assert "#SBATCH --gpus-per-node=6" in backend.preview(commands(1))


@pytest.mark.parametrize("options", [{"time": "soon"}, {"workers_per_job": 0}])
def test_bad_options_are_errors(options):
    with pytest.raises(ValueError):
        Slurm(**options)


def test_setup_must_be_a_list_of_lines():
    with pytest.raises(TypeError, match="list of shell lines"):
        Slurm(setup="module load python")


def test_a_profile_makes_a_slurm():
    backend = find_backend("mine", {"mine": {"backend": "slurm", "partition": "gpu", "setup": ["a"]}})
    assert isinstance(backend, Slurm)
    with pytest.raises(ConfigError, match="did you mean 'partition'"):
        find_backend("mine", {"mine": {"backend": "slurm", "partitoin": "gpu"}})


def test_the_options_in_a_placement_make_the_same_backend():
    backend = Slurm(**FULL)
    assert Slurm(**backend._given).preview(commands(2)) == backend.preview(commands(2))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(30, 1800), ("90", 5400), ("02:00:00", 7200), ("10:30", 630), ("1-12", 129600), ("1-0:30", 88200), (None, None)],
)
def test_time_limits_are_read(text, seconds):
    assert seconds_of(text) == seconds


def test_ranges_stand_for_their_jobs():
    assert slurm_states.expand("7_[0-2,5%4]") == ["7_0", "7_1", "7_2", "7_5"]
    assert slurm_states.expand("7_3") == ["7_3"]
    assert slurm_states.expand("7_[odd]") == ["7_[odd]"]


@pytest.mark.parametrize(
    ("row", "state", "reason"),
    [
        ("1|PENDING|Resources|", PlacementState.PENDING, "waits in the queue (Resources)"),
        ("1|RUNNING|None|node3", PlacementState.RUNNING, "on node3"),
        ("1|TIMEOUT|TimeLimit|node3", PlacementState.ENDED, "TIMEOUT: the job reached its time limit (TimeLimit)"),
        ("1|COMPLETED|None|node3", PlacementState.ENDED, "COMPLETED: the job has ended"),
        ("1|LEVITATING|None|", PlacementState.UNKNOWN, "Slurm says 'LEVITATING'"),
    ],
)
def test_rows_of_squeue_are_read(row, state, reason):
    status = slurm_states.status_of(slurm_states.read_squeue(row + "\n")["1"])
    assert (status.state, status.reason) == (state, reason)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("5|FAILED|3:0|n", "FAILED: the job failed (exited with code 3)"),
        ("5|CANCELLED by 0|0:15|n", "CANCELLED: the job was cancelled (killed by signal 15 (SIGTERM))"),
        ("5|OUT_OF_ME+|0:125|n", "Slurm says 'OUT_OF_ME+'"),
    ],
)
def test_rows_of_sacct_are_read(row, reason):
    assert slurm_states.status_of(slurm_states.read_sacct(row)["5"]).reason == reason


def test_squeue_goes_before_an_accounting_that_lags_behind():
    queued = slurm_states.read_squeue("1|FAILED|NonZeroExitCode|n\n2|RUNNING|None|n")
    accounted = slurm_states.read_sacct("1|RUNNING|0:0|n\n2|FAILED|1:0|n\n3|TIMEOUT|0:0|n")
    rows = slurm_states.merged(queued, accounted, ["1", "2", "3", "4"])
    assert {job: row.state for job, row in rows.items()} == {"1": "FAILED", "2": "RUNNING", "3": "TIMEOUT"}


def test_jobs_are_submitted_in_parts():
    parts = []
    placed = submit_in_parts(10, 4, lambda first, count: parts.append((first, count)) or ["job"] * count, 1)
    assert parts == [(0, 4), (4, 4), (8, 2)]
    assert len(placed) == 10


def test_at_a_submit_limit_parts_are_halved_and_tried_again(monkeypatch):
    monkeypatch.setattr(job_programs, "_FIRST_PAUSE", 0.01)
    room, refusals = [3], []

    def submit(first, count):
        if count > room[0]:
            refusals.append(count)
            room[0] += len(refusals) > 4
            raise LimitReached("QOSMaxSubmitJobPerUserLimit")
        room[0] -= count
        return ["job"] * count

    assert len(submit_in_parts(5, 8, submit, 10)) == 5


def test_a_limit_that_stays_is_an_error_with_what_was_placed(monkeypatch):
    monkeypatch.setattr(job_programs, "_FIRST_PAUSE", 0.01)

    def submit(first, count):
        if first:
            raise LimitReached("AssocMaxSubmitJobLimit")
        return ["job"] * count

    with pytest.raises(BackendError, match="2 of 5 jobs were placed: AssocMax") as caught:
        submit_in_parts(5, 2, submit, 0.05)
    assert caught.value.placements == ("job", "job")


@pytest.mark.parametrize(
    ("message", "is_one"),
    [
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", True),
        ("sbatch: error: AssocMaxSubmitJobLimit", True),
        ("Slurm temporarily unable to accept job, sleeping and retrying", True),
        ("sbatch: error: invalid partition specified: nope", False),
    ],
)
def test_limits_are_told_from_refusals(message, is_one):
    assert slurm_states.is_limit(message) is is_one


def test_without_slurm_programs_the_error_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="scontrol is not installed here"):
        Slurm().start(commands(1))


def test_what_cannot_be_asked_is_unknown(monkeypatch, tmp_path):
    from rush.model import Placement

    monkeypatch.setenv("PATH", str(tmp_path))
    status = Slurm().poll([Placement("slurm", "p", ("w",), job_id="7", details={"cluster": "c"})])["p"]
    assert status.state is PlacementState.UNKNOWN
    assert "not installed" in status.reason
