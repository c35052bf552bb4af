"""Settings from files and environment, the signing key, and the small readers of the environment."""

import multiprocessing
import os
import socket
import stat
from pathlib import Path

import platformdirs
import pytest

from rush.config import (
    RedisConfig,
    child_environment,
    job_end_time,
    job_environment,
    job_leftovers,
    load_settings,
    node_name,
    read_secrets,
    signing_key_for,
    user_folder,
    visible_devices,
)
from rush.config.settings import Settings
from rush.errors import ConfigError


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Give the working directory of a project that ends at its .git folder."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def user_file():
    user_folder().mkdir(parents=True)
    return user_folder() / "rush.toml"


def test_nothing_said_is_none(project):
    assert load_settings() == Settings()


def test_project_file_is_read(project):
    (project / "rush.toml").write_text(
        """
        url = "redis://h:7000/1"
        n_workers = 4
        backend = "mycluster"
        log_levels = { rush = "INFO", "my.package" = "DEBUG" }
        log_buffer_size = 10
        large_objects_path = "large"
        max_object_size = 1000
        start_worker_timeout = 60

        [profiles.mycluster]
        backend = "slurm"
        partition = "cpu"
        setup = ["module load python"]
        """
    )
    settings = load_settings()
    assert settings == Settings(
        config=RedisConfig("h", 7000, 1),
        n_workers=4,
        backend="mycluster",
        log_levels={"rush": "INFO", "my.package": "DEBUG"},
        log_buffer_size=10,
        large_objects_path=str(project / "large"),
        max_object_size=1000,
        start_worker_timeout=60.0,
        profiles={"mycluster": {"backend": "slurm", "partition": "cpu", "setup": ["module load python"]}},
        sources=(project / "rush.toml",),
    )


def test_environment_goes_before_project_before_user(project, user_file, monkeypatch):
    user_file.write_text("n_workers = 1\nbackend = 'user'\nlog_buffer_size = 1\n[profiles.a]\nbackend = 'slurm'\nx = 1")
    (project / "rush.toml").write_text(
        "n_workers = 2\nbackend = 'project'\n[profiles.a]\nbackend = 'pbs'\n[profiles.b]\nbackend = 'ssh'"
    )
    monkeypatch.setenv("RUSH_N_WORKERS", "3")
    monkeypatch.setenv("REDIS_URL", "redis://h")
    settings = load_settings()
    assert (settings.n_workers, settings.backend, settings.log_buffer_size) == (3, "project", 1)
    assert settings.config == RedisConfig("h")
    assert settings.profiles == {"a": {"backend": "pbs"}, "b": {"backend": "ssh"}}
    assert settings.sources == (project / "rush.toml", user_file)


def test_every_setting_can_stand_in_the_environment(project, monkeypatch):
    for name, text in {
        "RUSH_N_WORKERS": "2",
        "RUSH_BACKEND": "local",
        "RUSH_LOG_LEVELS": "rush=INFO, other=DEBUG",
        "RUSH_LOG_BUFFER_SIZE": "0",
        "RUSH_LARGE_OBJECTS_PATH": "/scratch",
        "RUSH_MAX_OBJECT_SIZE": "5",
        "RUSH_START_WORKER_TIMEOUT": "1.5",
        "RUSH_URL": "redis://h",
    }.items():
        monkeypatch.setenv(name, text)
    levels = {"rush": "INFO", "other": "DEBUG"}
    assert load_settings() == Settings(RedisConfig("h"), 2, "local", levels, 0, "/scratch", 5, 1.5)


def test_project_file_is_found_above_but_not_beyond_the_repository(project, monkeypatch):
    (project / "rush.toml").write_text("n_workers = 2")
    (project.parent / "rush.toml").write_text("n_workers = 9")
    below = project / "a" / "b"
    below.mkdir(parents=True)
    assert load_settings(below).n_workers == 2
    (project / "rush.toml").unlink()
    assert load_settings(below).n_workers is None


def test_project_file_is_not_looked_for_above_home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "rush.toml").write_text("n_workers = 9")
    assert load_settings(home).n_workers is None
    (home / "rush.toml").write_text("n_workers = 1")
    assert load_settings(home).n_workers == 1


def test_file_in_a_folder_open_to_everybody_is_ignored(tmp_path, caplog):
    shared = tmp_path / "shared"
    mine = shared / "mine"
    mine.mkdir(parents=True)
    shared.chmod(0o777)
    (shared / "rush.toml").write_text("url = 'redis://elsewhere'")
    assert load_settings(mine).config is None
    assert "everybody can write to its folder" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("urll = 'redis://h'", "no setting 'urll'; did you mean 'url'"),
        ("n_wokers = 2", "did you mean 'n_workers'"),
        ("n_workers = ", "is not TOML"),
        ("n_workers = 0", "n_workers must be a whole number, 1 or more, not 0"),
        ("n_workers = true", "n_workers must be a whole number"),
        ("n_workers = 1.5", "not 1.5"),
        ("backend = 1", "backend must be the name of a backend"),
        ("start_worker_timeout = -1", "start_worker_timeout must be a number of seconds"),
        ("start_worker_timeout = true", "start_worker_timeout must be a number of seconds"),
        ("log_levels = { rush = 'LOUD' }", "log_levels must be loggers and their levels .DEBUG"),
        ("log_levels = 'rush'", "log_levels must be"),
        ("url = 1", "url must be a string"),
        ("url = 'redis://:s3cr3t@h:x'", "valid host and port"),
        ("profiles = 1", "profiles must be tables"),
        ("[profiles.x]\npartition = 'cpu'", "profile 'x' must be a table with a backend"),
    ],
)
def test_wrong_setting_is_explained_with_its_file(project, text, message):
    (project / "rush.toml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_settings()
    assert str(project / "rush.toml") in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_wrong_variable_is_named(project, monkeypatch):
    monkeypatch.setenv("RUSH_N_WORKERS", "many")
    with pytest.raises(ConfigError, match="RUSH_N_WORKERS: n_workers must be a whole number, 1 or more, not 'many'"):
        load_settings()


def test_file_that_is_not_text_is_refused(project):
    (project / "rush.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_settings()


def test_password_that_others_can_read_is_warned_of(project, caplog):
    file = project / "rush.toml"
    file.write_text("url = 'redis://:s3cr3t@h'")
    file.chmod(0o600)
    load_settings()
    assert not caplog.records
    file.chmod(0o644)
    load_settings()
    assert f"chmod 600 {file}" in caplog.text
    assert "s3cr3t" not in caplog.text


def test_config_goes_before_variable_before_file(monkeypatch):
    own = signing_key_for()
    monkeypatch.setenv("RUSH_SIGNING_KEY", "from the environment")
    assert signing_key_for(RedisConfig()) == b"from the environment"
    assert signing_key_for(RedisConfig(signing_key=b"k" * 32)) == b"k" * 32
    monkeypatch.delenv("RUSH_SIGNING_KEY")
    assert signing_key_for(RedisConfig()) == own


def test_own_key_is_made_once_and_for_its_owner_only():
    first = signing_key_for()
    file = user_folder() / "signing-key"
    assert len(first) >= 32
    assert signing_key_for() == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(user_folder().stat().st_mode) == 0o700
    assert [path.name for path in user_folder().iterdir()] == ["signing-key"]
    assert user_folder() == Path(platformdirs.user_config_dir("rush"))


def test_processes_that_make_the_key_at_once_agree():
    context = multiprocessing.get_context("fork")
    with context.Pool(8) as pool:
        keys = pool.map(signing_key_for, [None] * 32, chunksize=1)
        pool.close()
        pool.join()
    assert len(set(keys)) == 1


def test_key_that_others_can_read_is_refused():
    signing_key_for()
    file = user_folder() / "signing-key"
    file.chmod(0o640)
    with pytest.raises(ConfigError, match=f"chmod 600 {file}"):
        signing_key_for()


def test_short_key_is_refused(monkeypatch):
    monkeypatch.setenv("RUSH_SIGNING_KEY", "s3cr3t")
    with pytest.raises(ConfigError, match="RUSH_SIGNING_KEY must have 16 bytes or more") as caught:
        signing_key_for()
    assert "s3cr3t" not in str(caught.value)


def test_key_that_cannot_be_made_names_the_settings(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"RUSH_SIGNING_KEY or RedisConfig\(signing_key=") as caught:
        signing_key_for()
    assert str(user_folder()) in str(caught.value)


def test_children_inherit_no_secret(monkeypatch):
    for name in ("RUSH_URL", "REDIS_URL", "RUSH_SIGNING_KEY", "OTHER"):
        monkeypatch.setenv(name, "x")
    environment = child_environment({"ADDED": "1"})
    assert not {"RUSH_URL", "REDIS_URL", "RUSH_SIGNING_KEY"} & set(environment)
    assert (environment["OTHER"], environment["ADDED"]) == ("x", "1")


def test_end_of_the_job_is_read(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    assert job_end_time() is None
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1700000000")
    assert job_end_time() == 1.7e9
    monkeypatch.setenv("RUSH_JOB_END_TIME", "1800000000")
    assert job_end_time() == 1.8e9
    monkeypatch.setenv("RUSH_JOB_END_TIME", "soon")
    assert job_end_time() == 1.7e9


def test_node_is_named_by_slurm_or_by_its_host(monkeypatch):
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)
    assert node_name() == socket.gethostname()
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    assert node_name() == "node7"


def test_visible_devices_are_read(monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    assert visible_devices() is None
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "0")
    assert visible_devices() == ("0",)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-x")
    assert visible_devices() == ("2", "GPU-x")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_devices() == ()


def test_devices_and_job_variables_are_read_from_the_environment(monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    assert visible_devices() is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, 2,")
    assert visible_devices() == ("0", "2")
    monkeypatch.setenv("RUSH_URL", "redis://:secret@host")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    assert {"RUSH_URL", "SLURM_JOB_ID"} <= set(job_leftovers())
    assert "SLURM_CONF" in job_environment()
    assert not {"RUSH_URL", "SLURM_JOB_ID"} & set(job_environment())


def test_secrets_are_read_from_a_file_of_ones_own_only(tmp_path):
    secrets = tmp_path / "secrets"
    secrets.write_bytes(RedisConfig(password="hush").to_secret())
    secrets.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_secrets(str(secrets))
    secrets.chmod(0o600)
    assert read_secrets(str(secrets)).password == "hush"
    with pytest.raises(ConfigError, match=r"nowhere: No such file"):
        read_secrets(str(tmp_path / "nowhere"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_signing_key_of_another_user_is_refused():
    signing_key_for()
    path = user_folder() / "signing-key"
    os.chown(path, 12345, -1)
    with pytest.raises(ConfigError, match="belongs to another user"):
        signing_key_for()
