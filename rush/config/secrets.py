"""What workers are handed besides their command line: the server's address and keys, in a file or on standard input."""

import contextlib
import sys
from pathlib import Path

from rush.config.connection import RedisConfig
from rush.errors import ConfigError


def read_secrets(path: str) -> RedisConfig:
    """Read the server's address and keys from a file that only its owner can read; ``-`` is standard input.

    A file whose name ends in ``.once`` is for one reader, and removed.

    Raises
    ------
    ConfigError
        There is no such file, it is open to others, or it holds something else.
    """
    if path == "-":
        return RedisConfig.from_secret(_first_line())
    file = Path(path)
    try:
        if file.stat().st_mode & 0o077:
            raise ConfigError(f"{path} can be read by others; make it your own: chmod 600 {path}")
        secret = file.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"cannot read the secrets in {path}: {error.strerror}") from error
    if file.suffix == ".once":
        with contextlib.suppress(OSError):  # a container may see its folder read-only
            file.unlink()
    return RedisConfig.from_secret(secret)


def _first_line() -> bytes:
    """Read one line of standard input and not a byte more: the rest is watched for its end."""
    line = bytearray()
    source = sys.stdin.buffer.raw if hasattr(sys.stdin.buffer, "raw") else sys.stdin.buffer
    while (byte := source.read(1)) and byte != b"\n":
        line += byte
    return bytes(line)
