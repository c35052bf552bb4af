"""Settings from files and environment: environment > the project's rush.toml > the user's rush.toml."""

import dataclasses
import logging
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rush.config.connection import RedisConfig
from rush.config.environment import environment_config, variable
from rush.errors import ConfigError
from rush.spelling import unknown_name
from rush.template import is_path

log = logging.getLogger(__name__)

FILE = "rush.toml"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@dataclass(frozen=True)
class Settings:
    """What files and environment say; None where they say nothing. Arguments and the plan go before all of it.

    Attributes
    ----------
    config
        The server: ``url`` in a file, RUSH_URL or REDIS_URL in the environment.
    n_workers, backend, log_levels, log_buffer_size, large_objects_path, max_object_size, start_worker_timeout
        As in `rush_plan`; in the environment RUSH_N_WORKERS and so on, log levels as ``rush=INFO,other=DEBUG``.
    profiles
        Backends with their options by name, from ``[profiles.NAME]``; each has at least a ``backend``.
    sources
        The files that were read, the strongest first.
    """

    config: RedisConfig | None = None
    n_workers: int | None = None
    backend: str | None = None
    log_levels: Mapping[str, str] | None = None
    log_buffer_size: int | None = None
    large_objects_path: str | None = None
    max_object_size: int | None = None
    start_worker_timeout: float | None = None
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sources: tuple[Path, ...] = ()


def load_settings(folder: Path | None = None) -> Settings:
    """Read the settings that hold in `folder` (the working directory when None).

    Raises
    ------
    ConfigError
        A setting is unknown or wrong; the message names the file or variable, and near matches.
    """
    settings = Settings()
    for path in (user_folder() / FILE, project_file(folder or Path.cwd())):
        if path is not None and path.is_file():
            settings = _merged(settings, _read(path), path)
    stated = {name: read for name in _READERS if (read := _from_environment(name)) is not None}
    if (config := environment_config()) is not None:
        stated["config"] = config
    return dataclasses.replace(settings, **stated)


def user_folder() -> Path:
    """Give the folder of the user's own settings and signing key."""
    import platformdirs

    return platformdirs.user_config_path("rush")


def project_file(folder: Path) -> Path | None:
    """Find rush.toml in `folder` or above it, not beyond the repository's root or the home folder."""
    for candidate in _upwards(folder.resolve()):
        path = candidate / FILE
        if not path.is_file():
            continue
        if candidate.stat().st_mode & stat.S_IWOTH:
            log.warning("%s is ignored: everybody can write to its folder", path)
            continue
        return path
    return None


def _upwards(folder: Path) -> Iterator[Path]:
    home = Path.home().resolve()
    for candidate in (folder, *folder.parents):
        yield candidate
        if candidate == home or (candidate / ".git").exists():
            return


def _merged(base: Settings, table: dict[str, Any], path: Path) -> Settings:
    profiles = table.pop("profiles", {})
    return dataclasses.replace(base, **table, profiles={**base.profiles, **profiles}, sources=(path, *base.sources))


def _read(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    known = {"url", "profiles", *_READERS}
    stated: dict[str, Any] = {}
    for name, value in table.items():
        if name not in known:
            raise ConfigError(f"{path}: {unknown_name('setting', name, known)}")
        if name == "url":
            stated["config"] = _url(value, path)
        elif name == "profiles":
            stated["profiles"] = _profiles(value, path)
        else:
            stated[name] = _checked(name, value, str(path))
    if "large_objects_path" in stated:
        stated["large_objects_path"] = str(path.parent / Path(stated["large_objects_path"]).expanduser())
    return stated


def _url(value: object, path: Path) -> RedisConfig:
    if not isinstance(value, str):
        raise ConfigError(f"{path}: url must be a string, not a {type(value).__name__}")
    try:
        config = RedisConfig.from_url(value)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if config.password and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        log.warning("%s holds a password that others can read: chmod 600 %s", path, path)
    return config


def _profiles(value: object, path: Path) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: profiles must be tables, as in [profiles.mycluster]")
    for name, profile in value.items():
        if not isinstance(profile, dict) or not isinstance(profile.get("backend"), str):
            raise ConfigError(f'{path}: profile {name!r} must be a table with a backend, as in backend = "slurm"')
        template = profile.get("template")
        if isinstance(template, str) and is_path(template):
            profile["template"] = str(path.parent / Path(template).expanduser())
    return value


def _whole(least: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = int(value) if isinstance(value, str) else value
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise ValueError
        return number

    return read


def _seconds(value: object) -> float:
    number = float(value) if isinstance(value, str) else value
    if not isinstance(number, int | float) or isinstance(number, bool) or not number >= 0:
        raise ValueError
    return float(number)


def _word(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _levels(value: object) -> dict[str, str]:
    if isinstance(value, str):
        value = dict(part.strip().split("=") for part in value.split(","))
    if not isinstance(value, dict) or not all(level in LEVELS for level in value.values()):
        raise ValueError
    return value


_READERS: Mapping[str, tuple[Callable[[object], Any], str]] = {
    "n_workers": (_whole(1), "a whole number, 1 or more"),
    "backend": (_word, "the name of a backend or profile"),
    "log_levels": (_levels, f"loggers and their levels ({', '.join(LEVELS)})"),
    "log_buffer_size": (_whole(0), "a whole number, 0 or more"),
    "large_objects_path": (_word, "a path"),
    "max_object_size": (_whole(1), "a number of bytes, 1 or more"),
    "start_worker_timeout": (_seconds, "a number of seconds, 0 or more"),
}


def _checked(name: str, value: object, source: str) -> Any:
    read, wanted = _READERS[name]
    try:
        return read(value)
    except ValueError:
        raise ConfigError(f"{source}: {name} must be {wanted}, not {value!r}") from None


def _from_environment(name: str) -> Any:
    text = variable(f"RUSH_{name.upper()}")
    return None if text is None else _checked(name, text, f"RUSH_{name.upper()}")
