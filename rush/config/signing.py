"""The key that signs pickled objects: given, in the environment, or in the user's own file, made at first use."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from rush.config.connection import SHORTEST_KEY, RedisConfig
from rush.config.environment import variable
from rush.config.settings import user_folder
from rush.errors import ConfigError

_FILE = "signing-key"


def signing_key_for(config: RedisConfig | None = None) -> bytes:
    """Give the key that signs and checks pickles: the config's own, else RUSH_SIGNING_KEY, else the user's file.

    The file is made at first use, with mode 0600 in a folder of mode 0700, so that one user has the same key on every
    host with a shared home.

    Raises
    ------
    ConfigError
        The key is too short, or its file can be read by others, is not the user's own, or cannot be made.
    """
    if config is not None and config.signing_key is not None:
        return config.signing_key
    if text := variable("RUSH_SIGNING_KEY"):
        return _checked(text.encode(), "RUSH_SIGNING_KEY")
    return _own_key(user_folder() / _FILE)


def _checked(key: bytes, source: str) -> bytes:
    if len(key) < SHORTEST_KEY:
        raise ConfigError(f"{source} must have {SHORTEST_KEY} bytes or more, it has {len(key)}")
    return key


def _own_key(path: Path) -> bytes:
    try:
        if not path.exists():
            _make(path)
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            key = file.read().strip()
    except OSError as error:
        raise ConfigError(
            f"no signing key: {path} cannot be read or made ({error.strerror}); "
            "set RUSH_SIGNING_KEY or RedisConfig(signing_key=...)"
        ) from error
    if status.st_uid != os.getuid():
        raise ConfigError(f"the signing key {path} belongs to another user; remove it and rush makes a new one")
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"the signing key {path} is open to others; make it your own: chmod 600 {path}")
    return _checked(key, str(path))


def _make(path: Path) -> None:
    """Write a new key under its final name in one step, so that of two processes that try both read the same key."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
