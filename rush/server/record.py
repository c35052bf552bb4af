"""The address file: where this user's server runs, how to reach it, and whether it still lives."""

import base64
import contextlib
import dataclasses
import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rush.backends.processes import boot_id
from rush.config import RedisConfig
from rush.errors import ConfigError, RushError
from rush.server.folders import write_private

LOCK_TIMEOUT = 60.0
"""Seconds to wait for another process that starts or stops the server."""


@dataclass(frozen=True)
class Record:
    """What the address file says of a server.

    Attributes
    ----------
    host, boot_id, pid, start
        Its process: the host, the boot of the host, the process id, and what tells it from a later process of that id.
    url, signing_key
        How to reach it, password included, and what signs its pickles.
    program, folder
        Which program runs, and where its files are.
    """

    host: str
    boot_id: str
    pid: int
    start: str
    url: str
    signing_key: str
    program: str
    folder: str

    @property
    def config(self) -> RedisConfig:
        """How to reach the server."""
        key = base64.b64decode(self.signing_key)
        return dataclasses.replace(RedisConfig.from_url(self.url), signing_key=key)

    @property
    def foreign(self) -> bool:
        """Whether the server runs on another host."""
        return self.host != socket.gethostname()

    @property
    def on_loopback(self) -> bool:
        """Whether only its own host reaches the server."""
        return self.config.on_loopback

    @property
    def alive(self) -> bool:
        """Whether the server's process lives on this host."""
        return self.boot_id == boot_id() and process_start(self.pid) == self.start


def record_of(config: RedisConfig, pid: int, program: str, folder: Path) -> Record:
    """Describe a server that runs on this host.

    Raises
    ------
    RushError
        Its process has ended.
    """
    start = process_start(pid)
    if start is None:
        raise RushError("the private server ended as soon as it had started")
    key = base64.b64encode(config.signing_key or b"").decode()
    return Record(socket.gethostname(), boot_id(), pid, start, config.url, key, program, str(folder))


def process_start(pid: int) -> str | None:
    """Give what tells a process from others that had its id before or get it later; None when it has ended."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return _ticks(pid) or f"{process.create_time():.1f}"
    except psutil.Error:
        return None


def _ticks(pid: int) -> str | None:
    # Counted from the boot, so setting the clock does not change it.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None


def address_file() -> Path:
    """Give the path of this user's address file."""
    import platformdirs

    return platformdirs.user_state_path("rush") / "server.json"


def read_record() -> Record | None:
    """Read the address file; None where there is none.

    Raises
    ------
    ConfigError
        It is not the user's own, is open to others, or is not an address file.
    """
    path = address_file()
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            text = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"the address file {path} cannot be read: {error.strerror}") from error
    if status.st_uid != os.getuid():
        raise ConfigError(f"the address file {path} belongs to another user; remove it")
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"the address file {path} is open to others; make it your own: chmod 600 {path}")
    try:
        record = Record(**json.loads(text))
        _ = record.config
    except (ValueError, TypeError):
        # The cause quotes the file, and with it the password.
        raise ConfigError(f"{path} is not an address file of rush; remove it: rush server stop --forget") from None
    return record


def write_record(record: Record) -> None:
    """Write the address file."""
    write_private(address_file(), json.dumps(dataclasses.asdict(record)))


def remove_record() -> bool:
    """Remove the address file; False where there was none."""
    try:
        address_file().unlink()
    except FileNotFoundError:
        return False
    return True


@contextlib.contextmanager
def locked(timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Keep other processes of this user from starting or stopping the server meanwhile.

    Raises
    ------
    TimeoutError
        Another process has held the lock for `timeout` seconds.
    """
    folder = address_file().parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor, timeout)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"another process has been starting the server for {timeout:g} s") from None
            time.sleep(0.02)
        else:
            return
