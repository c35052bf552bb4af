"""What rush learns from environment variables. No other file reads them."""

import os
import socket
from collections.abc import Iterable, Mapping

from rush.config.connection import RedisConfig
from rush.errors import ConfigError

_SECRETS = ("RUSH_URL", "REDIS_URL", "RUSH_SIGNING_KEY")
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
