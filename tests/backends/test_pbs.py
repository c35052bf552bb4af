"""PBS by what a real OpenPBS printed: job scripts, command lines, states."""

import os
from pathlib import Path

import pytest

from rush.backends import find_backend
from rush.backends.jobs import scripts as job_scripts
from rush.backends.pbs import states as pbs_states
from rush.backends.pbs.backend import PBS
from rush.backends.pbs.executor import PBSExecutor, job_id_of
from rush.backends.pbs.states import Dialect, find_dialect
from rush.errors import BackendError, ConfigError
from rush.model import Placement, PlacementState, WorkerCommand
from tests.backends.fake_pbs import RECORDED, FakePBS

GOLDEN = Path(__file__).parent / "golden"
FULL = {
    "queue": "long",
    "account": "lab",
    "time": 90,
    "cpus": 8,
    "memory": "16G",
    "gpus": 2,
    "constraint": "arch=zen4",
    "extra": {"m": "e", "V": True},
    "setup": ["module load python"],
    "teardown": ["echo over"],
    "python": "python3",
    "workers_per_job": 4,
}


@pytest.fixture(autouse=True)
def _nothing_beside(monkeypatch):
    monkeypatch.setattr(job_scripts, "module_paths", list)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return FakePBS(folder)


def commands(n):
    return [WorkerCommand("net", (f"w{i}",), ("-m", "rush.worker", "--worker", f"w{i}"), b"hidden") for i in range(n)]


def at(job_id):
    return Placement("pbs", job_id, ("w",), job_id=job_id, details={"server": "rushpbs"})


def status(job_id):
    return PBS().poll([at(job_id)])[job_id]


def golden(name, text):
    assert text == (GOLDEN / name).read_text()


def test_the_script_of_one_job():
    golden("pbs-one.sh", PBS(python="python3", dialect="openpbs").preview(commands(1)))


def test_the_script_of_an_array_with_every_option():
    golden("pbs-array.sh", PBS(**FULL, dialect="openpbs").preview(commands(3)))


@pytest.mark.parametrize("dialect", ["torque", "wrapper"])
def test_the_script_in_the_dialect_of_torque(dialect):
    golden("pbs-torque.sh", PBS(**FULL, dialect=dialect).preview(commands(2)))


def test_no_secret_stands_in_a_script():
    assert "hidden" not in PBS(dialect="openpbs").preview(commands(2))


def test_an_unknown_dialect_is_an_error_with_the_near_match():
    with pytest.raises(ConfigError, match="did you mean 'openpbs'"):
        PBS(dialect="openpbbs")


def test_a_profile_makes_a_pbs():
    assert isinstance(find_backend("mine", {"mine": {"backend": "pbs", "queue": "long"}}), PBS)


def test_openpbs_is_found_by_asking(fake):
    assert find_dialect() is Dialect.OPENPBS
    assert PBSExecutor.affinity() == 2


@pytest.mark.parametrize(
    ("answer", "dialect"),
    [
        ("echo 'Version: 6.1.2' >&2; echo 'Commit: x' >&2", Dialect.TORQUE),
        ("echo 'Unknown option: version' >&2; exit 2", Dialect.WRAPPER),
        ("echo 'pbs_version = 19.1.3'", Dialect.OPENPBS),
    ],
)
def test_dialects_are_told_apart_by_what_the_programs_say(fake, answer, dialect):
    (fake.folder / "qstat").write_text(f"#!/bin/sh\n{answer}\n")
    assert find_dialect() is dialect
    assert (PBSExecutor.affinity() > 0) is (dialect is not Dialect.WRAPPER)


def test_without_programs_the_error_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_dialect() is None
    with pytest.raises(BackendError, match="qsub and qstat are not installed here"):
        PBS().start(commands(1))
    state = PBS().poll([at("17.rushpbs")])["17.rushpbs"]
    assert state.state is PlacementState.UNKNOWN


def test_one_job_is_submitted_alone(fake, tmp_path):
    (placement,) = PBS(folder=str(tmp_path / "jobs")).start(commands(1))
    assert placement.job_id == "0.rushpbs"
    folder = Path(placement.details["folder"])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "secrets-0.once").read_bytes() == b"hidden\n"
    assert (folder / "secrets-0.once").stat().st_mode & 0o777 == 0o600


def test_many_jobs_are_an_array(fake, tmp_path):
    placed = PBS(folder=str(tmp_path / "jobs")).start(commands(3))
    assert [p.job_id for p in placed] == ["13[0].rushpbs", "13[1].rushpbs", "13[2].rushpbs"]
    assert len([call for call in fake.calls if call.startswith("qsub")]) == 1


def test_arrays_are_split_at_the_sites_limit(fake, tmp_path):
    placed = PBS(folder=str(tmp_path / "jobs"), array_size=2).start(commands(5))
    assert len(placed) == 5
    assert len([call for call in fake.calls if call.startswith("qsub")]) == 3


def test_what_qsub_refuses_is_an_error_with_its_words(fake, tmp_path):
    with pytest.raises(BackendError, match="qsub refused the job: qsub: Unknown queue"):
        PBS(folder=str(tmp_path / "jobs"), queue="nowhere").start(commands(1))


def test_leftovers_and_secrets_are_not_passed_on(fake, tmp_path, monkeypatch):
    for name in ("RUSH_URL", "REDIS_URL", "RUSH_SIGNING_KEY", "PBS_JOBID", "PBS_O_HOME", "SLURM_JOB_ID", "PMI_RANK"):
        monkeypatch.setenv(name, "7777x")
    monkeypatch.setenv("PBS_SERVER", "mine")
    PBS(folder=str(tmp_path / "jobs")).start(commands(1))
    assert "7777x" not in fake.environment
    assert "PBS_SERVER=mine" in fake.environment


@pytest.mark.parametrize(
    ("job_id", "state", "reason"),
    [
        ("0.rushpbs", PlacementState.ENDED, "the job has ended"),
        ("7.rushpbs", PlacementState.ENDED, "Can Never Run: Insufficient amount of resource"),
        ("10.rushpbs", PlacementState.ENDED, "the job reached its time limit"),
        ("16.rushpbs", PlacementState.ENDED, "the job was deleted"),
        ("13[1].rushpbs", PlacementState.RUNNING, "on rushpbs"),
        ("99.rushpbs", PlacementState.ENDED, "PBS no longer knows the job"),
        ("away.rushpbs", PlacementState.UNKNOWN, "cannot connect to server"),
    ],
)
def test_states_are_read_from_what_openpbs_printed(fake, job_id, state, reason):
    found = status(job_id)
    assert found.state is state
    assert reason in found.reason


def test_a_held_job_says_why_it_waits():
    rows = pbs_states.read_json((RECORDED / "qstat_t_f_json_all.json").read_text())
    found = pbs_states.status_of(rows["14.rushpbs"])
    assert found.state is PlacementState.PENDING
    assert found.reason.startswith("waits in the queue (")


def test_few_jobs_are_asked_for_one_by_one_and_many_in_one_call(fake):
    backend = PBS()
    backend.poll([at("0.rushpbs"), at("7.rushpbs"), at("13[0].rushpbs"), at("13[1].rushpbs")])
    assert len([call for call in fake.calls if "json" in call]) == 3
    PBS().poll([at(f"{n}.rushpbs") for n in range(10)])
    assert len([call for call in fake.calls if "json" in call]) == 4


def test_pbs_is_not_asked_again_at_once(fake):
    backend = PBS()
    for _ in range(5):
        backend.poll([at("13[0].rushpbs")])
    assert len([call for call in fake.calls if "json" in call]) == 1


def test_a_stop_signals_and_deletes_what_cannot_be_signalled(fake):
    PBS().stop([at("0.rushpbs"), at("14.rushpbs")], kill=False)
    assert [call for call in fake.calls if call.startswith("q")] == [
        "qsig -s SIGTERM 0.rushpbs",
        "qsig -s SIGTERM 14.rushpbs",
        "qdel 14.rushpbs",
    ]


def test_a_kill_signals_and_deletes(fake):
    PBS().stop([at("0.rushpbs")], kill=True)
    assert fake.calls == ["qsig -s SIGKILL 0.rushpbs", "qdel 0.rushpbs"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (pbs_states.JobRow("F", "", 271), "the job failed (killed by signal 15 (SIGTERM))"),
        (pbs_states.JobRow("X", "", 3), "the job failed (exited with code 3)"),
        (
            pbs_states.JobRow("F", "gone and terminated by root@x", 0),
            "the job was deleted (gone and terminated by root@x)",
        ),
        (pbs_states.JobRow("C", "", None), "the job has ended"),
    ],
)
def test_endings_are_told_apart(row, reason):
    assert pbs_states.status_of(row).reason == reason


def test_a_state_that_is_not_known_is_unknown():
    assert pbs_states.status_of(pbs_states.JobRow("Z")).state is PlacementState.UNKNOWN


def test_the_text_of_torque_is_read():
    text = "Job Id: 31.server\n    Job_Name = rush\n    job_state = R\n    exec_host = n1/0+n1/1\n    comment = a long\n\tone\n"
    assert pbs_states.read_text(text) == {"31.server": pbs_states.JobRow("R", "a longone", None, "n1")}


def test_what_is_not_json_is_an_error():
    with pytest.raises(BackendError, match="not JSON"):
        pbs_states.read_json("{")


def test_the_job_id_is_the_last_line():
    assert job_id_of("Welcome\n17.server\n") == "17.server"
    with pytest.raises(BackendError, match="no job id"):
        job_id_of("\n")


def test_the_plugin_refuses_what_it_cannot_do(tmp_path):
    executor = PBSExecutor(tmp_path)
    with pytest.raises(ValueError, match="nodes must be 1"):
        executor.update_parameters(nodes=2)
    with pytest.raises(ValueError, match="queu"):
        executor.update_parameters(queu="long")


@pytest.mark.parametrize(
    ("extra", "name"), [((), "secrets-0.once"), (["-r", "y"], "secrets-0"), ({"r": "y"}, "secrets-0")]
)
def test_secrets_are_for_one_reader_unless_the_job_may_start_again(fake, tmp_path, extra, name):
    (placement,) = PBS(folder=str(tmp_path / "jobs"), extra=extra).start(commands(1))
    assert Path(placement.details["secrets"]).name == name
    PBS().stop([placement], kill=True)
    assert not Path(placement.details["secrets"]).exists()


def test_a_job_that_pbs_ended_at_its_limit_was_interrupted(fake):
    assert status("10.rushpbs").interrupted
    assert not status("16.rushpbs").interrupted
    assert pbs_states.status_of(pbs_states.JobRow("F", "Job preempted by 12.rushpbs", 271)).interrupted
