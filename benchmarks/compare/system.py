"""What each file of this folder gives: a running system with two worker processes, and two ways to use it."""

import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

WORKERS = 2
_FEW, _SECONDS, _MOST, _LATENCIES = 200, 3.0, 20_000, 100


class System(NamedTuple):
    """A system with its workers started.

    Attributes
    ----------
    many
        Submits so many no-op tasks, and returns with all their results.
    one
        Submits one, and returns with its result.
    """

    many: Callable[[int], object]
    one: Callable[[], object]


def noop() -> None:
    """Do nothing, on a worker."""


def speed(system: System) -> tuple[float, float]:
    """Measure tasks a second, over about three seconds, and the median latency of one in microseconds."""
    system.many(_FEW // 10)
    n = max(_FEW, min(_MOST, int(_SECONDS * _FEW / _seconds(lambda: system.many(_FEW)))))
    rate = n / _seconds(lambda: system.many(n))
    latencies = min(_LATENCIES, max(5, int(rate)))
    return rate, statistics.median(_seconds(system.one) for _ in range(latencies)) * 1e6


@contextlib.contextmanager
def processes(work: Callable[..., object], *arguments: Any, count: int = WORKERS) -> Iterator[Sequence[Any]]:
    """Run `work` in fresh processes, and end them afterwards."""
    fresh = multiprocessing.get_context("spawn")
    started = [fresh.Process(target=work, args=arguments) for _ in range(count)]
    for process in started:
        process.start()
    try:
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.join(10)
            if process.is_alive():
                process.kill()


def _seconds(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began
