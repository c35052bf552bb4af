"""From another worker's finish to the return of a call that waits for it."""

import statistics
import time
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.loops import finish_now_and_then
from rush import Rush

FINISHES = 100
TITLE = "wake-up: from another worker's finish to the return of fetch_new_tasks(timeout=)"


def wake_up(bench: Bench) -> Iterator[Figure]:
    with bench.network() as net:
        yield _measure(bench, net, "wake", TITLE)


def among(bench: Bench, net: Rush, n: int) -> Iterator[Figure]:
    """Measure it in a network that has so many finished tasks; the worker that finishes more goes on."""
    yield _measure(bench, net, "read", f"{TITLE}, among {n:,} finished")


def _measure(bench: Bench, net: Rush, row: str, what: str) -> Figure:
    workers = net.start_local_workers(finish_now_and_then)
    net.wait_for_workers(worker_ids=workers, timeout=30)
    net.fetch_new_tasks(timeout=10)
    delays = [_median_delay(net) for _ in range(bench.repeats)]
    return Figure(row, what, "ms", delays, Goal(1.0), ping=bench.ping.microseconds())


def _median_delay(net: Rush) -> float:
    """Give milliseconds, of those finishes that came while the call was waiting."""
    delays: list[float] = []
    while len(delays) < FINISHES:
        began = time.monotonic()
        new = net.fetch_new_tasks(timeout=10)
        returned = time.monotonic()
        finished_at = float(new["at"].iloc[0])
        if finished_at > began:
            delays.append((returned - finished_at) * 1e3)
    return statistics.median(delays)
