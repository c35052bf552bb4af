"""Settings: how to reach Redis, the signing key, settings files, and all that rush learns from the environment."""

from rush.config.clients import as_config
from rush.config.connection import RedisConfig
from rush.config.environment import (
    child_environment,
    environment_config,
    job_end_time,
    job_environment,
    job_leftovers,
    node_name,
    set_visible_devices,
    visible_devices,
)
from rush.config.secrets import read_secrets
from rush.config.settings import Settings, load_settings, user_folder
from rush.config.signing import signing_key_for

__all__ = [
    "RedisConfig",
    "Settings",
    "as_config",
    "child_environment",
    "environment_config",
    "job_end_time",
    "job_environment",
    "job_leftovers",
    "load_settings",
    "node_name",
    "read_secrets",
    "set_visible_devices",
    "signing_key_for",
    "user_folder",
    "visible_devices",
]
