"""The networks of a server, or of all shards of a cluster."""

from collections.abc import Iterator
from dataclasses import replace

from rush.config import RedisConfig
from rush.keys import META_PATTERN, network_of
from rush.store.channel import Readers


def list_networks(config: RedisConfig) -> list[str]:
    """Find the networks of a server by their epochs; in a cluster, those of every shard."""
    servers = _masters(config) if config.cluster else [config]
    return sorted({name for server in servers for name in _networks_of(server)})


def _masters(config: RedisConfig) -> list[RedisConfig]:
    """Give each master of a cluster as a server of its own."""
    readers = Readers(config, b"")
    try:
        slots = readers.ask("CLUSTER", "SLOTS")
    finally:
        readers.close()
    places = {(master[0].decode() or config.host, int(master[1])) for _, _, master, *_ in slots}
    return [replace(config, cluster=False, nodes=(), host=host, port=port) for host, port in places]


def _networks_of(server: RedisConfig) -> Iterator[str]:
    readers = Readers(server, b"")
    cursor = b"0"
    try:
        while True:
            cursor, keys = readers.ask("SCAN", cursor, "MATCH", META_PATTERN, "COUNT", 1000)
            yield from (name for key in keys if (name := network_of(key.decode())) is not None)
            if int(cursor) == 0:
                return
    finally:
        readers.close()
