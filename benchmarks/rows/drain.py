"""Two worker processes work through a queue of trivial tasks; beside it, the standard library's pool."""

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.loops import work_off
from rush import Rush

WORKERS = 2
TASKS = 20_000
GOALS = {
    "fused": (0, Goal(10_000, more=True), Goal(1.3, more=True)),
    "pipelined": (1, Goal(20_000, more=True), Goal(2, more=True)),
}


def drain(bench: Bench) -> Iterator[Figure]:
    n = 5_000 if bench.quick else TASKS
    rates: dict[str, list[float]] = {name: [] for name in GOALS}
    pool = []
    ping = bench.ping.microseconds()
    for _ in range(bench.repeats):
        for name, (prefetch, _, _) in GOALS.items():
            with bench.network() as net:
                rates[name].append(n / _drain(net, n, prefetch))
        pool.append(n / _pool(n))
    for name, (_, goal, _) in GOALS.items():
        yield Figure("drain", _title(n, name), "tasks/s", rates[name], goal, ping=ping)
    yield Figure("drain", f"the same by ProcessPoolExecutor({WORKERS}).submit", "tasks/s", pool, ping=ping)
    for name, (_, _, goal) in GOALS.items():
        times = [ours / theirs for ours, theirs in zip(rates[name], pool, strict=True)]
        if bench.quick:
            times = [max(rates[name]) / max(pool)]
        yield Figure("drain", f"{name}, beside ProcessPoolExecutor", "times as fast", times, goal)


def among(bench: Bench, net: Rush, n: int) -> Iterator[Figure]:
    """Measure it in a network that has so many finished tasks, and an empty queue."""
    for name, (prefetch, goal, _) in GOALS.items():
        rates = []
        for _ in range(bench.repeats):
            bench.tidy()
            rates.append(TASKS / _drain(net, TASKS, prefetch))
        what = f"{_title(TASKS, name)}, among {n:,} finished"
        yield Figure("read", what, "tasks/s", rates, goal, ping=bench.ping.microseconds())


def _title(n: int, name: str) -> str:
    return f"drain {n:,} trivial tasks with {WORKERS} worker processes, {name}"


def _drain(net: Rush, n: int, prefetch: int) -> float:
    """Give the seconds from the signal to the end of the last worker."""
    before, signal = net.n_finished_tasks, secrets.token_hex(4)
    net.push_tasks([{"x": float(x)} for x in range(n)])
    workers = net.start_local_workers(work_off, n_workers=WORKERS, prefetch=prefetch, signal=signal)
    net.wait_for_workers(worker_ids=workers, timeout=30)
    begin = time.monotonic() + 0.3
    net.write_hashes(keys=[signal], at=[begin])
    ended = [_ended(net, worker) for worker in workers]
    if (done := net.n_finished_tasks - before) != n:
        raise RuntimeError(f"{done} of {n} tasks were finished")
    return max(ended) - begin


def _ended(net: Rush, worker_id: str) -> float:
    while (hash_ := net.read_hash(f"{worker_id}-ended", ["at"])) is None:
        time.sleep(0.05)
    return float(hash_["at"])


def _pool(n: int) -> float:
    """Give the seconds from the first submission to the last result."""
    with ProcessPoolExecutor(WORKERS) as executor:
        for future in [executor.submit(_identity, 0.0) for _ in range(10 * WORKERS)]:
            future.result()
        began = time.monotonic()
        futures = [executor.submit(_identity, float(x)) for x in range(n)]
        if sum(future.result() for future in futures) != n * (n - 1) / 2:
            raise RuntimeError("the pool lost a result")
        return time.monotonic() - began


def _identity(x: float) -> float:
    return x
