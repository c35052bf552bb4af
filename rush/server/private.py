"""One private server for this process, which ends with it however it ends."""

import atexit
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from rush.config import RedisConfig, child_environment
from rush.errors import ConnectionFailed
from rush.server.folders import temporary_folder
from rush.server.launch import LOG, launch
from rush.server.programs import Program, find_program

_GUARD = Path(__file__).with_name("guard.py")
_lock = threading.Lock()
_server: "PrivateServer | None" = None


def process_server() -> RedisConfig:
    """Give this process's private server; the first call starts it, on loopback and with a random password.

    It ends with the process, also when that is killed, and its files with it. A process forked from this one gets a
    server of its own.

    Raises
    ------
    ConnectionFailed
        It does not start; the message ends with its log.
    MissingDependency
        There is no server program.
    """
    global _server  # noqa: PLW0603 - one for the process
    with _lock:
        if _server is None or not _server.alive:
            if _server is not None:
                _server.close()
            _server = PrivateServer()
        return _server.config


def is_own(config: RedisConfig) -> bool:
    """Say whether this is the server that `process_server` started."""
    return _server is not None and _server.config == config


class PrivateServer:
    """A server with a guard over it that ends it with this process.

    Attributes
    ----------
    config
        How to reach it, with its password and signing key.
    folder
        Its files; they are removed with it.
    """

    def __init__(self, program: Program | None = None) -> None:
        self._program = (program or find_program()).path
        self.folder = temporary_folder()
        wanted = RedisConfig(password=secrets.token_urlsafe(32), signing_key=secrets.token_urlsafe(32).encode())
        try:
            self.config, self._guard = launch(wanted, self.folder, self._start, port=None)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @property
    def alive(self) -> bool:
        """Whether the server still runs."""
        return self._guard.poll() is None

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._guard.pid

    def close(self) -> None:
        """End the server and remove its files."""
        self._guard.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def forget(self) -> None:
        """Let go of it in a forked child, whose hold on the pipe would outlive the parent."""
        self._guard.forget()

    def _start(self, configuration: str) -> "_Guard":
        order = {
            "program": str(self._program),
            "folder": str(self.folder),
            "log": str(self.folder / LOG),
            "configuration": configuration,
            "parent": os.getpid(),
        }
        return _Guard(json.dumps(order).encode() + b"\n")


class _Guard:
    """The process over a server: see guard.py."""

    def __init__(self, order: bytes) -> None:
        take, self._lifeline = os.pipe()
        back, answer = os.pipe()
        with os.fdopen(take) as stdin, os.fdopen(answer) as stdout:
            self._process = subprocess.Popen(
                [sys.executable, "-P", _GUARD],
                stdin=stdin,
                stdout=stdout,
                start_new_session=True,
                env=child_environment(),
            )
        os.write(self._lifeline, order)
        with os.fdopen(back, "rb") as pipe:
            said = pipe.readline()
        if not said.strip().isdigit():
            self.end()
            raise ConnectionFailed("the private server did not start: its program cannot be run")
        self.pid = int(said)

    def poll(self) -> int | None:
        return self._process.poll()

    def end(self) -> None:
        os.close(self._lifeline)
        self._process.wait()

    def forget(self) -> None:
        os.close(self._lifeline)
        # Not this process's child: there is nothing to wait for, nor to warn about.
        self._process.returncode = 0


@atexit.register
def _end() -> None:
    global _server
    server, _server = _server, None
    if server is not None:
        server.close()


def _forget_after_fork() -> None:
    global _server, _lock  # noqa: PLW0603 - see process_server
    server, _server = _server, None
    # Another thread of the parent may have held it.
    _lock = threading.Lock()
    if server is not None:
        server.forget()


os.register_at_fork(after_in_child=_forget_after_fork)
