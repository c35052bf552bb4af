"""What outlives a server in its folder: the password, the signing key and the port, for the next one there."""

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from rush.config import RedisConfig, signing_key_for
from rush.errors import ConfigError
from rush.server.folders import write_private

_FILE = "access.json"


@dataclass(frozen=True)
class Access:
    """How the server in a folder is reached; the port is None before the first start."""

    password: str = field(repr=False)
    signing_key: bytes = field(repr=False)
    port: int | None


def access_of(folder: Path) -> Access:
    """Give the access that a server had here before, else a new password and the user's own signing key.

    The user's own key, so that it is the same whether the server is found by its address file or by RUSH_URL.

    Raises
    ------
    ConfigError
        The file is damaged, or the user's key cannot be had.
    """
    path = folder / _FILE
    try:
        stated = json.loads(path.read_bytes())
        return Access(str(stated["password"]), str(stated["signing_key"]).encode(), int(stated["port"]))
    except FileNotFoundError:
        return Access(secrets.token_urlsafe(32), signing_key_for(), None)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        # The cause may quote the password.
        raise ConfigError(f"{path} was not written by rush; remove it, or give another folder: --dir") from None


def keep_access(folder: Path, config: RedisConfig) -> None:
    """Write down how the server in a folder is reached, for its owner only."""
    key = (config.signing_key or b"").decode()
    stated = {"password": config.password, "signing_key": key, "port": config.port}
    write_private(folder / _FILE, json.dumps(stated))
