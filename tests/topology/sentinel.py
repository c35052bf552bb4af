"""A master and its replica under three sentinels, all with passwords, as real processes on loopback."""

import contextlib
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import redis

from rush.config import RedisConfig
from tests.conftest import patience
from tests.servers import TestServer, binary, free_port

SERVICE = "campaign"
DOWN_AFTER = 500
"""Milliseconds after which a sentinel takes a silent server for down."""


class SentinelGroup:
    """Two servers and three sentinels. One server's data goes on to the other, and with the first gone it takes over.

    Attributes
    ----------
    master, replica
        The servers in the roles that they had at the start.
    config
        How clients reach the service.
    """

    def __init__(self, folder: Path, kind: str = "valkey") -> None:
        self._kind = kind
        self._folder = folder
        self._password = secrets.token_urlsafe(16)
        self._sentinel_password = secrets.token_urlsafe(16)
        self._sentinels: dict[int, subprocess.Popen[bytes]] = {}
        self.master = self._server("one")
        self.replica = self._server("two")

    def __enter__(self) -> Self:
        self.master.start()
        self.replica.settings["replicaof"] = f"127.0.0.1 {self.master.port}"
        self.replica.start()
        patience(lambda: self.replica_state()["master_link_status"] == "up", what="the first copy")
        ids = {free_port(): secrets.token_hex(20) for _ in range(3)}
        for port in ids:
            self._start_sentinel(port, ids)
        for port in ids:
            patience(lambda port=port: self._knows_all(port), what="the sentinels")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._sentinels.values():
            process.kill()
            process.wait()
        for server in (self.master, self.replica):
            server.stop()

    @property
    def config(self) -> RedisConfig:
        return RedisConfig(
            sentinels=tuple(("127.0.0.1", port) for port in self._sentinels),
            sentinel_service=SERVICE,
            sentinel_password=self._sentinel_password,
            password=self._password,
        )

    def replica_state(self) -> dict[str, object]:
        with self.replica.connected() as client:
            return client.info("replication")

    def in_step(self) -> bool:
        """Whether the replica has all that the master has."""
        with self.master.connected() as client:
            return client.info("replication")["master_repl_offset"] == self.replica_state()["slave_repl_offset"]

    def wait_for_failover(self) -> None:
        """Wait until the replica is the master."""
        patience(lambda: self.replica_state()["role"] == "master", 20, "the failover")

    @contextlib.contextmanager
    def replica_cut_off(self) -> Iterator[None]:
        """Keep from the replica what is written within the with statement, and lose the master at its end."""
        patience(self.in_step, what="the replica")
        with self.replica.stalled():
            with self.master.connected() as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "replica")
            yield
            self.master.stop(kill=True)

    def stop_sentinel(self) -> None:
        """Kill the sentinel that clients ask first."""
        next(iter(self._sentinels.values())).send_signal(signal.SIGKILL)

    def _server(self, name: str) -> TestServer:
        server = TestServer(
            self._kind, self._folder / name, {"masterauth": self._password, "repl-diskless-sync-delay": "0"}
        )
        server.password = self._password
        return server

    def _start_sentinel(self, port: int, ids: dict[int, str]) -> None:
        folder = self._folder / f"sentinel-{port}"
        folder.mkdir()
        lines = {
            "port": port,
            "bind": "127.0.0.1",
            "dir": folder,
            "logfile": folder / "sentinel.log",
            "requirepass": self._sentinel_password,
            "sentinel sentinel-pass": self._sentinel_password,
            "sentinel myid": ids[port],
            "sentinel monitor": f"{SERVICE} 127.0.0.1 {self.master.port} 2",
            "sentinel auth-pass": f"{SERVICE} {self._password}",
            "sentinel down-after-milliseconds": f"{SERVICE} {DOWN_AFTER}",
            "sentinel failover-timeout": f"{SERVICE} 4000",
            "sentinel known-replica": f"{SERVICE} 127.0.0.1 {self.replica.port}",
        }
        text = "".join(f"{name} {value}\n" for name, value in lines.items())
        text += "".join(f"sentinel known-sentinel {SERVICE} 127.0.0.1 {p} {i}\n" for p, i in ids.items() if p != port)
        (folder / "sentinel.conf").write_text(text)
        program = binary(self._kind)
        assert program is not None
        command = [str(program), str(folder / "sentinel.conf"), "--sentinel"]
        self._sentinels[port] = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)

    def _knows_all(self, port: int) -> bool:
        with (
            contextlib.suppress(redis.RedisError),
            redis.Redis(port=port, password=self._sentinel_password, retry=None) as client,
        ):
            client.execute_command("SENTINEL", "DEBUG", "INFO-PERIOD", "200", "PUBLISH-PERIOD", "200")
            state = client.sentinel_master(SERVICE)
            usable = client.sentinel_slaves(SERVICE)
            return len(usable) == 1 and usable[0]["flags"] == "slave" and state["num-other-sentinels"] == 2
        return False
