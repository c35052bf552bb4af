"""Backends and profiles from the command line."""

from pathlib import Path

import pytest

from rush.backends import Local, backend_names
from rush.backends.options import options_of, read_parameters
from rush.backends.slurm.backend import Slurm
from rush.errors import MissingDependency

PROFILE = """
[profiles.mycluster]
backend = "slurm"
partition = "cpu"
time = "02:00:00"
setup = ["module load python"]
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    def write(text):
        (tmp_path / "rush.toml").write_text(text)

    monkeypatch.chdir(tmp_path)
    return write


def test_backends_and_profiles_are_listed(answer, rush, project):
    project(PROFILE)
    found = answer("backend", "list")
    kinds = {row["name"]: row["kind"] for row in found["backends"]}
    assert {name for name, kind in kinds.items() if kind == "backend"} == set(backend_names())
    assert kinds["mycluster"] == "profile of slurm"
    assert found["settings"] == [str(Path.cwd() / "rush.toml")]
    text = rush("backend", "list")[1]
    assert "partition=cpu, time=02:00:00, setup=['module load python']" in text
    assert "settings: " in text


def test_a_backend_whose_library_is_missing_says_what_installs_it(answer, project, monkeypatch):
    def missing(name):
        raise MissingDependency(f"backend {name!r} cannot be imported; pip install 'rush-hpc[{name}]'")

    monkeypatch.setattr("rush.backends.registry.backend_class", missing)
    rows = {row["name"]: row["about"] for row in answer("backend", "list")["backends"]}
    assert "pip install 'rush-hpc[slurm]'" in rows["slurm"]


def test_a_profile_is_shown_with_its_options_and_its_job_script(answer, rush, project):
    project(PROFILE)
    found = answer("backend", "show", "mycluster")
    assert found["backend"] == "slurm"
    assert found["options"]["partition"] == "cpu"
    assert found["options"]["workers_per_job"] == 1
    assert "#SBATCH --partition=cpu" in found["preview"]
    text = rush("backend", "show", "mycluster")[1]
    assert "module load python" in text
    assert "Time limit: minutes" in text


def test_a_misspelt_option_or_backend_is_an_error_with_the_near_one(rush, project):
    project(PROFILE.replace("partition", "partitoin"))
    code, _, err = rush("backend", "show", "mycluster")
    assert code == 1
    assert "profile 'mycluster': no option of backend 'slurm' 'partitoin'; did you mean 'partition'?" in err
    project(PROFILE.replace('"slurm"', '"slrum"'))
    assert "profile 'mycluster': no backend 'slrum'; did you mean 'slurm'" in rush("backend", "show", "mycluster")[2]
    project(PROFILE.replace('time = "02:00:00"', 'time = "soon"'))
    assert "profile 'mycluster': time must be minutes" in rush("backend", "check", "mycluster")[2]
    project(PROFILE)
    assert "no backend 'myclutser'; did you mean 'mycluster'" in rush("backend", "show", "myclutser")[2]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ('workers_per_job = "2"', "workers_per_job must be int, not '2'"),
        ("srun = 1", "srun must be bool, not 1"),
        ("time = true", "time must be str | int | None, not True"),
        ("submit_timeout = []", "submit_timeout must be float, not []"),
        ("setup = 3", "setup must be Sequence[str], not 3"),
    ],
)
def test_an_option_of_the_wrong_type_is_an_error_that_says_which_is_right(rush, project, line, wanted):
    project(f'[profiles.site]\nbackend = "slurm"\n{line}\n')
    code, _, err = rush("backend", "show", "site")
    assert code == 1
    assert f"profile 'site': {wanted}" in err


def test_options_of_the_right_types_are_taken(answer, project):
    lines = [
        "time = 30",
        'gpus = "a100:2"',
        "submit_timeout = 5",
        "loopback = true",
        'extra = ["--nice"]',
        "srun = true",
    ]
    project("\n".join(["[profiles.site]", 'backend = "slurm"', *lines]))
    assert answer("backend", "show", "site")["options"]["gpus"] == "a100:2"


def test_local_can_be_used(rush, project):
    code, out, _ = rush("backend", "check", "local")
    assert code == 0
    assert out.startswith("local can be used from here\n")
    assert "rush server check --backend local" in out


@pytest.mark.scheduler
@pytest.mark.slow
def test_a_real_slurm_is_checked(answer, rush, project, cluster):
    project(PROFILE.replace("cpu", "debug"))
    found = answer("backend", "check", "mycluster")
    assert found["ok"] is True
    assert found["cluster"] == "rush"
    assert found["largest array"] == "4"
    assert "debug (up, nodes 3, limit infinite)" in found["partitions"]
    project(PROFILE.replace("cpu", "debug2"))
    code, _, err = rush("backend", "check", "mycluster")
    assert code == 1
    assert "no partition 'debug2'; did you mean 'debug'" in err
    found = answer("backend", "check", "pbs")
    assert found["dialect"] == "wrapper"
    assert "debug (up, nodes 3, limit infinite)" in found["queues"]


def test_where_slurm_does_not_answer_a_check_fails(rush, project, monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "scontrol").write_text("#!/bin/sh\necho Unable to contact slurm controller >&2\nexit 1\n")
    (tmp_path / "bin" / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    code, _, err = rush("backend", "check", "slurm")
    assert code == 1
    assert "Slurm does not answer: Unable to contact slurm controller" in err


def test_options_are_read_from_the_documentation_of_all_classes():
    meanings = {row["option"]: row["meaning"] for row in options_of(Slurm())}
    assert all(meanings.values())
    assert meanings["partition"] == "As for sbatch."
    assert all(row["meaning"] for row in options_of(Local()))


def test_the_section_after_the_parameters_is_none_of_them():
    text = "Does.\n\nParameters\n----------\na, b\n    Both\n    of them.\nc\n    `This`.\n\nRaises\n------\nValueError\n    Always.\n"
    assert read_parameters(text) == {"a": "Both of them.", "b": "Both of them.", "c": "This."}
    assert read_parameters("Does.") == {}
