"""The server that is measured, and the cores on which it and its client run."""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import redis

import rush
from benchmarks.ping import Ping
from rush.config import RedisConfig
from rush.server.private import PrivateServer

CORES = sorted(os.sched_getaffinity(0))


@dataclass
class Bench:
    """What a row is handed.

    Attributes
    ----------
    repeats
        How often it measures.
    quick
        Whether it is to be content with less: a check that nothing has slipped.
    """

    repeats: int
    quick: bool = False

    @cached_property
    def server(self) -> PrivateServer:
        """A private server as `rush.rsh()` starts it: append-only file, written to disk every second."""
        return PrivateServer()

    @property
    def config(self) -> RedisConfig:
        return self.server.config

    @cached_property
    def client(self) -> redis.Redis:
        return redis.Redis(host=self.config.host, port=self.config.port, password=self.config.password)

    @cached_property
    def ping(self) -> Ping:
        return Ping(self.config)

    def close(self) -> None:
        for name in ("ping", "client", "server"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()

    @contextlib.contextmanager
    def network(self) -> Iterator[rush.Rush]:
        """Give a fresh network, and remove it afterwards."""
        net = rush.Rush(f"bench-{secrets.token_hex(4)}", self.config)
        try:
            yield net
        finally:
            net.reset()

    @contextlib.contextmanager
    def pinned(self, *, together: bool = False) -> Iterator[None]:
        """Keep the server and this process on one core each, or both on the same."""
        _pin(self.server.pid, {CORES[0]})
        _pin(os.getpid(), {CORES[0] if together else CORES[-1]})
        try:
            yield
        finally:
            _pin(self.server.pid, set(CORES))
            _pin(os.getpid(), set(CORES))

    def server_seconds(self) -> float:
        """Give the processor time that the server has used."""
        told = self.client.info("cpu")
        return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])

    def server_bytes(self) -> int:
        """Give the memory that the server's data takes."""
        told = self.client.info("memory")
        return int(told["used_memory"]) - int(told["mem_aof_buffer"]) - int(told["mem_clients_normal"])

    def tidy(self) -> None:
        """Have the server rewrite its file now, and the disk take it, so that neither disturbs what is measured."""
        self.settle()
        self.client.bgrewriteaof()
        self.settle()
        os.sync()

    def settle(self) -> None:
        """Wait until the server has rewritten its file, as it does each time that this has doubled."""
        while any(self.client.info("persistence")[f"aof_rewrite_{state}"] for state in ("in_progress", "scheduled")):
            time.sleep(0.05)


def take_precedence() -> bool:
    """Run before all that has normal priority, with the processes that are started from here; False if that is refused.

    On a machine with other things to do nothing else gives figures that can be compared.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        return False
    return True


def _pin(pid: int, cores: set[int]) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), cores)
