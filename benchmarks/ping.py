"""A bare PING through redis-py's `Connection`: the least that one round trip to the server costs from Python."""

import statistics
import time
from collections.abc import Callable

import hiredis
import redis

from rush.config import RedisConfig

SIZE = 25
"""Steps in a block: short enough that a block and its neighbours meet the same noise."""


class Ping:
    """A connection of its own; each call is one PING and its reply."""

    def __init__(self, config: RedisConfig) -> None:
        self._connection = redis.Connection(
            host=config.host, port=config.port, username=config.username, password=config.password, protocol=2
        )
        self._connection.connect()

    def __call__(self) -> None:
        self._connection.send_packed_command((hiredis.pack_command(("PING",)),), check_health=False)
        self._connection.read_response()

    def microseconds(self, blocks: int = 20) -> float:
        """Give the median over blocks of what one takes."""
        return statistics.median(block(self, SIZE) for _ in range(blocks))

    def close(self) -> None:
        self._connection.disconnect()


def block(step: Callable[[], object], size: int) -> float:
    """Take `step` again and again, and give the microseconds for one."""
    began = time.perf_counter_ns()
    for _ in range(size):
        step()
    return (time.perf_counter_ns() - began) / size / 1000


def beside(
    ping: Ping, step: Callable[[], object], *, blocks: int, size: int = SIZE, undisturbed: bool = False
) -> tuple[float, float, float]:
    """Measure `step` in blocks, each between two blocks of PINGs, so that noise hits both.

    Parameters
    ----------
    undisturbed
        Take the quickest tenth of either kind of block, rather than the median of all: others who want the same cores
        slow down most blocks on a busy machine, but not all.

    Returns
    -------
    tuple
        Microseconds of a step, microseconds of a PING, PINGs that a step takes.
    """
    steps, pings, ratios = [], [block(ping, SIZE)], []
    for _ in range(blocks):
        steps.append(block(step, size))
        pings.append(block(ping, SIZE))
        ratios.append(2 * steps[-1] / (pings[-2] + pings[-1]))
    if undisturbed:
        quick_step, quick_ping = _tenth(steps), _tenth(pings)
        return quick_step, quick_ping, quick_step / quick_ping
    return statistics.median(steps), statistics.median(pings), statistics.median(ratios)


def _tenth(values: list[float]) -> float:
    return sorted(values)[len(values) // 10]
