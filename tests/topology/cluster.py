"""A Redis Cluster of three masters, with a password, as real processes on loopback."""

import secrets
from pathlib import Path
from typing import Self

from redis.crc import key_slot

from rush.config import RedisConfig
from tests.conftest import patience
from tests.servers import TestServer, free_port

SLOTS = 16384


class Cluster:
    """Three masters that share the slots.

    Attributes
    ----------
    nodes
        The servers, in the order of their slots.
    config
        How clients reach it.
    """

    def __init__(self, folder: Path, kind: str = "valkey") -> None:
        self._password = secrets.token_urlsafe(16)
        self.nodes = [self._server(kind, folder / str(number)) for number in range(3)]

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start()
        for number, node in enumerate(self.nodes):
            with node.connected() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", _first(number), _first(number + 1) - 1)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        with self.nodes[0].connected() as client:
            for node in self.nodes[1:]:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, node.settings["cluster-port"])
        for node in self.nodes:
            patience(lambda node=node: self.is_whole(node), 20, "the cluster")
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.stop()

    @property
    def config(self) -> RedisConfig:
        places = tuple(("127.0.0.1", node.port) for node in self.nodes)
        return RedisConfig(cluster=True, nodes=places, host=places[0][0], port=places[0][1], password=self._password)

    def is_whole(self, node: TestServer) -> bool:
        """Whether a node knows who serves every slot."""
        with node.connected() as client:
            return b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO", NEVER_DECODE=True)

    def number_of(self, network: str) -> int:
        """Give the number of the node that holds a network."""
        slot = key_slot(f"rush:{{{network}}}:meta".encode())
        return next(number for number in range(3) if _first(number) <= slot < _first(number + 1))

    def move(self, network: str, to: int) -> None:
        """Move a network's slot, with all that it holds, to another node."""
        slot = key_slot(f"rush:{{{network}}}:meta".encode())
        source, target = self.nodes[self.number_of(network)], self.nodes[to]
        with source.connected() as old, target.connected() as new:
            old_id, new_id = (client.execute_command("CLUSTER", "MYID") for client in (old, new))
            new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
            old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
            while keys := old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
                old.execute_command("MIGRATE", "127.0.0.1", target.port, keys[0], 0, 5000, "AUTH", self._password)
            for client in (new, old):
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", new_id)

    def _server(self, kind: str, folder: Path) -> TestServer:
        settings = {
            "cluster-enabled": "yes",
            "cluster-port": str(free_port()),
            "cluster-node-timeout": "2000",
            "cluster-config-file": "nodes.conf",
            "appendfsync": "always",
        }
        server = TestServer(kind, folder, settings)
        server.password = self._password
        return server


def _first(number: int) -> int:
    return SLOTS * number // 3
