"""What rush learns from environment variables. No other file reads them."""

import os
import socket
from collections.abc import Iterable, Mapping

from rush.config.connection import RedisConfig
from rush.errors import ConfigError

_SECRETS = ("RUSH_URL", "REDIS_URL", "RUSH_SIGNING_KEY")
_JOB = ("SLURM", "SRUN_", "SQUEUE_", "SACCT_", "SINFO_", "PBS", "PMI_", "PMIX_", "SUBMITIT_", "RUSH_JOB_END_TIME")
_SITE = ("SLURM_CONF", "PBS_CONF_FILE", "PBS_SERVER", "PBS_DEFAULT", "PBS_EXEC", "PBS_HOME")
"""How a site tells the programs where its job system is."""
_DEVICES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def variable(name: str) -> str | None:
    """Give an environment variable; None when it is unset or empty."""
    return os.environ.get(name) or None


def environment_config() -> RedisConfig | None:
    """Give what RUSH_URL says, else what REDIS_URL says, else None.

    Raises
    ------
    ConfigError
        The variable holds something that is not a URL of a server.
    """
    for name in ("RUSH_URL", "REDIS_URL"):
        if url := variable(name):
            try:
                return RedisConfig.from_url(url)
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from None
    return None


def child_environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the environment for a process that rush starts: this one's, without its secrets, with `changes`."""
    kept = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    return kept | dict(changes or {})


def job_leftovers() -> list[str]:
    """Name the variables that a job submitted from here must not inherit.

    They describe the job that this process itself may run in, change what the job system's programs print, or are
    secrets; a job that inherits them takes itself for another one.
    """
    return sorted(name for name in os.environ if name in _SECRETS or (name.startswith(_JOB) and name not in _SITE))


def job_environment() -> dict[str, str]:
    """Give the environment for the job system's programs: this one's, without secrets and leftovers of jobs."""
    leftovers = set(job_leftovers())
    return {name: value for name, value in os.environ.items() if name not in leftovers}


def job_end_time() -> float | None:
    """Say when the job system will end this job, in seconds since the epoch, or None where it does not tell.

    RUSH_JOB_END_TIME goes before Slurm's own variable.
    """
    for name in ("RUSH_JOB_END_TIME", "SLURM_JOB_END_TIME"):
        text = variable(name)
        if text is not None and text.strip().isdigit():
            return float(text)
    return None


def node_name() -> str:
    """Give the name of this node: Slurm's, where several share a host, else the host's."""
    return variable("SLURMD_NODENAME") or socket.gethostname()


def visible_devices() -> tuple[str, ...] | None:
    """Give the accelerators that this process may use, or None where nothing restricts them."""
    for name in _DEVICES:
        text = os.environ.get(name)
        if text is not None:
            return tuple(part.strip() for part in text.split(",") if part.strip())
    return None


def set_visible_devices(devices: Iterable[str]) -> None:
    """Restrict this process, and those it starts, to these accelerators."""
    for name in _DEVICES:
        os.environ[name] = ",".join(devices)
